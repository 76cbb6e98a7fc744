"""Fits of many unknowns in one solution interval: products with sums over cells, or with pieces of data, beside the residuals.

Amplitude and phase of two feeds as splines in time over the whole observation. "Sums" is what gn-cg does where these fit in memory, with
the banded normal matrix as its preconditioner; "pieces" what it does elsewhere (`backend="jax"`). The residuals are evaluated once over
all data, by the program that the pieces take. The fit with a matrix is timed where it takes less than a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from casacore import tables as ct
from common import NOISE, best, options, table
from scipy.interpolate import BSpline

import rimetree as rt
from rimetree import Meq
from rimetree.batch import matrix_free
from rimetree.solve.joint.matrix_free import MatrixFree

FEW, LARGE = 5_000, 1_000_000
"""Unknowns up to which pieces and a matrix are tried, and those of --large."""


FLUX, CHANNELS = 10.0, 2


def drifts(antennas: int, slots: int) -> np.ndarray:
    """Gains (slots, antennas, feeds) whose amplitudes and phases are sines of time."""
    rate, start = np.random.default_rng(1).uniform(-0.3, 0.3, (2, 1, antennas, 2))
    when = np.linspace(0, 1, slots)[:, None, None]
    return (1 + 0.2 * np.sin(7 * when + 9 * start)) * np.exp(1j * (start + rate * np.sin(5 * when)))


def drifting_set(folder: Path, antennas: int, slots: int) -> Path:
    """Two channels of a point source of 10 Jy with such gains; made once."""
    path = folder / f"drift{antennas}x{slots}.ms"
    if path.exists():
        return path
    rng, gains = np.random.default_rng(2), drifts(antennas, slots)[:, :, None]
    rt.simulate(path, antennas, (5.0e9, slots, 8.0), (1.3e9, CHANNELS, 250e3), noise=NOISE)
    with ct.table(str(path), readonly=False, ack=False) as main:
        name, stored = "MODEL_DATA", main.getcoldesc("DATA")
        main.addcols(ct.makecoldesc(name, stored), main.getdminfo("DATA") | {"NAME": "TiledModel"})
        p, q, when = (main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "TIME"))
        slot = np.unique(when, return_inverse=True)[1]
        model = np.zeros((len(p), CHANNELS, 4), np.complex64)
        model[..., [0, 3]] = FLUX
        data = rng.normal(0, NOISE / np.sqrt(2), (*model.shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
        data[..., [0, 3]] += FLUX * gains[slot, p] * gains[slot, q].conj()
        main.putcol("MODEL_DATA", model)
        main.putcol("DATA", data)
    return path


def distance(report: rt.Report, antennas: int, coefficients: int) -> float:
    """chi2 of the difference between predicted and true visibilities, over what noise gives so many unknowns: 1. What all phases of
    a feed share is not determined."""
    pieces, slots = coefficients - 3, 2 * coefficients
    knots = np.concatenate([np.zeros(3), np.arange(pieces + 1.0), np.full(3, pieces)])
    at = (np.arange(slots) + 0.5) / slots * pieces
    curve = {
        t.label: BSpline(knots, t.values.reshape(antennas, coefficients).T, 3)(at)
        for t in report.tables.groups[0].parms
    }
    found = np.stack([curve["a" + h] * np.exp(1j * curve["f" + h]) for h in "xy"], 2)
    true, away = drifts(antennas, slots), 0.0
    for p, q in zip(*np.triu_indices(antennas, 1), strict=True):
        away += (abs(found[:, p] * found[:, q].conj() - true[:, p] * true[:, q].conj()) ** 2).sum()
    return float(away * CHANNELS * FLUX**2 * 2 / NOISE**2 / ((4 * antennas - 2) * coefficients))


def spline_forest(ms: rt.MeasurementSet, pieces: int, **solver: Any) -> Any:
    """DATA = G MODEL_DATA G^H with splines for the amplitudes and phases in G."""
    ns, shape = rt.Scope(), rt.funklets.Spline(time=pieces)
    for p in ms.antennas:
        for h in "xy":
            ns["a" + h](p) << Meq.Parm(1.0, tags="gain", funklet=shape)
            ns["f" + h](p) << Meq.Parm(0.0, tags="gain", funklet=shape)
            ns["g" + h](p) << ns["a" + h](p) * Meq.Exp(1j * ns["f" + h](p))
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", **solver)
    return ns.forest()


class Watched:
    """Keeps the last problem that is fitted within, and what was found."""

    def __init__(self) -> None:
        self.problem: Any = None
        self.found: Any = None
        self._fit: Callable[..., Any] = matrix_free.fit

    def __enter__(self) -> Watched:
        def fit(problem: Any, *rest: Any) -> Any:
            self.problem, self.found = problem, self._fit(problem, *rest)
            return self.found

        matrix_free.fit = fit  # type: ignore[assignment]
        return self

    def __exit__(self, *_: Any) -> None:
        matrix_free.fit = self._fit  # type: ignore[assignment]


def measured(ms: rt.MeasurementSet, pieces: int, warm: bool, **solver: Any) -> tuple[Watched, Any, float]:
    """A fit, its report, and its wall time in s; `warm`: the second of two."""
    forest = spline_forest(ms, pieces, **solver)
    with Watched() as watched:
        for _ in range(1 + warm):
            began = time.perf_counter()
            report = forest.run(ms, progress=False)
            whole = time.perf_counter() - began
    return watched, report, whole


def main() -> None:
    with options(__doc__.splitlines()[0], large=f"{LARGE:,} unknowns of 8 antennas, too") as given:
        sizes = [(4, 160)] if given.smoke else [(20, 1_000), (20, 10_000), (20, 100_000)]
        sizes += [(8, LARGE)] * ("large" in given.switches)
        rows, fits = [], []
        for antennas, wanted in sizes:
            count = max(wanted // (4 * antennas), 4)
            ms = rt.MeasurementSet(drifting_set(given.folder, antennas, 2 * count))
            unknowns, few = f"{4 * antennas * count:,}", wanted <= FEW
            matrix = measured(ms, count - 3, True, algorithm="lm")[2] if few else np.nan
            for backend in ["jax"] * few + ["numba"]:
                watched, report, whole = measured(ms, count - 3, few, algorithm="gn-cg", backend=backend)
                problem, found = watched.problem, watched.found
                points, step = problem.points(found.x), np.ones(problem.count)
                product = best(lambda p=problem, at=points, x=step: p.product(at, x), 3)
                per, seen = whole / problem.count * 1e6, found.chi2.sum() / found.dof.sum()
                if isinstance(problem, MatrixFree):
                    forward = best(
                        lambda p=problem, x=found.x: [np.asarray(p.residuals.value(x, d)) for d in p.pieces()], 3
                    )
                    fits.append([unknowns, forward, product, product / forward, whole / forward, whole / matrix])
                else:
                    off = distance(report, antennas, count)
                    rows.append([unknowns, product, f"{found.products}", whole, per, seen, off])
        head = ["unknowns", "product s", "products", "fit s", "us per unknown", "chi2 / dof", "error / expected"]
        table("Splines in time, all in one solution interval, from sums", head, rows)
        head = ["unknowns", "residuals s", "product s", "ratio", "fit / residuals", "fit / matrix"]
        table("The same in pieces of data", head, fits)


if __name__ == "__main__":
    main()
