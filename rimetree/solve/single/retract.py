"""How a step is applied to parameters: added, or multiplied into a gain or a Jones matrix.

The degenerate directions of a gain solve are phases (G -> G exp(i a)) and, for full Jones, matrices (G -> G U). A
step that is multiplied in follows these curved valleys; an added one crawls. The linear system and the step are the
same in both cases.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.linalg import splu

from ...kernels import kernel
from ..algebra.simd import KERNEL

LARGEST = 1.0
"""Relative steps up to this size are multiplied in; larger ones are added."""


@dataclass(frozen=True, slots=True, eq=False)
class Retraction:
    """`gains`: numbers (m,) of the real part of complex unknowns (imaginary part follows); `matrices`: (k, 4) such
    numbers of the elements xx, xy, yx, yy of Jones matrices. All other unknowns are additive."""

    gains: np.ndarray
    matrices: np.ndarray

    def __call__(self, theta: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """New unknowns (n, S) after the step `delta` (n, S)."""
        result = np.empty_like(theta)
        retract(theta, delta, np.asarray(self.gains, np.int64), np.asarray(self.matrices, np.int64), result)
        return result

    def curvature(self, theta: np.ndarray, half_gradient: np.ndarray) -> np.ndarray:
        """(S, n, n): what the bending of a step adds to half the Hessian of a function whose `half_gradient` (n, S) is given.

        g exp(d/g) = g + d + d^2/2g + ..., G expm(G^-1 D) = G + D + D G^-1 D / 2 + ...: a quadratic function of theta gets a further
        term of second order in the step, Re(conj(w) d^2/g) or Re(tr(W^H D G^-1 D)).
        """
        n, S = theta.shape
        result = np.zeros((S, n, n))
        for rows in [*np.reshape(self.gains, (-1, 1)), *self.matrices]:
            value, w = theta[rows] + 1j * theta[rows + 1], half_gradient[rows] - 1j * half_gradient[rows + 1]
            if len(rows) == 1:
                form = (w / np.where(value == 0, np.inf, value)).T[:, None]
            else:
                g, w = value.T.reshape(S, 2, 2), w.T.reshape(S, 2, 2)
                det = np.linalg.det(g)
                singular = det == 0
                inverse = np.linalg.inv(np.where(singular[:, None, None], np.eye(2), g)) * ~singular[:, None, None]
                form = np.einsum("sij,skl->siklj", w, inverse).reshape(S, 4, 4)
                form = (form + form.swapaxes(1, 2)) / 2
            x, y = rows[:, None], rows[None, :]
            result[:, x, y] += form.real
            result[:, x + 1, y + 1] -= form.real
            result[:, x, y + 1] -= form.imag
            result[:, x + 1, y] -= form.imag
        return result

    def local(self, unknowns: np.ndarray, count: int) -> Retraction:
        """The same for a subset of the unknowns (their numbers, of `count` in all)."""
        place = np.full(count, -1)
        place[unknowns] = np.arange(len(unknowns))
        gains, matrices = place[self.gains], place[self.matrices]
        return Retraction(gains[gains >= 0], matrices[(matrices >= 0).all(-1)])


@kernel(**KERNEL)
def retract(theta, delta, gains, matrices, out):
    """`Retraction.__call__` into `out`."""
    for i in range(theta.shape[0]):
        for s in range(theta.shape[1]):
            out[i, s] = theta[i, s] + delta[i, s]
    for p in gains:
        for s in range(theta.shape[1]):
            value, step = complex(theta[p, s], theta[p + 1, s]), complex(delta[p, s], delta[p + 1, s])
            if abs(step) < LARGEST * abs(value):
                moved = value * np.exp(step / value)
                out[p, s], out[p + 1, s] = moved.real, moved.imag
    for rows in matrices:
        for s in range(theta.shape[1]):
            _multiply_in(theta, delta, rows, s, out)


@kernel(**KERNEL)
def _multiply_in(theta, delta, rows, s, out):
    """G expm(G^-1 D) for one matrix, where G^-1 D is small."""
    xx, xy, yx, yy = rows
    g0, g1 = complex(theta[xx, s], theta[xx + 1, s]), complex(theta[xy, s], theta[xy + 1, s])
    g2, g3 = complex(theta[yx, s], theta[yx + 1, s]), complex(theta[yy, s], theta[yy + 1, s])
    d0, d1 = complex(delta[xx, s], delta[xx + 1, s]), complex(delta[xy, s], delta[xy + 1, s])
    d2, d3 = complex(delta[yx, s], delta[yx + 1, s]), complex(delta[yy, s], delta[yy + 1, s])
    det = g0 * g3 - g1 * g2
    if det == 0:
        return
    x0, x1, x2, x3 = (
        (g3 * d0 - g1 * d2) / det,
        (g3 * d1 - g1 * d3) / det,
        (g0 * d2 - g2 * d0) / det,
        (g0 * d3 - g2 * d1) / det,
    )
    size = np.sqrt(abs(x0) ** 2 + abs(x1) ** 2 + abs(x2) ** 2 + abs(x3) ** 2)
    if not size < LARGEST:  # NaN too
        return
    half = (x0 + x3) / 2
    a = x0 - half  # x - half = [[a, x1], [x2, -a]] is traceless: its square is q^2 times the identity
    q = np.sqrt(a * a + x1 * x2)
    c, r = np.cosh(q), np.sinh(q) / q if abs(q) > 1e-6 else 1 + q * q / 6
    scale = np.exp(half)
    e0, e1, e2, e3 = (c + r * a) * scale, r * x1 * scale, r * x2 * scale, (c - r * a) * scale
    for p, value in (
        (xx, g0 * e0 + g1 * e2),
        (xy, g0 * e1 + g1 * e3),
        (yx, g2 * e0 + g3 * e2),
        (yy, g2 * e1 + g3 * e3),
    ):
        out[p, s], out[p + 1, s] = value.real, value.imag


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Complex Parms that are sums of functions, as retracted unknowns: `first` (members, functions) the real parts, of which imaginary
    parts follow; `basis` (places, functions times intervals) what multiplies them where; `fitted` gives coefficients for values."""

    first: np.ndarray
    basis: csr_array
    fitted: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, first: np.ndarray, basis: csr_array) -> Curves:
        """Coefficients are those of least squares."""
        normal = (basis.T @ basis).tocsc()
        ridge = 1e-10 * normal.diagonal().max(initial=1e-300)
        solve = splu(csc_array(normal + ridge * eye_array(normal.shape[0]))).solve
        return cls(first, basis, lambda values: solve(basis.T @ values))

    def bent(self, theta: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """What is to be added to theta + delta (n, S) so that values g become g exp(d/g) instead of g + d, where splines can."""
        rows = self.first.shape
        value, step = (
            (x[self.first] + 1j * x[self.first + 1]).reshape(rows[0], -1).T for x in (theta, delta)
        )  # (functions times intervals, members)
        g, d = self.basis @ value, self.basis @ step
        small = abs(d) < LARGEST * abs(g)
        ratio = np.divide(d, g, out=np.zeros_like(d), where=small)
        more = np.where(small, g * (np.expm1(ratio) - ratio), 0)
        found = self.fitted(more.real) + 1j * self.fitted(more.imag)
        result = np.zeros_like(theta)
        own = found.T.reshape(*rows, -1)
        result[self.first], result[self.first + 1] = own.real, own.imag
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Bending(Retraction):
    """The same for unknowns of which some are coefficients of `curves`."""

    curves: Sequence[Curves]

    def __call__(self, theta: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """New unknowns (n, S) after the step `delta` (n, S)."""
        # an explicit call: dataclasses with slots are made anew, which super() does not know
        result = Retraction.__call__(self, theta, delta)
        for own in self.curves:
            result += own.bent(theta, delta)
        return result
