"""An expression of 30 nodes on 1000 x 1000 cells: the tree, the same in one jitted JAX function, and in numpy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import best, options, table, verdict

import rimetree as rt
from rimetree import Meq

MOST = 1.2
"""The tree's time over that of the hand-written JAX function."""


def tree() -> Any:
    """30 nodes of the classes that calibration trees use, on time, on frequency and on both."""
    ns = rt.Scope()
    t, f = Meq.Time(), Meq.Freq()
    ns.slow << Meq.Sin(t * 2.0) + Meq.Sqr(Meq.Cos(t))
    ns.band << Meq.Exp(Meq.Negate(f)) * Meq.Sqrt(f + 1.5)
    ns.phase << ns.slow * ns.band + t * f
    ns.wave << Meq.Cos(ns.phase) * Meq.Exp(Meq.Negate(Meq.Sqr(ns.phase)))
    ns.tail << Meq.Atan(ns.wave + ns.slow) / (Meq.Abs(Meq.Sin(ns.phase * 0.5)) + 2.5)
    ns.root << Meq.Tanh(ns.tail - ns.wave) * ns.band + Meq.Log(Meq.Sqr(ns.tail) + 3.5)
    return ns.forest()


def by_hand(np_: Any, t: Any, f: Any) -> Any:
    """The same, written down with numpy's or JAX's functions."""
    slow = np_.sin(t * 2.0) + np_.cos(t) ** 2
    band = np_.exp(-f) * np_.sqrt(f + 1.5)
    phase = slow * band + t * f
    wave = np_.cos(phase) * np_.exp(-(phase**2))
    tail = np_.arctan(wave + slow) / (np_.abs(np_.sin(phase * 0.5)) + 2.5)
    return np_.tanh(tail - wave) * band + np_.log(tail**2 + 3.5)


def main() -> None:
    """Print the times and their ratios."""
    with options(__doc__ or "") as given:
        size = 100 if given.smoke else 1000
        cells = rt.Cells(time=(0.0, 1.0, size), freq=(0.0, 1.0, size))
        forest = tree()
        t, f = cells.time[:, None], cells.freq[None, :]
        compiled = jax.jit(lambda t, f: by_hand(jnp, t, f))
        value, expected = forest.evaluate("root", cells).values, by_hand(np, t, f)
        assert np.allclose(value, expected, rtol=1e-12) and np.allclose(compiled(t, f), expected, rtol=1e-12)
        times = 3 if given.smoke else 40
        ours = best(lambda: forest.evaluate("root", cells), times)
        jitted = best(lambda: np.asarray(compiled(t, f)), times)
        plain = best(lambda: by_hand(np, t, f), max(3, times // 4))
        rows = [
            ("rimetree", 1e3 * ours, 1.0, ""),
            ("one jitted JAX function", 1e3 * jitted, ours / jitted, verdict(ours / jitted, MOST)),
            ("numpy", 1e3 * plain, ours / plain, verdict(ours / plain, 1.0)),
        ]
        table(f"{len(forest)} nodes on {size} x {size} cells", ("", "ms", "rimetree / it", ""), rows)


if __name__ == "__main__":
    main()
