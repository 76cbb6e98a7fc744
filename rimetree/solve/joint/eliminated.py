"""Coupled problems by elimination: exact steps where conjugate gradients would need more work, and errors (see `assembled`).

With A the blocks of the class that is eliminated, C what they share with the other unknowns and B the matrix between these, all of it is
the Schur complement S = B - C^T A^-1 C (Golub & Van Loan, Matrix Computations, section 4.2; in the bundle adjustment of photogrammetry it
is the reduced camera system).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from .assembled import Parts, Plan, assembled

if TYPE_CHECKING:
    from .cg import Blocks
    from .coupled import Coupled, Points

RIDGE = 1e-9
"""Relative to the diagonal, so that null directions have a factor."""

SHARED = 1500
"""Unknowns from which threads of BLAS gain more than they lose beside others."""

Vector = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A system without its inner unknowns: `root` (blocks, size, size), roots of a (generalised) inverse G^T G of their blocks; `cross`
    (inner, n), these times what inner unknowns share with others; and what remains between those, (n, n)."""

    root: np.ndarray
    cross: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, parts: Parts, root: np.ndarray, more: Vector | float = 0.0) -> Reduced:
        """By roots, and with `more` on the diagonal of what remains."""
        n = len(parts.outer)
        cross = (root @ parts.cross).reshape(root.shape[0] * root.shape[1], n)
        rest = parts.outer - cross.T @ cross if len(cross) else parts.outer.copy()
        rest[range(n), range(n)] += more
        return cls(root, cross, rest)

    def inner(self, x: np.ndarray) -> np.ndarray:
        """Roots times (inner, m)."""
        blocks, size = self.root.shape[:2]
        return np.asarray((self.root @ x.reshape(blocks, size, x.shape[1])).reshape(x.shape))

    def back(self, x: np.ndarray) -> np.ndarray:
        """The transpose of `inner`."""
        blocks, size = self.root.shape[:2]
        return np.asarray((self.root.swapaxes(1, 2) @ x.reshape(blocks, size, x.shape[1])).reshape(x.shape))


@dataclass(frozen=True, slots=True, eq=False)
class Eliminated:
    """The normal matrix in parts; `near` (unknowns,) its diagonal, or what is near it."""

    parts: Sequence[Parts]
    near: Vector

    def preconditioner(
        self, inverse: Callable[[Vector], Vector], damping: Vector | None = None
    ) -> Callable[[Vector], Vector]:
        """Its inverse, with `damping` (unknowns,) times the diagonal added."""
        more = self.near * (RIDGE + (0.0 if damping is None else damping))
        factors = [_Factor.of(parts, more) for parts in self.parts]

        def apply(r: Vector) -> Vector:
            x = np.zeros_like(r)
            for factor in factors:
                factor.solve(r, x)
            return x

        return apply


@dataclass(frozen=True, slots=True, eq=False)
class _Factor:
    """Cholesky factor of a system."""

    parts: Parts
    reduced: Reduced
    lower: np.ndarray

    @classmethod
    def of(cls, parts: Parts, more: Vector) -> _Factor:
        """With `more` (unknowns,) on the diagonal."""
        own, n = parts.layout, len(parts.outer)
        size = own.inner.shape[1]
        with threadpool_limits(None if n > SHARED else 1):
            for slack in (1.0, 1e3, 1e6):  # rounding may leave a pivot below zero
                inner = parts.inner.copy()
                inner[:, range(size), range(size)] += np.where(own.there, slack * more[own.inner], 0.0)
                try:
                    root = np.linalg.inv(np.linalg.cholesky(inner))
                except np.linalg.LinAlgError:
                    continue
                reduced = Reduced.of(parts, root, slack * more[own.outer])
                lower, fault = lapack.dpotrf(reduced.rest, lower=1, clean=0, overwrite_a=1)
                if not fault:
                    return cls(parts, reduced, lower)
        raise FloatingPointError("a normal matrix has curvature below zero")  # which no J^T J has

    def solve(self, b: Vector, x: Vector) -> None:
        """Put the solution for b (unknowns,) into x."""
        own, reduced = self.parts.layout, self.reduced
        inner = reduced.inner(np.where(own.there, b[own.inner], 0.0).reshape(-1, 1))[:, 0]
        outer = b[own.outer] - reduced.cross.T @ inner
        x[own.outer] = outer = lapack.dpotrs(self.lower, outer, lower=1)[0] if outer.size else outer
        found = reduced.back((inner - reduced.cross @ outer)[:, None]).reshape(own.inner.shape)
        x[own.inner[own.there]] = found[own.there]


def eliminated(problem: Coupled, points: Points, blocks: Blocks, plan: Plan) -> Eliminated:
    """The normal matrix of the systems of a plan."""
    made, near = assembled(problem, points, plan), blocks.diagonal(problem.count)
    own = np.zeros_like(near)
    for parts in made:
        there = parts.layout.there
        own[parts.layout.inner[there]] = np.diagonal(parts.inner, axis1=1, axis2=2)[there]
        own[parts.layout.outer] = np.diagonal(parts.outer)
    # Blocks may be of another place, where an unknown changed nothing: an amplitude that another one multiplied with 0.
    return Eliminated(made, np.where(near > 0, near, np.where(own > 0, own, 1 / RIDGE)))
