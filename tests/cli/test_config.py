"""Configuration files: `rimetree run CONFIG.yaml`, `rimetree config`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rimetree.batch.config import check, load, memory_bytes
from rimetree.errors import ConfigError
from rimetree.io.solutions import Solutions

TEMPLATE = Path(__file__).parents[2] / "trees" / "kgb.yaml"


@pytest.fixture
def config(tmp_path: Path, ms: Path) -> Path:
    """Gains per scan."""
    path = tmp_path / "c.yaml"
    path.write_text(f"ms: {ms}\nsolve:\n  - {{jones: G, solint: [scan, null]}}\nsolutions: {tmp_path / 's.h5'}\n")
    return path


def test_a_configuration_solves_saves_and_corrects(rimetree, ms, config, tmp_path: Path):
    result = rimetree("run", config)
    assert result.code == 0, result.err
    assert "2 converged" in result.out
    assert "wrote CORRECTED_DATA" in result.out
    solutions = Solutions.load(tmp_path / "s.h5")
    assert solutions.meta["chain"] == "G"
    from casacore.tables import table

    with table(str(ms), ack=False) as main:
        data, corrected = main.getcol("DATA"), main.getcol("CORRECTED_DATA")
    gains = solutions.groups[0].jones[0].jones[:, 0, 0, :, :]
    p, q = np.triu_indices(4, 1)
    np.testing.assert_allclose(
        corrected[0, :, 3], data[0, :, 3] / (gains[p[0], 1, 1] * gains[q[0], 1, 1].conj()), rtol=1e-5
    )


def test_flags_and_set_change_keys(rimetree, config, tmp_path: Path):
    other = tmp_path / "other.h5"
    words = [
        "--set",
        "solve.0.solint=3",
        "--set",
        "apply=null",
        "--solutions",
        other,
        "--scans",
        "1",
        "--memory",
        "1GB",
    ]
    result = rimetree("run", config, *words)
    assert result.code == 0, result.err
    assert "CORRECTED_DATA" not in result.out
    assert Solutions.load(other).parm("G.x").values.shape[1] == 1
    assert not (tmp_path / "s.h5").exists()


def test_a_dry_run_says_the_steps(rimetree, config, tmp_path: Path):
    result = rimetree("run", config, "--dry-run", "--set", "solve.0.solint=[30s, 2]")
    assert result.code == 0
    assert "step 1: G (per 30s x 2 channels)" in result.out
    assert not (tmp_path / "s.h5").exists()


def test_plots(rimetree, config, tmp_path: Path):
    result = rimetree("run", config, "--set", f"plots={tmp_path / 'plots'}")
    assert result.code == 0, result.err
    assert list((tmp_path / "plots").glob("*.png"))


def test_options_are_for_scripts(rimetree, config):
    result = rimetree("run", config, "-o", "a=1")
    assert result.code == 1
    assert "--set" in result.err


def test_the_template_is_valid_and_printed(rimetree):
    assert rimetree("config").out == TEMPLATE.read_text()
    template = load(TEMPLATE)
    assert [step.names for step in template.solve] == [["K"], ["G"], ["B"], ["K", "G", "B"]]
    defaults = check({"ms": "x.ms", "solve": [{"jones": "G"}]})
    for key in ("selection", "data_column", "model_column", "ref_ant", "apply", "overwrite", "plots", "memory"):
        assert getattr(template, key) == getattr(defaults, key), f"the template says another default of {key}"
    assert template.solve[0].terms == check({"ms": "x", "solve": [{"jones": "K"}]}).solve[0].terms


def test_all_mistakes_at_once_with_lines(rimetree, tmp_path: Path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "ms: 3\n"
        "selection:\n"
        "  chanels: 1~3\n"
        "  field: {a: 1}\n"
        "overwrite: maybe\n"
        "sovle: []\n"
        "solve:\n"
        "  - jones: Q\n"
        "  - {jones: G, solint: [1, often]}\n"
        "  - {joint: [G, B], solint: 3}\n"
        "  - 7\n"
        "  - {jones: B, max_iter: 0}\n"
        "  - {jones: G, joint: [G, B]}\n"
        "  - {joint: [G, B], solint: {K: 1}}\n"
        "apply: yes\n"
        "memory: lots\n"
    )
    result = rimetree("run", path)
    assert result.code == 1
    for text in (
        "14 mistakes",
        ":1: ms: expected a text, not 3",
        ":3: selection.chanels: there is no such key (did you mean 'channels'?)",
        ":4: selection.field: expected a name, a number",
        ":5: overwrite: expected true or false, not 'maybe'",
        ":6: sovle: there is no such key (did you mean 'solve'?)",
        ":8: solve.0: there is no Jones term 'Q'",
        ":9: solve.1: G: solint in freq",
        ":10: solve.2: solint of a joint step",
        ":11: solve.3: expected a step",
        ":12: solve.4.max_iter: expected a whole number, 1 or more, not 0",
        ":13: solve.5: expected either jones:",
        ":14: solve.6: solint is given for 'K'",
        ":15: apply: expected keys column: and flag:, or null, not True",
        ":16: memory: memory must be an amount",
    ):
        assert text in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", ":2: not valid YAML"),
        ("- 1\n", "expected keys such as ms: and solve:"),
        ("", "expected keys such as ms: and solve:"),
        ("ms: x\n", "solve: is required"),
        ("ms: x\nsolve: []\n", "solve: expected a list of one or more steps"),
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
        ("solve.9.solint=1", "there is no 9"),
        ("solve.0.solint=[", "not a valid value"),
        ("nope=1", "nope: there is no such key"),
        ("solve.0.solnt=1", "did you mean 'solint'"),
        ("solve.first=1", "no place 'solve.first'"),
    ],
)
def test_wrong_changes(change, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load(TEMPLATE, [change])


def test_amounts_of_memory():
    assert memory_bytes("2GB") == 2e9
    assert memory_bytes("500 mb") == 5e8
    assert memory_bytes("1GiB") == 2**30
    assert memory_bytes(1e6) == 1e6
    for wrong in ("0", "-1GB", "2 parsecs", ""):
        with pytest.raises(ConfigError, match="memory must be"):
            memory_bytes(wrong)
