"""Every mistake of a configuration file is told at once, each with the line in which it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rimetree.errors import ConfigError
from rimetree.pipeline.load import load

TEMPLATE = Path(__file__).parents[2] / "trees" / "examples" / "kgb.yaml"

WRONG = {
    "one block without a dash": (
        """\
solve:
  jones: [G]
  output: o
  msx: x
""",
        [
            "1: solve.0.ms: is required",
            "4: solve.0.msx: there",
        ],
    ),
    "all mistakes of a block, keys and values": (
        """\
solve:
- ms: x
  output: y
  jones: [K, GG]
  refant: C
  tol: 7
  time_interval: [soon, scan]
  combine: [spw, swp]
""",
        [
            "4: solve.0.jones.1: there is no",
            "5: solve.0.refant: there",
            "6: solve.0.tol: expected a number less than 1, not 7",
            "7: solve.0.time_interval.0: expected one",
            "8: solve.0.combine.1: expected spw, or nothing, not 'swp'",
        ],
    ),
    "all mistakes of an apply block": (
        """\
apply:
- ms: ''
  jones: [K, G]
  tables: [a, b, c]
  time_interp: [nearest, liner]
  freq_interp: no
  smooth_time: -3s
  smooth_freq: [1s, 2MHz]
  field_select: pinned
""",
        [
            "2: apply.0.ms: expected the path",
            "4: apply.0.tables: has 3 values",
            "5: apply.0.time_interp.1: expected exact",
            "6: apply.0.freq_interp: expected nearest",
            "7: apply.0.smooth_time: expected a positive",
            "8: apply.0.smooth_freq: expected a freq",
            "9: apply.0.field_select: K is pinned",
            "9: apply.0.field_select: G is pinned",
        ],
    ),
    "keys given twice": (
        """\
solve:
- ms: x
  output: y
  jones: [G]
  ms: z
  tol: 1e-9
""",
        [
            "5: solve.0.ms: is given twice, in lines 2 and 5; keep one",
        ],
    ),
    "yes is no truth value": (
        """\
solve:
- {ms: x, output: y, jones: G,
   gpu: yes}
""",
        [
            "3: solve.0.gpu: expected true or false, not 'yes'",
        ],
    ),
    "no numbers": (
        """\
solve:
- ms: x
  output: y
  jones: G
  tol: .nan
  rfi_threshold: .inf
  max_iter: 1.5
  n_workers: -1
  memory_limit_gb: much
""",
        [
            "5: solve.0.tol: expected",
            "6: solve.0.rfi_threshold: expected a number, not inf",
            "7: solve.0.max_iter: expected a whole number, not 1.5",
            "8: solve.0.n_workers: expected a number greater",
            "9: solve.0.memory_limit_gb: expected a number, not 'much'",
        ],
    ),
    "empty lists": (
        """\
solve:
- ms: []
  output: y
  jones: []
apply:
- {ms: x, tables: y, jones: []}
""",
        [
            "2: solve.0.ms: expected the path",
            "4: solve.0.jones: expected one or more",
            "6: apply.0.jones: expected one or more, not []",
        ],
    ),
    "blocks that are none": (
        """\
solve: 3
apply:
- 4
- null
""",
        [
            "1: solve: expected a list, not 3",
            "3: apply.0: expected keys",
            "4: apply.1: expected keys",
        ],
    ),
    "of external tables": (
        """\
solve:
- ms: x
  output: y
  jones: G
  external_preapply:
    tables: [a]
    jones: [K, G]
    time_interp: nearst
  spw: 1.5
""",
        [
            "6: solve.0.external_preapply.tables: has 1",
            "8: solve.0.external_preapply.time_interp: expected",
            "9: solve.0.spw: expected a text or a",
        ],
    ),
    "names that are none": (
        """\
solve:
- ms: x
  output: y
  jones: G
  field: {a: b}
  intent: [true]
  joint: all
""",
        [
            "5: solve.0.field: expected a name, a number",
            "6: solve.0.intent: expected a name",
            "7: solve.0.joint: expected none or a list, not 'all'",
        ],
    ),
    "of aliases and merged keys": (
        """\
solve:
- &a {ms: x, output: y, jones: G,
   tol: 0}
- <<: *a
  output: z
""",
        [
            "3: solve.0.tol: expected a number greater than 0",
            "3: solve.1.tol: expected a number greater than 0",
        ],
    ),
    "fluxscale": (
        """\
fluxscale:
- {reference_table: a, transfer_table: b,
   output: c, transfer_feild: d}
""",
        [
            "2: fluxscale.0.reference_field: is required",
            "2: fluxscale.0.transfer_field: is required",
            "3: fluxscale.0.transfer_feild: there",
        ],
    ),
}
"""What is written, and every mistake in it: line, place and the first words."""


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_every_mistake_and_its_line(tmp_path: Path, text: str, expected: list[str]):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    lines = [line.strip().removeprefix(f"{path}:") for line in str(caught.value).splitlines()]
    lines = lines if len(lines) == 1 else lines[1:]
    assert len(lines) == len(expected) and all(map(str.startswith, lines, expected)), lines


def test_a_mistake_of_an_option_is_told_as_such():
    with pytest.raises(ConfigError, match=r"--set solve.0.tol=2: solve.0.tol: expected a number less than 1, not 2"):
        load(TEMPLATE, ["solve.0.tol=2"])


def test_plain_words_stay_words(tmp_path: Path):
    """YAML 1.1 has 0:10 as 10 (base 60), 010 as 8, NO as false, 1e-9 as a text, and days as dates."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "solve: {ms: 2026-01-01, output: x, jones: G, field: [NO, on], spw: 0:10, antennas: ['010', 010], tol: 1e-9}"
    )
    (block,) = load(path).solve
    assert (block.ms, block.field, block.spw, block.antennas, block.tol) == (
        "2026-01-01",
        ["NO", "on"],
        "0:10",
        ["010"] * 2,
        1e-9,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n\xff", "this is none"),
        (b"solve:\n  - ms: a\x00b\n", ":2: not a text file: it holds the character 0x0"),
        ("solve: []".encode("utf-16"), "this is none"),
        (b"solve:\n\t- ms: a\n", ":2: not valid YAML: a tab; indent with spaces"),
        (b"a: &a [*a]\n", ":1: an alias (*name) stands inside what it names"),
        (b"[" * 5000, "nested too deeply"),
        (b"a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]\n" + b"".join(
            b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 10)) for c in b"bcdefgh"), "more than 100,000 values"),
        (b"a: 1\n---\nb: 2\n", ":2: not valid YAML"),
        (b"solve: *none\n", ":1: not valid YAML"),
        (b"? [a]\n: 1\n", ":1: not valid YAML"),
        (b"solve: !!python/object:os.system {}\n", ":1: not valid YAML"),
        (b"a: 1\nb: !!bool maybe\n", ":2: not valid YAML: 'maybe' cannot be read as bool"),
        (b"a: 1\nb: [!!timestamp soon]\n", ":2: not valid YAML: 'soon' cannot be read as timestamp"),
        (b"a: " + b"9" * 5000, ":1: not valid YAML: '99999999999999999999' cannot be read as int"),
    ],
)  # fmt: skip
def test_files_that_are_not_yaml(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_and_a_name_with_a_null(tmp_path: Path):
    for path in (tmp_path, "a\0b.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path)
