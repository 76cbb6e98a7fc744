"""Whether cold starts end at the global minimum, or say that they do not: gains of random phases, from a start of 1.

Arrays of 7 to 64 antennas, diagonal and full Jones, unpolarised and polarised models; from one solution interval to the
next the signal-to-noise ratio per visibility (of one channel, or eight) goes from 0.3 to 100, and every case has its turn: all
well, 30 % random flags, dead antennas (flagged), a dead first antenna, dead antennas whose data are noise.

The reference of every interval is the lowest chi-squared of three fits: the cold one, one from the truth, and one from
other random phases. Target: at least 99.9 % of all subproblems are at that minimum or reported as not converged, and
none is wrong and called converged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from casacore import tables as ct
from common import options, table, verdict

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

CASES = ("all well", "30 % flags", "dead antennas", "dead first antenna", "noise only")
ANTENNAS = (7, 16, 32, 64)
CHANNELS = (1, 8)
LIMITS = 0.3, 100.0
WRONG = 1e-2
"""A chi-squared this far above that of the best fit, in units of the change that one standard error makes, is another minimum."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A Measurement Set and what is true in it: gains (slot, antenna, 2, 2), SNR and case of every slot."""

    path: Path
    gains: np.ndarray
    snr: np.ndarray
    case: np.ndarray


def trial(path: Path, antennas: int, slots: int, full: bool, polarised: bool, channels: int, seed: int) -> Trial:
    """Write DATA, MODEL_DATA, FLAG and WEIGHT_SPECTRUM."""
    rng = np.random.default_rng(seed)
    rt.simulate(path, antennas, (5.0e9, slots, 8.0), (1.3e9, channels, 250e3), noise=1.0, overwrite=True)
    gains = np.zeros((slots, antennas, 2, 2), complex)
    amplitudes = 1 + 0.2 * rng.normal(size=(slots, antennas, 2))
    gains[..., [0, 1], [0, 1]] = amplitudes * np.exp(2j * np.pi * rng.random((slots, antennas, 2)))
    if full:
        gains = gains @ (np.eye(2) + 0.1 * (rng.normal(size=gains.shape) + 1j * rng.normal(size=gains.shape)))
    snr = np.exp(rng.uniform(*np.log(LIMITS), slots))
    case = np.arange(slots) % len(CASES)
    with ct.table(str(path), readonly=False, ack=False) as main:
        p, q, time = (main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "TIME"))
        slot = np.unique(time, return_inverse=True)[1]
        model = _model(rng, (len(p), channels), polarised)
        signal = gains[slot, p][:, None] @ model @ gains[slot, q][:, None].conj().swapaxes(-1, -2)
        flags = np.zeros(signal.shape, bool)
        for s in range(slots):
            rows = np.flatnonzero(slot == s)
            dead = rng.choice(antennas, 2, replace=False)
            if case[s] == 1:
                flags[rows] = (rng.random((len(rows), channels)) < 0.3)[..., None, None]
            elif case[s] == 2:
                flags[rows[np.isin(p[rows], dead) | np.isin(q[rows], dead)]] = True
            elif case[s] == 3:
                flags[rows[(p[rows] == 0) | (q[rows] == 0)]] = True
            elif case[s] == 4:
                signal[rows[np.isin(p[rows], dead) | np.isin(q[rows], dead)]] = 0
        noise = rng.normal(size=(2, *signal.shape)) / np.sqrt(2)
        data = signal + (noise[0] + 1j * noise[1]) / snr[slot, None, None, None]
        weights = np.broadcast_to(snr[slot, None, None] ** 2, (len(p), channels, 4))
        main.addcols(ct.makecoldesc("MODEL_DATA", main.getcoldesc("DATA")), main.getdminfo("DATA") | {"NAME": "Model"})
        for name, values in (("DATA", data), ("MODEL_DATA", model), ("FLAG", flags)):
            main.putcol(name, values.reshape(len(p), channels, 4))
        main.putcol("WEIGHT_SPECTRUM", weights.astype(np.float32))
    return Trial(path, gains, snr, case)


def _model(rng: np.random.Generator, shape: tuple[int, int], polarised: bool) -> np.ndarray:
    """(row, channel, 2, 2): a point source of unit flux (over several channels, others too); Q, U and V if polarised."""
    other = 0.3 * np.exp(2j * np.pi * rng.random(shape)) * (shape[1] > 1)
    whole = 1 + other
    stokes = np.array([1, 0.1, 0.05, 0.01]) if polarised else np.array([1, 0, 0, 0])
    I, Q, U, V = stokes
    brightness = np.array([[I + Q, U + 1j * V], [U - 1j * V, I - Q]])
    second = np.array([[1, 0.08j], [-0.08j, 1]]) if polarised else np.eye(2)
    return np.asarray(brightness * np.ones_like(whole)[..., None, None] + second * other[..., None, None])


