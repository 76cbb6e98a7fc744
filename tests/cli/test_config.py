"""Configuration files: `rimetree run CONFIG.yaml`, `rimetree config`, and the commands on solution files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rimetree import quantity
from rimetree.errors import ConfigError
from rimetree.io.caltable import CalFile
from rimetree.pipeline import syntax
from rimetree.pipeline.config import Apply, Solve
from rimetree.pipeline.load import check, load

EXAMPLES = sorted((Path(__file__).parents[2] / "trees" / "examples").glob("*.yaml"))
TEMPLATE = EXAMPLES[0].with_name("kgb.yaml")


@pytest.fixture
def config(tmp_path: Path, ms: Path) -> Path:
    """Gains per scan, applied."""
    path = tmp_path / "c.yaml"
    path.write_text(
        f"solve:\n  - {{ms: {ms}, output: {tmp_path / 's.h5'}, jones: G, time_interval: scan, ref_ant: 0}}\n"
        f"apply:\n  - {{ms: {ms}, jones: [G], tables: [{tmp_path / 's.h5'}]}}\n"
    )
    return path


def test_a_configuration_solves_saves_and_corrects(rimetree, ms, config, tmp_path: Path):
    result = rimetree("run", config, "--report", tmp_path / "r.html")
    assert result.code == 0, result.err
    assert "2 converged" in result.out
    assert "wrote CORRECTED_DATA" in result.out
    (gains,) = CalFile.load(tmp_path / "s.h5").tables
    assert gains.place == ("G0", "", 0)
    from casacore.tables import table

    with table(str(ms), ack=False) as main:
        data, corrected = main.getcol("DATA"), main.getcol("CORRECTED_DATA")
    p, q = np.triu_indices(4, 1)
    g = gains.jones[:, 0, 0, 1, 1]
    np.testing.assert_allclose(corrected[0, :, 3], data[0, :, 3] / (g[p[0]] * g[q[0]].conj()), rtol=1e-5)
    page = (tmp_path / "r.html").read_text()
    assert "data:image/png" in page and "G0" in page and str(ms) in page
    assert "G0 (all fields), spw 0: 4 antennas x 1 freq x 2 time" in rimetree("info", tmp_path / "s.h5").out
    assert rimetree("plot", tmp_path / "s.h5", "-o", tmp_path / "plots").code == 0
    assert list((tmp_path / "plots").glob("G0*.png"))
    again = rimetree("run", config)
    assert again.code == 1 and "--resume continues it" in again.err
    resumed = rimetree("run", config, "--resume")
    assert resumed.code == 0 and "already" in resumed.err
    assert "holds no flux scales" in rimetree("fluxscale-info", tmp_path / "s.h5").err


def test_set_changes_keys(rimetree, config, tmp_path: Path):
    words = ["--set", "solve.0.time_interval=20s", "--set", "apply=null", "--set", "solve.0.scans=1"]
    result = rimetree("run", config, *words)
    assert result.code == 0, result.err
    assert "CORRECTED_DATA" not in result.out
    assert CalFile.load(tmp_path / "s.h5").tables[0].time.size == 2  # 3 slots of 10 s


def test_info_says_all_scans_of_a_solution(rimetree, config, tmp_path: Path):
    assert rimetree("run", config, "--set", "solve.0.time_interval=inf", "--set", "apply=null").code == 0
    assert "1 time, scans 1~2, reference" in rimetree("info", tmp_path / "s.h5").out


def test_a_block_says_all_its_mistakes():
    block = {"ms": "x.ms", "output": "o.h5", "jones": ["K", "GX"], "time_interval": ["inf"] * 3, "freq_interval": "4MH"}
    with pytest.raises(ConfigError) as caught:
        check({"solve": block})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and "3 mistakes" in lines[0]
    for words in (
        "jones.1: there is no Jones term 'GX'",
        "time_interval: has 3 values",
        "freq_interval: expected one of full",
    ):
        assert words in str(caught.value)


def test_a_dry_run_says_the_plan(rimetree, config, tmp_path: Path):
    result = rimetree("run", config, "--dry-run", "--set", "solve.0.time_interval=30s")
    assert result.code == 0, result.err
    for words in ("step 1: G0, time 30s", "36 rows", "2 solution intervals", "32 unknowns", "writes", "MB of memory"):
        assert words in result.out
    assert not (tmp_path / "s.h5").exists()


def test_options_are_for_scripts(rimetree, config):
    result = rimetree("run", config, "-o", "a=1")
    assert result.code == 1
    assert "--set" in result.err


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_and_printed(rimetree, path: Path):
    assert rimetree("config", "--template", path.stem).out == path.read_text()
    assert path.stem in rimetree("config").out
    load(path)


def test_the_template_says_the_defaults():
    template = load(TEMPLATE)
    same = check({
        "solve": {"ms": "x", "output": "y", "jones": ["K", "G", "B"]},
        "apply": {"ms": "x", "jones": ["K0", "G0", "B0"], "tables": ["y"] * 3},
    })  # fmt: skip
    own = {"ms", "output", "joint", "field", "time_interval", "freq_interval", "tables", "target_field"}
    for ours, default in ((template.solve[0], same.solve[0]), (template.apply[0], same.apply[0])):
        for key in set(type(ours).model_fields) - own:
            assert getattr(ours, key) == getattr(default, key), f"the template says another default of {key}"


def test_the_template_names_every_key():
    text = TEMPLATE.read_text()
    solve, apply = text.split("\napply:")
    for part, model in ((solve, Solve), (apply, Apply)):
        lacking = [key for key in model.model_fields if f" {key}:" not in part]
        assert not lacking


def test_all_mistakes_at_once_with_lines(rimetree, tmp_path: Path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "sovle: []\n"
        "solve:\n"
        "  - ms: 3\n"
        "    output: x.h5\n"
        "    jones: [K, G]\n"
        "    refant: C04\n"
        "    max_iter: 0\n"
        "  - {ms: x, output: y, jones: [Q]}\n"
        "  - {ms: x, output: y, jones: [K, G], time_interval: [scan, inf, inf]}\n"
        "  - {ms: x, output: y, jones: [K], time_interval: often}\n"
        "  - {ms: x, output: y, jones: [K], joint: [G]}\n"
        "apply:\n"
        "  - {ms: x, jones: [K0, G0], tables: [a.h5]}\n"
        "  - {ms: x, jones: [K0], tables: [a.h5], field_select: nearest_tim}\n"
        "  - {ms: x, jones: [K0], tables: [a.h5], field_select: pinned}\n"
    )
    result = rimetree("run", path)
    assert result.code == 1
    expected = [
        "1: sovle: there is no such key (did you mean 'solve'?); keys here are solve, fluxscale, apply, report",
        "3: solve.0.ms: expected a text or a list, not 3",
        "6: solve.0.refant: there is no such key (did you mean 'ref_ant'?); keys",
        "7: solve.0.max_iter: expected a number greater than or equal to 1, not 0",
        "8: solve.1.jones.0: there is no Jones term 'Q'",
        "9: solve.2.time_interval: has 3 values, but jones has 2",
        "10: solve.3.time_interval: expected one of inf, scan",
        "11: solve.4.joint.0: jones: there are no solutions 'G'",
        "13: apply.0.tables: has 1 values, but jones has 2",
        "14: apply.1.field_select: expected nearest_time",
        "15: apply.2.field_select: K0 is pinned, so say to which field",
    ]
    head, *lines = result.err.splitlines()
    assert head == f"rimetree: {path}: {len(expected)} mistakes:"
    for line, text in zip(lines, expected, strict=True):
        assert line.startswith(f"  {path}:{text}"), (line, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", ":2: not valid YAML"),
        ("- 1\n", "expected blocks solve:"),
        ("", "expected blocks solve:"),
        ("solve: []\n", "expected a solve:, fluxscale: or apply: block"),
        ("solve: [{jones: G}]\n", "ms: is required"),
    ],
)
def test_files_that_are_no_configuration(rimetree, tmp_path: Path, text, message):
    path = tmp_path / "c.yml"
    path.write_text(text)
    result = rimetree("run", path)
    assert result.code == 1
    assert message in result.err
    assert str(path) in result.err


def test_a_missing_file(rimetree, tmp_path: Path):
    assert "No such file" in rimetree("run", tmp_path / "no.yaml").err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("x", "expected key=value"),
        ("solve.9.jones=1", "there is no 9"),
        ("solve.0.jones=[", "not a valid value"),
        ("nope=1", "nope: there is no such key"),
        ("solve.0.time_intervl=1", "did you mean 'time_interval'"),
        ("solve.first=1", "no place 'solve.first'"),
    ],
)
def test_wrong_changes(change, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load(TEMPLATE, [change])


def test_intervals():
    times = {
        "inf": None,
        "": None,
        None: None,
        "scan": "scan",
        "0s": "scan",
        "5min": "300.0s",
        "2m": "120.0s",
        30: "30.0s",
    }
    times |= {"1.5hr": "5400.0s", "10sec": "10.0s", "3slots": 3, "1slot": 1, float("inf"): None}
    assert {key: syntax.time_interval(key) for key in times} == times
    freqs = {"full": None, "inf": None, "4MHz": "4000000.0Hz", "250 khz": "250000.0Hz", 1e6: "1000000.0Hz", "2chans": 2}
    assert {key: syntax.freq_interval(key) for key in freqs} == freqs
    for wrong in ("-5s", "often", "4MHz", "0slots"):
        with pytest.raises(ConfigError, match="expected one of"):
            syntax.time_interval(wrong)


def test_windows():
    class Window:
        def __init__(self, number):
            self.id, self.name, self.freq = number, f"win{number}", np.zeros(32)

    valid = [Window(i) for i in range(3)]
    assert [n for n, _ in syntax.windows("*", valid)] == [0, 1, 2]
    assert [n for n, _ in syntax.windows("0~1", valid)] == [0, 1]
    assert [n for n, _ in syntax.windows(["win2", 0], valid)] == [0, 2]
    ((_, one),) = syntax.windows("1:5", valid)
    assert np.flatnonzero(one).tolist() == [5]
    ((_, two),) = syntax.windows("0:2~3;6,0:8~9", valid)
    assert np.flatnonzero(two).tolist() == [2, 3, 6, 8, 9]
    for wrong, words in (("7", "no spw"), ("0:9~40", "has 0~31"), ("0:a", "expected channels"), ("-1", "no spw")):
        with pytest.raises(ConfigError, match=words):
            syntax.windows(wrong, valid)


def test_one_term_needs_no_list():
    config = check(
        {"solve": {"ms": "x", "output": "y", "jones": "G"}, "apply": {"ms": "x", "jones": "G", "tables": "y"}}
    )
    assert (config.solve[0].jones, config.apply[0].jones, config.apply[0].tables) == (["G"], ["G"], ["y"])


def test_keys_are_counted_by_kind():
    assert syntax.keys(["K", "G", "D", "G", "G", "mine.MyTerm"]) == ["K0", "G0", "D0", "G1", "G2", "MyTerm0"]


def test_amounts_of_memory():
    assert quantity.memory("2GB") == 2e9
    assert quantity.memory("500 mb") == 5e8
    assert quantity.memory("1GiB") == 2**30
    assert quantity.memory(1e6) == quantity.memory("1000000") == 1e6
    for wrong in ("0", "-1GB", "2 parsecs", ""):
        with pytest.raises(ValueError, match="amount of memory"):
            quantity.memory(wrong)
