"""Coupled classes of parameters solved jointly: a gain per slot times a bandpass per channel, 20,000 unknowns at once.

28 antennas x 120 slots x 64 channels, both hands; from reading to solutions in a warm process, as a multiple of reading
the same columns. Targets: at most 1 s, chi2/dof within 0.5 % of 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bench_read_to_solution import Reading
from casacore import tables as ct
from common import gains_set, options, table, timed, verdict

import rimetree as rt
from rimetree import Meq

COLUMNS = ["DATA", "MODEL_DATA", "FLAG", "WEIGHT_SPECTRUM"]


def bandpass_set(folder: Path, antennas: int, slots: int, channels: int) -> Path:
    """`gains_set` with a bandpass of known gains: 20 % ripples, and phases of half a radian."""
    path = gains_set(folder, antennas, slots, channels)
    if path.with_suffix(".bandpass.npy").exists():
        return path
    rng = np.random.default_rng(3)
    wave = np.exp(2j * np.pi * np.outer(np.arange(4), np.linspace(0, 1, channels)))
    shape = (2, antennas, 2, 4)
    ripple = (rng.normal(size=shape) / 8) @ wave
    bandpass = ((1 + ripple[0].real) * np.exp(2j * ripple[1].real)).transpose(0, 2, 1)
    with ct.table(str(path), readonly=False, ack=False) as main:
        p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        data, model = main.getcol("DATA"), main.getcol("MODEL_DATA")
        hands = [0, 0, 1, 1], [0, 1, 0, 1]
        both = bandpass[p][:, :, hands[0]] * bandpass[q][:, :, hands[1]].conj()
        gains = np.load(path.with_suffix(".truth.npy"))
        slot = np.unique(main.getcol("TIME"), return_inverse=True)[1]
        true = gains[p, slot][:, None, hands[0]] * gains[q, slot][:, None, hands[1]].conj()
        main.putcol("DATA", (data + (both - 1) * true * model).astype(np.complex64))
    np.save(path.with_suffix(".bandpass.npy"), bandpass)
    return path


def joint_forest(ms: rt.MeasurementSet) -> Any:
    """G per slot times B per channel against MODEL_DATA."""
    ns = rt.Scope()
    for p in ms.antennas:
        for name, solint in (("g", (1, None)), ("b", (None, 1))):
            corners = [ns[f"{name}{x}"](p) << Meq.Parm(1 + 0j, tags="joint", solint=solint) for x in "xy"]
            ns[name.upper()](p) << Meq.Matrix22(corners[0], 0, 0, corners[1])
        ns.J(p) << Meq.MatrixMultiply(ns.G(p), ns.B(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q, column="DATA"))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint")
    return ns.forest()


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        size = (8, 20, 16) if given.smoke else (28, 120, 64)
        folder = given.folder / "joint"
        folder.mkdir(exist_ok=True)
        path = bandpass_set(folder, *size)
        ms, read = rt.MeasurementSet(path), Reading(path, COLUMNS)
        forest = joint_forest(ms)
        report = forest.run(ms, progress=False)
        spent, floor = [], []
        for _ in range(2 if given.smoke else 5):
            floor.append(timed(read))
            spent.append(timed(lambda: forest.run(ms, progress=False)))
        ratio = report.solvers[0].chi2_per_dof()
        unknowns = sum(s.unknowns * s.status.size for s in report.solvers)
        rows = [
            ["getcolnp", min(floor), 1.0, ""],
            ["run", min(spent), min(spent) / min(floor), verdict(min(spent), 1, " s")],
            ["|chi2/dof - 1|", abs(ratio - 1), "", verdict(abs(ratio - 1), 0.005)],
        ]
        table(f"G per slot x B per channel, {path.stem}: {unknowns:,} unknowns", ["", "s", "x getcolnp", ""], rows)
        print(f"\n{report}")


if __name__ == "__main__":
    main()