def forest(ms: rt.MeasurementSet, full: bool) -> Any:
    """Gains of one slot each."""
    ns = rt.Scope()
    for p in ms.antennas:
        for name, start in (("xx", 1 + 0j), ("xy", 0j), ("yx", 0j), ("yy", 1 + 0j)):
            if full or name in ("xx", "yy"):
                ns[f"g{name}"](p) << Meq.Parm(start, tags="gain", solint=(1, None))
        off = (ns.gxy(p), ns.gyx(p)) if full else (0, 0)
        ns.G(p) << Meq.Matrix22(ns.gxx(p), *off, ns.gyy(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q, column="DATA"))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", max_iter=100)
    return ns.forest()


def started(report: Any, gains: np.ndarray) -> Any:
    """The solutions of a report with other values: gains (slot, antenna, 2, 2)."""
    (group,) = report.tables.groups
    places = {"gxx": (0, 0), "gxy": (0, 1), "gyx": (1, 0), "gyy": (1, 1)}
    parms = [replace(t, values=gains[..., *places[t.label]].T[:, :, None, None, None].copy()) for t in group.parms]
    return type(report.tables)([replace(group, parms=parms)], {})


def outcomes(made: Trial, full: bool, seed: int) -> Iterator[tuple[int, int, float, float, int]]:
    """Per subproblem: slot, status, excess of chi2 over the best, that of the fit from the truth, iterations."""
    ms = rt.MeasurementSet(made.path)
    equations = forest(ms, full)
    cold = equations.run(ms, progress=False)
    rng = np.random.default_rng(seed)
    random = made.gains * np.exp(2j * np.pi * rng.random(made.gains.shape))
    others = [equations.run(ms, progress=False, start=started(cold, g)) for g in (made.gains, random)]
    for number, own in enumerate(cold.solvers):
        chi2 = np.stack([own.chi2, *(r.solvers[number].chi2 for r in others)])[..., 0]
        best = np.nanmin(chi2, 0)
        for s in range(len(made.snr)):
            yield s, int(own.status[s, 0]), chi2[0, s] - best[s], chi2[1, s] - best[s], int(own.iterations[s, 0])


def main() -> None:
    own = {"thorough": "more than 3,000 subproblems instead of 300", "details": "name every one that is not converged"}
    with options(__doc__.splitlines()[0], **own) as given:
        slots = 100 if "thorough" in given.switches else 5 if given.smoke else 10
        kinds = product(ANTENNAS[:2] if given.smoke else ANTENNAS, (False, True), (False, True), CHANNELS)
        rows, totals = [], np.zeros(4, int)
        for seed, (antennas, full, polarised, channels) in enumerate(kinds):
            made = trial(given.folder / f"cold{seed}.ms", antennas, slots, full, polarised, channels, seed)
            found = list(outcomes(made, full, seed))
            converged = np.array([f[1] == Status.CONVERGED for f in found])
            wrong = np.array([f[2] > WRONG for f in found]) & converged
            counts = np.array([len(found), (converged & ~wrong).sum(), (~converged).sum(), wrong.sum()])
            totals += counts
            name = (
                f"{antennas} antennas, {channels} channels, {'full' if full else 'diagonal'}{', polarised' * polarised}"
            )
            words = sorted({Status(f[1]).word for f in found} - {"converged"})
            rows.append([name, *map(str, counts), ", ".join(words)])
            for f in [
                f for f, bad in zip(found, wrong | ~converged, strict=True) if bad and "details" in given.switches
            ]:
                where = f"{name}, slot {f[0]}, SNR {made.snr[f[0]]:.2g}, {CASES[made.case[f[0]]]}"
                print(f"{where}: {Status(f[1]).word}, {f[2]:.3g} above the best, {f[4]} iterations", flush=True)
        honest = 100 * (1 - totals[3] / totals[0])
        rows.append(["all", *map(str, totals), f"{honest:.2f} % true; {verdict(totals[3] / totals[0], 1e-3)}"])
        table("cold starts of random phase", ["", "subproblems", "at the minimum", "said no", "wrong", ""], rows)


if __name__ == "__main__":
    main()
