"""How long it takes to build and to compile a forest: 256 antennas x 10 directions with a gain each, nearly 800,000
nodes.

Targets: loops and `forest()` 10 s; array-wise and `forest()` 0.2 s; compiling (lowering, tables, XLA) 2 s, whatever
the number of antennas and directions. The floor of a loop is a dictionary entry and a tuple per node, made in the
same run.
"""

from __future__ import annotations

import gc
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import Options, best, options, table, timed, verdict

import rimetree as rt
from rimetree import Meq
from rimetree.batch.baselines import Baselines
from rimetree.batch.group import GroupRun
from rimetree.batch.layout import layout
from rimetree.batch.starting import Starting
from rimetree.graph.registry import load
from rimetree.solve.result.report import Report

LMN = np.array([[0.002 * d, 0.001 * d, 1 - 2.5e-6 * d * d] for d in range(10)])


def looped(antennas: list[str], baselines: list[tuple[str, str]], directions: int) -> Any:
    """sum over d of G_pd X_pqd G_qd^H = DATA_pq, node by node."""
    ns, D = rt.Scope(), range(directions)
    for d in D:
        ns.lmn(d) << Meq.Composer(*LMN[d].tolist())
        for p in antennas:
            ns.gx(p, d) << Meq.Parm(1 + 0j, tags="gain", solint=(10, None))
            ns.gy(p, d) << Meq.Parm(1 + 0j, tags="gain", solint=(10, None))
            ns.G(p, d) << Meq.Matrix22(ns.gx(p, d), 0, 0, ns.gy(p, d))
            ns.Gt(p, d) << Meq.ConjTranspose(ns.G(p, d))
    for p, q in baselines:
        uvw = ns.uvw(p, q) << Meq.Spigot(p, q, column="UVW")
        for d in D:
            ns.X(p, q, d) << Meq.PhaseDelay(ns.lmn(d), uvw)
            ns.V(p, q, d) << Meq.MatrixMultiply(ns.G(p, d), ns.X(p, q, d), ns.Gt(q, d))
        ns.eq(p, q) << Meq.Condeq(Meq.Add(*[ns.V(p, q, d) for d in D]), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    return ns.forest()


def arrayed(antennas: list[str], baselines: list[tuple[str, str]], directions: int) -> Any:
    """The same, a whole axis at once."""
    ns, D = rt.Scope(), np.arange(directions)
    A, (P, Q) = np.array(antennas)[:, None], np.array(baselines).T
    p, q = P[:, None], Q[:, None]
    ns.lmn.over(D) << Meq.Composer(*LMN[:directions].T)
    ns.gx.over(A, D) << Meq.Parm(1 + 0j, tags="gain", solint=(10, None))
    ns.gy.over(A, D) << Meq.Parm(1 + 0j, tags="gain", solint=(10, None))
    ns.G.over(A, D) << Meq.Matrix22(ns.gx.at(A, D), 0, 0, ns.gy.at(A, D))
    ns.Gt.over(A, D) << Meq.ConjTranspose(ns.G.at(A, D))
    ns.uvw.over(P, Q) << Meq.Spigot(P, Q, column="UVW")
    ns.X.over(p, q, D) << Meq.PhaseDelay(ns.lmn.at(D), ns.uvw.at(p, q))
    ns.V.over(p, q, D) << Meq.MatrixMultiply(ns.G.at(p, D), ns.X.at(p, q, D), ns.Gt.at(q, D))
    ns.eq.over(P, Q) << Meq.Condeq(Meq.Add(ns.V.at(p, q, D)), Meq.Spigot(P, Q))
    ns.solve << Meq.Solver(ns.eq, solvable="gain")
    return ns.forest()


def least(baselines: list[tuple[str, str]], directions: int) -> None:
    """What no loop over named nodes can do without: a name and a tuple of children, twice per baseline and
    direction."""
    nodes: dict[Any, Any] = {}
    for p, q in baselines:
        for d in range(directions):
            nodes["X", p, q, d] = ("PhaseDelay", d, p, q)
            nodes["V", p, q, d] = ("MatrixMultiply", p, q, d)


def compiled(forest: Any, ms: rt.MeasurementSet) -> dict[str, float]:
    """Seconds of each stage of compiling, XLA's as JAX reports them."""
    spent = {"lowering": 0.0, "trace": 0.0, "XLA": 0.0}

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            spent["XLA" if "backend" in event else "trace"] += seconds

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        began = time.perf_counter()
        (group,) = ms.groups
        report = Report(str(ms.path))
        work = GroupRun(layout(forest, Baselines.of(ms)), group, None, Starting(), report, lambda name: nullcontext())
        spent["lowering"] = time.perf_counter() - began
        (fit,) = work.classes["solve"]
        (tile,) = ms.reader(group, ["DATA"], [slice(0, group.time.size)], uvw=True)
        jax.block_until_ready(
            [e.array for t in fit.cascade.tensors(tile).values() for e in t.elements if hasattr(e, "array")]
        )
        coefs = {n: work.state.parms[n].coefs for n in fit.parms}
        cell = np.zeros((1, 1, 1, 1))
        fixed = {"values": {}, "coordinates": {"time": cell, "freq": cell}}
        first = np.zeros((1, 1), int)
        jax.block_until_ready(fit.atoms.evaluate(coefs, fixed, work.state.prepared(fit.parms, first, first)))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return spent


def building(given: Options, antennas: int, directions: int) -> None:
    names = [f"m{i:03d}" for i in range(antennas)]
    pairs = [(p, q) for i, p in enumerate(names) for q in names[i + 1 :]]
    forest = arrayed(names, pairs, directions)
    nodes, families = sum(f.size for f in forest.families), len(forest.families)
    same = len(looped(names[:5], [(p, q) for p, q in pairs if max(p, q) < names[5]], directions).families)
    gc.collect()
    floor = timed(lambda: least(pairs, directions))
    rows = []
    for name, build, most, times in (("loops", looped, 10.0, 1 if given.smoke else 2), ("array-wise", arrayed, 0.2, 3)):
        seconds = best(lambda build=build: build(names, pairs, directions), times)
        rows.append([name, seconds, 1e6 * seconds / nodes, seconds / floor, verdict(seconds, most, " s")])
    title = f"{antennas} antennas x {directions} directions: {nodes:,} nodes, {families} families (by loops {same})"
    print(f"\nfloor {floor:.2f} s")
    table(title, ["built with forest()", "s", "us/node", "x floor", "target"], rows)


def compiling(given: Options, sizes: list[tuple[int, int]]) -> None:
    rows: list[list[Any]] = []
    for antennas, directions in sizes:
        path = rt.simulate(
            Path(given.folder) / f"a{antennas}.ms", antennas, (5e9, 1, 8.0), (1.3e9, 2, 1e6), overwrite=True
        )
        ms = rt.MeasurementSet(path)
        forest = arrayed(ms.antennas, ms.baselines, directions)
        tries = [compiled(forest, ms) for _ in range(2)]
        spent = min(tries, key=lambda t: sum(t.values()))
        nodes = sum(f.size for f in forest.families)
        rows.append([f"{antennas} x {directions}", f"{nodes:,}", *spent.values(), sum(spent.values())])
    first = rows[0][-1]
    for row in rows:
        row += [row[-1] / first, verdict(row[-1], 2, " s")]
    table(
        "compiling, s",
        ["antennas x directions", "nodes", "lowering", "trace", "XLA", "total", "x first", "target"],
        rows,
    )


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        load()
        if given.smoke:
            building(given, 40, 10)
            compiling(given, [(7, 1), (14, 3)])
        else:
            building(given, 256, 10)
            compiling(given, [(28, 1), (28, 10), (128, 10), (256, 1), (256, 10)])


if __name__ == "__main__":
    main()
