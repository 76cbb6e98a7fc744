"""Fits without a normal matrix: what a product costs beside one evaluation of the residuals, and all of a fit beside the matrix.

20 antennas, amplitude and phase of two feeds as splines in time over the whole observation: 10^3 to 10^5 unknowns in one solution
interval. The fit with a matrix is timed where it takes less than a minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import NOISE, best, fill, options, sky, table, timed

import rimetree as rt
from rimetree import Meq
from rimetree.solve.matrix_free import MatrixFree


def drifting_set(folder: Path, antennas: int, slots: int) -> Path:
    """Two channels of gains whose amplitudes and phases are sines of time; made once."""
    path = folder / f"drift{antennas}x{slots}.ms"
    if path.exists():
        return path
    rng = np.random.default_rng(1)
    rate, start = rng.uniform(-0.3, 0.3, (2, antennas, 1, 2))
    time = np.linspace(0, 1, slots)[:, None]
    gains = (1 + 0.2 * np.sin(7 * time + 9 * start)) * np.exp(1j * (start + rate * np.sin(5 * time)))
    rt.simulate(path, antennas, (5.0e9, slots, 8.0), (1.3e9, 2, 250e3), noise=NOISE)
    fill(path, {"MODEL_DATA": sky}, lambda t: (gains[:, t, None, :, None] * np.eye(2))[None])
    return path


def spline_forest(ms: rt.MeasurementSet, pieces: int, algorithm: str) -> Any:
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
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", algorithm=algorithm)
    return ns.forest()


class Watched:
    """Counts products of all fits within, and keeps the last problem."""

    def __init__(self) -> None:
        self.problem: MatrixFree | None = None
        self.products, self._product = 0, MatrixFree.product

    def __enter__(self) -> Watched:
        def product(problem: MatrixFree, points: np.ndarray, x: np.ndarray) -> np.ndarray:
            self.problem, self.products = problem, self.products + 1
            return self._product(problem, points, x)

        MatrixFree.product = product  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: Any) -> None:
        MatrixFree.product = self._product  # type: ignore[method-assign]


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        antennas, sizes = (4, (5,)) if given.smoke else (20, (10, 122, 1247))
        rows = []
        for pieces in sizes:
            ms = rt.MeasurementSet(drifting_set(given.folder, antennas, 2 * (pieces + 3)))
            unknowns = 4 * antennas * (pieces + 3)
            forest = spline_forest(ms, pieces, "gn-cg")
            with Watched() as watched:
                forest.run(ms, progress=False)
                watched.products = 0
                whole = timed(lambda forest=forest, ms=ms: forest.run(ms, progress=False))
            problem = watched.problem
            x = np.ones(problem.count)
            forward = best(lambda p=problem, x=x: [np.asarray(p.residuals.value(x, d)) for d in p.pieces()], 3)
            product = best(lambda p=problem, x=x: p.product(x, x), 3)
            matrix = "-"
            if unknowns <= 2000:
                dense = spline_forest(ms, pieces, "lm")
                dense.run(ms, progress=False)
                matrix = whole / timed(lambda forest=dense, ms=ms: forest.run(ms, progress=False))
            rows.append(
                [
                    f"{unknowns:,}",
                    forward,
                    product,
                    product / forward,
                    f"{watched.products}",
                    whole,
                    whole / forward,
                    matrix,
                ]
            )
        head = ["unknowns", "residuals s", "product s", "ratio", "products", "fit s", "fit / residuals", "fit / matrix"]
        table(f"Without a matrix: {antennas} antennas, splines in time", head, rows)


if __name__ == "__main__":
    main()
