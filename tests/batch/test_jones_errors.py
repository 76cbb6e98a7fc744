"""Errors of the matrices in a solution file: those of the Parms that make them, by the derivative of the element."""

from __future__ import annotations

from typing import Any

import numpy as np

import rimetree as rt
from rimetree import Meq


def solved(kit: Any, jones: Any) -> tuple[Any, Any]:
    """The Jones table, and the Parm tables by label."""
    ms = rt.MeasurementSet(kit.observe(spread=0.2).path)
    ns = rt.Scope()
    for p in ms.antennas:
        ns.G(p) << jones(ns, p)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="x")
    group = ns.forest().run(ms, progress=False, ref_antenna="ant00").tables.groups[0]
    return group.jones[0], {table.label: table for table in group.parms}


def parm(ns: Any, name: str, p: str, value: Any, **options: Any) -> Any:
    return ns[name](p) << Meq.Parm(value, tags="x", **{"solint": 2} | options)


def test_an_element_that_is_a_parm_has_its_error(kit) -> None:
    jones, parms = solved(kit, lambda ns, p: Meq.Matrix22(parm(ns, "x", p, 1 + 0j), 0, 0, parm(ns, "y", p, 1 + 0j)))
    for e, label in enumerate("xy"):
        expected = parms[label].errors[..., 0, 0].transpose(0, 2, 1)
        assert (expected > 0).all()
        np.testing.assert_allclose(jones.errors[..., e, e], expected, rtol=1e-6)
    assert np.isnan(jones.errors[..., 0, 1]).all()  # a zero that is known


def test_functions_of_one_parm(kit) -> None:
    """exp(i phi) changes by sigma; the reference, whose phase is known, by nothing."""
    jones, parms = solved(kit, lambda ns, p: Meq.Matrix22(g := Meq.Exp(1j * parm(ns, "f", p, 0.0)), 0, 0, g))
    sigma = parms["f"].errors[..., 0, 0].transpose(0, 2, 1)
    np.testing.assert_allclose(jones.errors[1:, ..., 0, 0], sigma[1:], rtol=1e-4)
    assert not sigma[0].any() and np.isnan(jones.errors[0]).all()


def test_what_depends_on_two_has_no_error_without_their_covariance(kit) -> None:
    jones, _ = solved(
        kit, lambda ns, p: Meq.Matrix22(g := Meq.Polar(parm(ns, "a", p, 1.0), parm(ns, "f", p, 0.0)), 0, 0, g)
    )
    assert np.isnan(jones.errors[1:]).all()


def test_a_polynomial_has_its_error_where_only_its_constant_counts(kit) -> None:
    """In the middle of an interval of three slots the slope, whose covariance with the constant is not kept, changes nothing."""
    jones, parms = solved(kit, lambda ns, p: Meq.Matrix22(g := parm(ns, "g", p, [[1 + 0j], [0j]], solint=3), 0, 0, g))
    assert jones.errors.shape[2] == 6
    np.testing.assert_allclose(jones.errors[:, 0, [1, 4], 0, 0], parms["g"].errors[:, :, 0, 0, 0], rtol=1e-6)
    assert np.isnan(jones.errors[:, 0, [0, 2, 3, 5]]).all()
