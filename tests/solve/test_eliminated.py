"""Exact steps of coupled problems, where the diagonal by which they are damped was made elsewhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rimetree.solve.joint import eliminated
from rimetree.solve.joint.assembled import Layout, Parts
from rimetree.solve.joint.cg import Blocks


@pytest.mark.parametrize("whole", [True, False])
def test_unknowns_that_had_no_curvature_where_blocks_were_made(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """A matrix of which one direction is null, and of which one unknown changes nothing: consistent equations are solved."""
    J = np.array([[1.0, 1, 0, 0], [0, 0, 2, 0]])
    M, nothing = J.T @ J, np.empty((0, 0, 0))
    if whole:
        layout = Layout(np.empty((0, 0), int), np.empty((0, 0), bool), np.arange(4))
        parts = Parts(layout, nothing, np.empty((0, 0, 4)), M)
    else:
        layout = Layout(np.array([[0, 1]]), np.ones((1, 2), bool), np.array([2, 3]))
        parts = Parts(layout, M[None, :2, :2], M[None, :2, 2:], M[2:, 2:])
    monkeypatch.setattr(eliminated, "assembled", lambda *_: [parts])
    problem: Any = SimpleNamespace(count=4)
    near = Blocks([np.array([[2]])], [np.full((1, 1, 1), 3.0)])
    made = eliminated.eliminated(problem, problem, near, problem)
    for damping in (None, np.full(4, 1e-9)):
        x = made.preconditioner(near.__matmul__, damping)(M @ [1.0, 2, 3, 4])
        np.testing.assert_allclose(M @ x, M @ [1.0, 2, 3, 4], rtol=1e-6)
        assert x[3] == 0
