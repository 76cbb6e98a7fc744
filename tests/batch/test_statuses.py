"""Every algorithm says the same of the same bad input, interval by interval and antenna by antenna, and leaves what is good alone."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

ANTENNAS = 5
WAYS: dict[str, dict[str, str]] = {
    **{name: {"algorithm": name} for name in ("auto", "lm", "newton", "gn-cg", "scipy")},
    **({"ceres": {"algorithm": "ceres"}} if find_spec("pyceres") else {}),  # not a package that rimetree asks for
    "jax": {"backend": "jax"},
    "jax without sums": {"backend": "jax", "algorithm": "gn-cg"},
}
FINE, NONE, FREE, LOST = Status.CONVERGED, Status.NO_DATA, Status.SINGULAR, Status.LOW_SNR


def bad(columns: dict[str, np.ndarray], fault: str, own: np.ndarray, p: np.ndarray, q: np.ndarray) -> None:
    """Spoil the rows `own`."""
    data, model, flag, weight = (columns[n] for n in ("DATA", "MODEL_DATA", "FLAG", "WEIGHT_SPECTRUM"))
    rng = np.random.default_rng(1)
    dead = own & ((p == 2) | (q == 2))
    match fault:
        case "flagged":
            flag[own] = True
        case "weights of zero":
            weight[own] = 0
        case "data that are no numbers":
            data[own] = np.nan
        case "a dead antenna":
            flag[dead] = True
        case "an antenna without weight":
            weight[dead] = 0
        case "a model of zeros":
            model[own] = 0
        case "data of zeros":
            data[own] = 0
        case "noise alone":
            data[own] = 0.1 * rng.normal(size=data[own].shape)
        case "two data":
            flag[own] = True
            flag[np.flatnonzero(own)[:2], 0, 0] = False
        case "one baseline":
            flag[own & ~((p == 0) & (q == 1))] = True
        case "two antennas that see only each other":
            flag[own & (p < 3) & (q >= 3)] = True


EXPECTED: dict[str, tuple[Status, list[Status]]] = {
    "nothing": (FINE, [FINE] * 5),
    "flagged": (NONE, [NONE] * 5),
    "weights of zero": (NONE, [NONE] * 5),
    "data that are no numbers": (NONE, [NONE] * 5),
    "a dead antenna": (FINE, [FINE, FINE, NONE, FINE, FINE]),
    "an antenna without weight": (FINE, [FINE, FINE, NONE, FINE, FINE]),
    "a model of zeros": (FREE, [FREE] * 5),
    "data of zeros": (LOST, [LOST] * 5),
    "noise alone": (LOST, [LOST] * 5),
    "two data": (Status.TOO_FEW_DATA, [NONE] * 5),
    "one baseline": (FREE, [FREE, FREE, NONE, NONE, NONE]),
    "two antennas that see only each other": (FREE, [FINE, FINE, FINE, FREE, FREE]),
}
"""Fault -> status of an interval with 5 gains, and of each."""


@pytest.fixture
def seen(kit: Any) -> SimpleNamespace:
    """One interval of two slots for every fault."""
    o = kit.observe(antennas=ANTENNAS, times=(5e9, 2 * len(EXPECTED), 10.0))
    columns = {n: kit.getcol(o.path, n) for n in ("DATA", "MODEL_DATA", "FLAG", "WEIGHT_SPECTRUM")}
    clean = solve(rt.MeasurementSet(o.path))
    for number, fault in enumerate(EXPECTED):
        bad(columns, fault, o.slot // 2 == number, o.p, o.q)
    kit.putcol(o.path, **columns)
    return SimpleNamespace(path=o.path, clean=clean.tables.parm("g").values[..., 0, 0, 0])


def solve(ms: Any, **options: Any) -> Any:
    """A gain per antenna for XX."""
    ns = rt.Scope()
    for p in ms.antennas:
        ns.g(p) << Meq.Parm(1 + 0j, solint=2)
    for p, q in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(p, q, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(p, q) << Meq.Condeq(ns.g(p) * x * Meq.Conj(ns.g(q)), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="g", **options)
    return ns.forest().run(ms, progress=False)


@pytest.mark.parametrize("way", WAYS)
def test_statuses(seen: SimpleNamespace, way: str) -> None:
    report = solve(rt.MeasurementSet(seen.path), **WAYS[way])
    summary, table = report.solvers[0], report.tables.parm("g")
    found = dict(zip(EXPECTED, zip(summary.status[:, 0], table.status[..., 0].T.tolist(), strict=True), strict=True))
    assert found == {fault: (own, each) for fault, (own, each) in EXPECTED.items()}
    status, value = table.status[..., 0], table.values[..., 0, 0, 0]
    assert (value[status == NONE] == 1).all(), "what has no data stays where it was"
    np.testing.assert_array_equal(
        np.isfinite(table.errors[..., 0, 0, 0])[:, summary.status[:, 0] == FINE],
        (status == FINE)[:, summary.status[:, 0] == FINE],
    )
    fine, phase = value[:, 0], (value[:, 0] * seen.clean[:, 0].conj()).sum()
    np.testing.assert_allclose(fine * abs(phase) / phase, seen.clean[:, 0], atol=1e-4)
    data = 10 * 2 * 4 * 2  # baselines, slots, channels, parts
    assert summary.dof[0, 0] == data - (2 * ANTENNAS - 1), "the common phase is free, and takes no datum"
    assert summary.dof[list(EXPECTED).index("a dead antenna"), 0] == 6 * 2 * 4 * 2 - 7
