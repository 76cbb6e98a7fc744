"""The equations of one class of a joint fit that follow from the sums of all are those that its data give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.batch.joint_sums import JointSums
from rimetree.solve.settings import Settings
from rimetree.solve.single.problem import Equations

CHAINS = {
    "gains": {"G": (1, None), "B": (None, 1)},
    "three classes": {"F": (None, None), "G": (3, None), "B": (None, 1)},
    "uneven intervals": {"G": (4, 2), "B": (None, 3)},
}


@pytest.fixture
def path(kit: Any) -> Any:
    """Data of seven slots and five channels with gains, flags, an antenna flagged in a slot, and a model that is zero in another."""
    o = kit.observe(
        antennas=4,
        times=(5e9, 7, 10.0),
        freqs=(1.4e9, 5, 1e6),
        gain=lambda shape: (
            1 + 0.3 * np.random.default_rng(1).normal(size=(*shape, 2)) @ [1, 1j]  # (slot, antenna, hand, channel)
        ),
    )
    flags = np.random.default_rng(2).random(o.model.shape) < 0.2
    flags[(o.slot == 2) & ((o.p == 1) | (o.q == 1))] = True
    model = kit.getcol(o.path, "MODEL_DATA")
    model[(o.slot == 5) & ((o.p == 2) | (o.q == 2))] = 0
    kit.putcol(o.path, FLAG=flags, MODEL_DATA=model)
    return o.path


def chain(ms: Any, terms: dict[str, Any], delays: bool) -> Any:
    """Products of diagonal terms, times delays per two slots where wanted."""
    ns = rt.Scope()
    for p in ms.antennas:
        for name, solint in terms.items():
            x, y = (ns[name + hand](p) << Meq.Parm(1 + 0.1j, tags="joint", solint=solint) for hand in "xy")
            ns[name](p) << Meq.Matrix22(x, 0, 0, y)
        own = [ns[name](p) for name in terms]
        if delays:
            ns.tau(p) << Meq.Parm(0.0, tags="joint", solint=(2, None))
            turn = Meq.Exp(2j * np.pi * (ns.tau(p) * 1e-9) * (Meq.Freq() - 1.4e9))
            own.append(ns.K(p) << Meq.Matrix22(turn, 0, 0, turn))
        ns.J(p) << Meq.MatrixMultiply(*own)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint")
    return ns.forest()


def compared(own: Equations, data: Equations) -> None:
    """R^H R, R^H y, the number of data, and all of chi2 at zero."""
    R, S = (e.R[0] + 1j * e.R[1] for e in (own, data))
    y, z = (e.y[0] + 1j * e.y[1] for e in (own, data))
    scale = abs(S).max() ** 2
    np.testing.assert_allclose(abs(R) ** 2, abs(S) ** 2, rtol=1e-10, atol=1e-12 * scale)
    products = [(a[:, :, 0].conj() * b).sum(1) for a, b in ((R, y), (S, z))]
    np.testing.assert_allclose(products[0], products[1], rtol=1e-9, atol=1e-11 * abs(products[1]).max())
    np.testing.assert_array_equal(own.data, data.data)


@pytest.mark.parametrize("terms", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("delays", [False, True], ids=["", "delays"])
def test_equations_from_cells_are_those_from_data(
    path: Any, terms: dict[str, Any], delays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, seen = JointSums.equations, set()

    def both(self: JointSums, i: int) -> list[Equations] | None:
        made, own = known(self, i), self.joint.classes[i]
        data = own._sums(self.span, Settings()).equations
        power = [0.0, 0.0]
        if made is not None:
            for one, other in zip(made, data, strict=True):
                compared(one, other)
                for k, e in enumerate((one, other)):
                    power[k] = power[k] + (e.y[0] ** 2 + e.y[1] ** 2).sum((0, 1, 2)) + e.constant.sum(0)
            np.testing.assert_allclose(*power, rtol=1e-10, atol=1e-10 * np.max(power[1]))
        gains = set(own.unknowns.parts.values()) == {2}  # delays vary within cells of several channels
        assert (made is not None) == gains
        seen.add(i)
        return made

    monkeypatch.setattr(JointSums, "equations", both)
    ms = rt.MeasurementSet(path)
    chain(ms, terms, delays).run(ms, progress=False)
    assert seen == set(range(len(terms) + delays))
