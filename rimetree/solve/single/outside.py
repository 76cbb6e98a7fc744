"""Minimisers of other packages on the same problems, one interval at a time: for cross-checking, not for speed.

They start where the own solver starts, but without its alternating steps, and add steps where it multiplies them in.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from ...status import Status
from .plain import intervals, local
from .problem import Problem

PACKAGES = {"scipy": "scipy", "ceres": "pyceres"}
"""Algorithm -> the package that it needs."""


def missing(algorithm: str) -> str:
    """One line that says which package is missing for an algorithm; "" where none is."""
    package = PACKAGES.get(algorithm)
    if package is None or find_spec(package) is not None:
        return ""
    return f"algorithm={algorithm!r} needs the package {package}, which is not installed: pip install {package}"


class Interval:
    """One interval of a problem as a function of those of its unknowns, all of them real, that its data see: `live` (count,). Others stay:
    a minimiser may move what changes nothing anywhere."""

    def __init__(
        self, problem: Problem, s: int, theta: np.ndarray, precision: np.ndarray, mean: np.ndarray, seen: np.ndarray
    ) -> None:
        self.s, self.theta, self.live = s, theta.copy(), np.flatnonzero(seen)
        self.problem, self.whole = intervals(problem, slice(s, s + 1)), problem
        self.root, self.mean = np.sqrt(precision), mean
        self.origin = theta[problem.unknowns, s]
        self.start = self._atoms(self.origin) if problem.linear else None
        rows = [np.prod(eq.y[0].shape) for eq in self.problem.equations]
        self.count, self.size = len(self.live), int(2 * sum(rows) + np.count_nonzero(self.root))
        lower, upper = np.full(problem.count, -np.inf), np.full(problem.count, np.inf)
        if problem.constraints:
            bounds = problem.constraints.bounds
            lower[bounds.unknown], upper[bounds.unknown] = bounds.lower, bounds.upper
        self.lower, self.upper = lower[self.live], upper[self.live]

    def all(self, x: np.ndarray) -> np.ndarray:
        """All unknowns, given the live ones."""
        whole = self.origin.copy()
        whole[self.live] = x
        return whole

    def _atoms(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.theta[self.problem.unknowns, self.s] = x
        re, im, dre, dim = (a[..., self.s : self.s + 1] for a in self.whole.atoms(self.theta))
        return re + 1j * im, dre + 1j * dim

    def _moved(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Atoms at x; where they are linear, without evaluating them again."""
        if self.start is None:
            return self._atoms(x)
        u, t = self.start
        unknown = self.problem.atom_unknown
        away = np.where(unknown >= 0, (x - self.origin)[np.maximum(unknown, 0)], 0.0)
        return u + np.einsum("apjs,ap->ajs", t, away), t

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (size,) whose squares add up to chi2 (but for its constant), and their derivatives (size, count)."""
        x = self.all(x)
        atoms = self._moved(x)
        residuals, rows = [], []
        for eq in self.problem.equations:
            found = local(np, eq, self.problem.atom_unknown, (*atoms, None))
            r, d = found.r[..., 0], np.moveaxis(found.d[..., 0], 2, -1)  # (members, rows, J), (members, rows, J, P)
            whole = np.zeros((*r.shape, len(x)), complex)
            for p in range(d.shape[-1]):  # an unknown may come in through two factors
                member = np.arange(len(r))
                whole[member, ..., found.unknown[:, p]] += d[..., p]
            residuals += [r.real.ravel(), r.imag.ravel()]
            rows += [whole.real.reshape(-1, len(x)), whole.imag.reshape(-1, len(x))]
        known = self.root > 0
        residuals.append((self.root * (x - self.mean))[known])
        rows.append(np.diag(self.root)[known])
        return np.concatenate(residuals), np.concatenate(rows)[:, self.live]

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """The first of both."""
        return self(x)[0]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """The second."""
        return self(x)[1]


def minimise(algorithm: str, interval: Interval, max_iter: int, tol: float) -> tuple[np.ndarray, Status, int]:
    """The minimum that a package finds, what it says of it, and its iterations. Tolerances of packages are relative to
    chi2 or to the unknowns, ours to errors of the unknowns: theirs have to be tighter."""
    start = interval.origin[interval.live]
    if not start.size:
        return interval.origin, Status.CONVERGED, 0
    x, status, iterations = _MINIMISERS[algorithm](interval, start, 10 * max_iter, max(1e-6 * tol, 1e-15))
    return interval.all(x), status, iterations


def _scipy(interval: Interval, x: np.ndarray, max_iter: int, tol: float) -> tuple[np.ndarray, Status, int]:
    """scipy.optimize.least_squares, trust-region reflective (Branch, Coleman & Li 1999)."""
    from scipy.optimize import least_squares

    inside = np.clip(x, interval.lower, interval.upper)
    found = least_squares(
        interval.residuals, inside, interval.jacobian, bounds=(interval.lower, interval.upper),
        x_scale="jac", ftol=tol, xtol=tol, gtol=tol, max_nfev=max_iter,
    )  # fmt: skip
    status = Status.CONVERGED if found.status > 0 else Status.ITERATION_LIMIT
    return found.x, status if found.status >= 0 else Status.DIVERGED, int(found.njev or 0)


def _ceres(interval: Interval, x: np.ndarray, max_iter: int, tol: float) -> tuple[np.ndarray, Status, int]:
    """Ceres' Levenberg-Marquardt (Agarwal, Mierle et al.)."""
    import pyceres

    class Cost(pyceres.CostFunction):
        def __init__(self) -> None:
            super().__init__()
            self.set_num_residuals(interval.size)
            self.set_parameter_block_sizes([interval.count])

        def Evaluate(self, parameters, residuals, jacobians):  # type: ignore[no-untyped-def]
            r, jacobian = interval(np.asarray(parameters[0]))
            residuals[:] = r
            if jacobians is not None:
                jacobians[0][:] = jacobian.ravel()
            return True

    x, problem, cost = x.copy(), pyceres.Problem(), Cost()
    problem.add_residual_block(cost, None, [x])
    options, summary = pyceres.SolverOptions(), pyceres.SolverSummary()
    options.max_num_iterations, options.num_threads = max_iter, 1
    options.function_tolerance = options.parameter_tolerance = options.gradient_tolerance = max(tol, 1e-12)
    options.minimizer_progress_to_stdout, options.logging_type = False, pyceres.LoggingType.SILENT
    pyceres.solve(options, problem, summary)
    name = summary.termination_type.name
    status = {"CONVERGENCE": Status.CONVERGED, "NO_CONVERGENCE": Status.ITERATION_LIMIT}.get(name, Status.DIVERGED)
    return x, status, int(summary.num_successful_steps + summary.num_unsuccessful_steps)


_MINIMISERS: dict[str, Callable[[Interval, np.ndarray, int, float], tuple[np.ndarray, Status, int]]] = {
    "scipy": _scipy,
    "ceres": _ceres,
}
