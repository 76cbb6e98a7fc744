"""Linear systems of solution intervals that are coupled to their neighbours: block-diagonal normal matrices plus a random walk.

The matrix is A = H + P: H has one dense block (n, n) per interval, P couples the same unknown of neighbouring intervals along time,
frequency or both. Intervals are put in lines along one axis, with the other axis inside the blocks; a line is a block-tridiagonal
system, eliminated exactly from one end to the other (a Kalman filter) and back (the Rauch-Tung-Striebel smoother), which also gives the
diagonal blocks of the inverse (Takahashi). Where these blocks would be too large (two axes, many unknowns), the lines along one
axis precondition conjugate gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..algebra.inverse import inverses

LARGEST = 800
"""Unknowns of one block of a line: beyond this the elimination costs more than conjugate gradients."""

CG_TOLERANCE = 1e-10
"""Of the residual norm, relative to the right-hand side."""

CG_STEPS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """A random walk of the unknowns over a grid of intervals, interval s = t * shape[1] + f.

    `gap`: per axis 1 / distance of neighbouring interval centres, (shape[axis] - 1,), in 1/s and 1/Hz; `strength` (2, n): per axis and
    unknown the inverse variance of its change over 1 s or 1 Hz, 0 where it is free. chi2 = sum strength * gap * (change)^2.
    """

    shape: tuple[int, int]
    gap: tuple[np.ndarray, np.ndarray]
    strength: np.ndarray

    @property
    def axes(self) -> tuple[bool, bool]:
        """Whether intervals are coupled along time and frequency."""
        return tuple(bool(self.strength[a].any()) and self.shape[a] > 1 for a in range(2))  # type: ignore[return-value]

    def chain(self) -> np.ndarray:
        """(S,) the chain that each interval belongs to: those of different chains are independent."""
        t, f = np.indices(self.shape)
        in_time, in_freq = self.axes
        numbers = (0 if in_time else t) * self.shape[1] + (0 if in_freq else f) + 0 * t
        return np.unique(numbers.ravel(), return_inverse=True)[1]

    def changes(self, theta: np.ndarray, axis: int) -> np.ndarray:
        """theta (n, S) -> weighted changes (n, St, Sf) with one fewer along `axis`: their squares sum to chi2."""
        grid = theta.reshape(-1, *self.shape)
        weight = np.sqrt(self.strength[axis][:, None, None] * self._along(axis))
        return np.asarray(np.diff(grid, axis=1 + axis) * weight)

    def chi2(self, theta: np.ndarray) -> np.ndarray:
        """chi2 (S,) of the walk, half of every change at each of its two intervals."""
        total = np.zeros(self.shape)
        for axis in range(2):
            power = (self.changes(theta, axis) ** 2).sum(0) / 2
            _ends(total, axis, power, power)
        return total.ravel()

    def product(self, theta: np.ndarray) -> np.ndarray:
        """P theta, (n, S): half of the gradient of chi2."""
        total = np.zeros((len(theta), *self.shape))
        for axis in range(2):
            change = np.diff(theta.reshape(total.shape), axis=1 + axis)
            change *= self.strength[axis][:, None, None] * self._along(axis)
            _ends(total, 1 + axis, -change, change)
        return total.reshape(theta.shape)

    def diagonal(self) -> np.ndarray:
        """Diagonal (n, S) of P."""
        total = np.zeros((self.strength.shape[1], *self.shape))
        for axis in range(2):
            own = self.strength[axis][:, None, None] * self._along(axis)
            shape = list(total.shape)
            shape[1 + axis] -= 1
            own = np.broadcast_to(own, shape)
            _ends(total, 1 + axis, own, own)
        return total.reshape(total.shape[0], -1)

    def count(self) -> int:
        """Number of changes that the prior speaks of."""
        t, f = self.shape
        return int(np.count_nonzero(self.strength[0]) * (t - 1) * f + np.count_nonzero(self.strength[1]) * t * (f - 1))

    def part(self, unknowns: np.ndarray) -> Walk:
        """Of some of the unknowns."""
        return Walk(self.shape, self.gap, self.strength[:, unknowns])

    def _along(self, axis: int) -> np.ndarray:
        return self.gap[axis][:, None] if axis == 0 else self.gap[axis][None, :]


def _ends(total: np.ndarray, axis: int, first: np.ndarray, last: np.ndarray) -> None:
    """Add what belongs to the earlier and to the later interval of every pair of neighbours along an axis."""
    head = [slice(None)] * total.ndim
    tail = list(head)
    head[axis], tail[axis] = slice(None, -1), slice(1, None)
    total[tuple(head)] += first
    total[tuple(tail)] += last


class Lines:
    """(D H D + D P D + damping) x = b with D = `scale` (n, S): about the inverse root of the diagonal, 0 for what does not take part."""

    def __init__(self, H: np.ndarray, walk: Walk, scale: np.ndarray) -> None:
        """`H` (S, n, n): one normal matrix per interval."""
        self.walk, self.n = walk, H.shape[1]
        self.scale = np.ascontiguousarray(scale.T)
        self.H = H * self.scale[:, :, None] * self.scale[:, None, :]
        self._resting = (self.scale == 0).astype(float)
        shape, (in_time, in_freq) = walk.shape, walk.axes
        self.axis = int(in_freq and (not in_time or shape[1] > shape[0]))
        self.exact = not (in_time and in_freq) or self.n * shape[1 - self.axis] <= LARGEST
        index = np.arange(shape[0] * shape[1]).reshape(shape)
        index = index if self.axis == 0 else index.T
        inner = self.exact and in_time and in_freq
        self.index = index[:, None, :] if inner else index[:, :, None]
        """(steps, lines, intervals of a block)."""
        self._damping = np.zeros(index.size)

    def product(self, x: np.ndarray) -> np.ndarray:
        """The matrix (with damping) times x (S, n, ...)."""
        columns = x.reshape(*x.shape[:2], -1)
        scale = self.scale[:, :, None]
        result = self.H @ columns + (self._damping[:, None] + self._resting)[:, :, None] * columns
        scaled = scale * columns
        for k in range(columns.shape[2]):
            result[:, :, k] += self.scale * self.walk.product(np.ascontiguousarray(scaled[:, :, k].T)).T
        return result.reshape(x.shape)

    def factor(self, damping: np.ndarray) -> None:
        """Eliminate, for a damping (S,) that is equal along chains."""
        self._damping = damping
        steps, lines, inner = self.index.shape
        m = inner * self.n
        self._diagonal = self.scale**2 * self.walk.diagonal().T + damping[:, None] + self._resting
        self._inverse = np.empty((steps, lines, m, m))
        self._off = np.zeros((steps, lines, m))
        """Between a step and the one before: diagonal blocks."""
        gap, strength = self.walk.gap[self.axis], self.walk.strength[self.axis]
        for l in range(steps):
            block = self._block(l)
            if l:
                o = -gap[l - 1] * strength * self.scale[self.index[l]] * self.scale[self.index[l - 1]]
                self._off[l] = o.reshape(lines, m)
                block -= self._off[l][:, :, None] * self._inverse[l - 1] * self._off[l][:, None, :]
            self._inverse[l] = inverses(block)

    def _block(self, l: int) -> np.ndarray:
        """Diagonal blocks (lines, m, m) of one step."""
        own = self.index[l]
        lines, inner = own.shape
        n = self.n
        block = np.zeros((lines, inner, n, inner, n))
        for k in range(inner):
            block[:, k, :, k, :] = self.H[own[:, k]]
            block[:, k, range(n), k, range(n)] += self._diagonal[own[:, k]]
        other = 1 - self.axis
        for k in range(inner - 1):
            o = -self.walk.gap[other][k] * self.walk.strength[other] * self.scale[own[:, k]] * self.scale[own[:, k + 1]]
            block[:, k, range(n), k + 1, range(n)] = o
            block[:, k + 1, range(n), k, range(n)] = o
        return block.reshape(lines, inner * n, inner * n)

    def solve(self, b: np.ndarray) -> np.ndarray:
        """x (S, n, columns) for b (S, n, columns), after `factor`."""
        x = self._substitute(b)
        return x if self.exact else self._conjugate_gradients(b, x)

    def _substitute(self, b: np.ndarray) -> np.ndarray:
        steps, lines, inner = self.index.shape
        y = b[self.index].reshape(steps, lines, inner * self.n, -1)
        for l in range(1, steps):
            y[l] -= self._off[l][:, :, None] * (self._inverse[l - 1] @ y[l - 1])
        y[-1] = self._inverse[-1] @ y[-1]
        for l in range(steps - 2, -1, -1):
            y[l] = self._inverse[l] @ (y[l] - self._off[l + 1][:, :, None] * y[l + 1])
        x = np.empty_like(b)
        x[self.index] = y.reshape(steps, lines, inner, self.n, -1)
        return x

    def _conjugate_gradients(self, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Columns of x improved until residuals are small."""
        r = b - self.product(x)
        z = self._substitute(r)
        p, rho = z.copy(), (r * z).sum((0, 1))
        goal = CG_TOLERANCE * np.linalg.norm(b, axis=(0, 1))
        for _ in range(CG_STEPS):
            if (np.linalg.norm(r, axis=(0, 1)) <= goal).all():
                break
            image = self.product(p)
            step = rho / np.where(rho > 0, (p * image).sum((0, 1)), 1)
            x += step * p
            r -= step * image
            z = self._substitute(r)
            new = (r * z).sum((0, 1))
            p = z + np.where(rho > 0, new / np.where(rho > 0, rho, 1), 0) * p
            rho = new
        return x

    def inverse_blocks(self) -> np.ndarray:
        """Diagonal blocks (S, n, n) of the inverse, where `exact`. (`one_axis` gives upper bounds: a coupling adds information.)"""
        steps, lines, inner = self.index.shape
        n = self.n
        result = np.empty((self.index.size, n, n))
        whole = self._inverse[-1]
        for l in range(steps - 1, -1, -1):
            if l < steps - 1:
                o, own = self._off[l + 1], self._inverse[l]
                whole = own + own @ (o[:, :, None] * whole * o[:, None, :]) @ own
            blocks = whole.reshape(lines, inner, n, inner, n)
            for k in range(inner):
                result[self.index[l][:, k]] = blocks[:, k, :, k, :]
        return result

    def one_axis(self) -> Lines:
        """The same, factored, without the coupling along the shorter axis."""
        strength = self.walk.strength.copy()
        strength[1 - self.axis] = 0
        lines = Lines(self.H, Walk(self.walk.shape, self.walk.gap, strength), self.scale.T)
        lines.H = self.H
        lines.factor(self._damping)
        return lines
