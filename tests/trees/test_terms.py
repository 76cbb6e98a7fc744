"""Jones terms, one by one, against their formulas in numpy; a user's own term from a file beside the configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rimetree.pipeline.jones import matrices
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run as run_blocks
from rimetree.trees.terms import Placed, kinds, term
from rimetree.trees.terms.base import Band

TIME, FREQ, CENTRE = np.array([0.0, 10.0]), np.array([0.9e9, 1.0e9, 1.2e9]), 1.05e9
TEC, LIGHT = 8.4479745e9, 299792458.0


def turn(angle, feed):
    c, s, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    if feed == "circular":
        return np.stack([np.exp(1j * angle), zero, zero, np.exp(-1j * angle)], -1)
    return np.stack([c, -s, s, c], -1)


def diagonal(x, y):
    return np.stack(np.broadcast_arrays(x, 0 * x, 0 * y, y), -1)


def wave(phase):
    return np.exp(1j * phase)


def formula(name, p, nu, feed):
    late = {k: -2 * np.pi * v * (nu - CENTRE) for k, v in p.items() if k.startswith("delay")}
    bend = TEC * (1 / CENTRE - 1 / nu)
    straight = -TEC * (nu - CENTRE) / CENTRE**2
    one = np.ones_like(nu)
    return {
        "K": lambda: diagonal(*(wave(p[f"phase_{c}"] + late[f"delay_{c}"]) for c in "xy")),
        "KZ": lambda: diagonal(
            *(wave(p[f"phase_{c}"] + late[f"delay_{c}"] + p["tec"] * (bend + straight)) for c in "xy")
        ),
        "Z": lambda: diagonal(*[wave(p["phase"] + p["tec"] * bend)] * 2),
        "KC": lambda: diagonal(wave(p["phase"] + late["delay"]), one + 0j),
        "CP": lambda: diagonal(one + 0j, wave(p["phase"] * one)),
        "D": lambda: np.stack([one, p["xy"] * one, p["yx"] * one, one], -1),
        "J": lambda: np.stack([p[k] * one for k in ("xx", "xy", "yx", "yy")], -1),
        "T": lambda: diagonal(p["t"] * one, p["t"] * one),
        "GP": lambda: diagonal(wave(p["phase_x"] * one), wave(p["phase_y"] * one)),
        "GPP": lambda: diagonal(wave(p["phase_x"] * one), wave(p["phase_y"] * one)),
        "F": lambda: turn(p["rm"] * LIGHT**2 / nu**2, feed),
        "R": lambda: turn(p["angle"] * one, feed),
        "P": lambda: turn(-p["angle"] * one, feed),
    }.get(name, lambda: diagonal(p["x"] * one, p["y"] * one))()


@pytest.mark.parametrize("feed", ["linear", "circular"])
@pytest.mark.parametrize("name", sorted(kinds()))
def test_matrices(name: str, feed: str):
    rng = np.random.default_rng(1)
    made = term(name)
    count = 1 if made.common else 3
    parms = {}
    for what, param in made.params.items():
        values = rng.normal(size=(count, 2, 3)) * (1e-9 if param.unit == "s" else 1)
        parms[what] = values + 1j * rng.normal(size=values.shape) if np.iscomplexobj(param.scalar) else values
    placed = Placed("X", made, band=Band(CENTRE, feed == "circular"))
    got = matrices(placed, ["a", "b", "c"], parms, TIME, FREQ)
    assert got.shape == (3, 3, 2, 2, 2)
    want = formula(name, parms, np.broadcast_to(FREQ, (count, 2, 3)), feed)
    want = np.broadcast_to(want.reshape(count, 2, 3, 2, 2).swapaxes(1, 2), got.shape)
    np.testing.assert_allclose(got, want, atol=1e-12)


OWN = '''
from rimetree import Meq
from rimetree.trees.terms import Param, Term

class Ripple(Term):
    """1 + a cos(2 pi nu / 8 MHz): a standing wave of known period, the same for both polarisations."""
    name = "Ripple"
    params = {"a": Param(0.0)}
    hands = "parallel"

    def matrix(self, p, band):
        ripple = 1 + p["a"] * Meq.Cos((Meq.Freq() - band.centre) * (2 * 3.141592653589793 / 8e6))
        return Meq.Matrix22(ripple, 0, 0, ripple)
'''


def test_a_term_of_ones_own(make_ms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from casacore.tables import table

    from rimetree.io.caltable import CalFile
    from rimetree.io.ms import MeasurementSet

    path = make_ms(antennas=5, freqs=(1.4e9, 16, 1e6), noise=0.01)
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
        freq = ms.groups[0].freq
    true = np.array([0.3, -0.2, 0.1, 0.25, -0.1])
    ripple = 1 + true[:, None] * np.cos((freq - (freq[0] + freq[-1]) / 2) * 2 * np.pi / 8e6)
    with table(str(path), readonly=False, ack=False) as main:
        model = np.broadcast_to(np.array([3, 0, 0, 3]), (main.nrows(), 16, 4)).astype(np.complex64)
        p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        main.putcol("MODEL_DATA", model)
        main.putcol("DATA", (main.getcol("DATA") + (ripple[p] * ripple[q])[..., None] * model).astype(np.complex64))
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    common = {"ms": str(path), "output": "own.h5", "jones": ["mine.Ripple"], "rfi_threshold": 0}
    assert run_blocks(check({"solve": common}), progress=False).converged
    (found,) = CalFile.load("own.h5").tables
    assert found.key == "Ripple0"
    np.testing.assert_allclose(found.parms["a"].values.ravel(), true, atol=0.005)
