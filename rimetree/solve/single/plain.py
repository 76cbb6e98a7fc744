"""Residuals, derivatives and normal equations as plain array operations, independent of the kernels.

Written for numpy or JAX arrays alike (`xp`): the reference that the kernels are compared with, what other packages' minimisers call,
and what runs on whatever device JAX runs on. Formulas as in `normal`; here with derivatives by every real unknown, no matter
which of them are parts of one complex number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..reduce.forms import Form
from .problem import AtomValues, Equations, Problem

Normal = tuple[np.ndarray, np.ndarray, np.ndarray]
"""H (packed lower triangle of count x count, S), g (count, S), chi2 (S,), as the kernels make them: without constants and
priors."""


class Local(NamedTuple):
    """One equation over its own unknowns: residual r (members, rows, J, S), derivatives d (members, rows, P, J, S) by the
    unknowns `unknown` (members, P), and sum Re(conj(r) d2r) (members, P, P, S) where wanted."""

    r: Any
    d: Any
    unknown: np.ndarray
    bend: Any


def local(xp: Any, eq: Equations, atom_unknown: np.ndarray, atoms: Any, second: bool = False) -> Local:
    """Residuals of an equation; `atoms`: complex values (atoms, J, S), derivatives (atoms, parameters, J, S), and
    second derivatives (atoms, parameters, parameters, J, S) or None where atoms are linear. `second` wants those of chi2.
    """
    form, (u, t, t2) = eq.form, atoms
    R, y = xp.asarray(eq.R[0]) + 1j * xp.asarray(eq.R[1]), xp.asarray(eq.y[0]) + 1j * xp.asarray(eq.y[1])
    x = _turned(xp, u[form.factor_atom], form.factor_conj, 2)  # (members, factors, J, S)
    factors, parameters = _columns(form)
    tangent = _turned(xp, t[form.factor_atom[:, factors], parameters], form.factor_conj[factors], 2)
    phi = _products(xp, form, x, ())
    r = y + xp.einsum("nkajs,najs->nkjs", R, phi)
    by_factor = [xp.einsum("nkajs,najs->nkjs", R, _products(xp, form, x, (f,))) for f in range(x.shape[1])]
    d = xp.stack([by_factor[f] * tangent[:, None, p] for p, f in enumerate(factors)], 2)
    unknown = atom_unknown[form.factor_atom[:, factors], parameters]
    bend = None
    if second:
        towards = xp.einsum("nkjs,nkajs->najs", r.conj(), R)
        pairs = {
            (f, g): (towards * _products(xp, form, x, (f, g))).sum(1)
            for f in range(x.shape[1])
            for g in range(x.shape[1])
        }
        rows = [
            [pairs[f, g] * tangent[:, p] * tangent[:, q] for q, g in enumerate(factors)] for p, f in enumerate(factors)
        ]
        if t2 is not None:
            for p, f in enumerate(factors):
                for q in np.flatnonzero(factors == f):
                    curve = t2[form.factor_atom[:, f], parameters[p], parameters[q]]
                    curve = curve.conj() if form.factor_conj[f] else curve
                    rows[p][q] = rows[p][q] + (towards * _products(xp, form, x, (f,))).sum(1) * curve
        bend = xp.stack([xp.stack([one.real.sum(1) for one in row], 1) for row in rows], 1)
    return Local(r, d, unknown, bend)


def by_factors(eq: Equations, u: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Residuals (members, rows, J, S) at atoms u (atoms, J, S), and their derivatives by each local factor."""
    form, R = eq.form, eq.R[0] + 1j * eq.R[1]
    x = _turned(np, u[form.factor_atom], form.factor_conj, 2)
    towards = lambda phi: np.einsum("nkajs,najs->nkjs", R, phi)  # noqa: E731
    by = [towards(_products(np, form, x, (f,))) for f in range(x.shape[1])]
    return eq.y[0] + 1j * eq.y[1] + towards(_products(np, form, x, ())), by


def normal(xp: Any, problem: Problem, atoms: Any, second: bool = False) -> tuple[Any, Any, Any]:
    """H (count, count, S), g (count, S) and chi2 (S,); with `second`, H is half the Hessian of chi2."""
    S = atoms[0].shape[-1]
    H, g, chi2 = xp.zeros((problem.count, problem.count, S)), xp.zeros((problem.count, S)), xp.zeros(S)
    for eq in problem.equations:
        r, d, unknown, bend = local(xp, eq, problem.atom_unknown, atoms, second)
        chi2 = chi2 + (r.real**2 + r.imag**2).sum((0, 1, 2))
        g = _added(xp, g, unknown, xp.einsum("nkpjs,nkjs->nps", d.conj(), r).real)
        pairs = xp.einsum("nkpjs,nkqjs->npqs", d.conj(), d).real
        H = _added(xp, H, (unknown[:, :, None], unknown[:, None, :]), pairs if bend is None else pairs + bend)
    return H, g, chi2


def numpy_normal(problem: Problem, second: bool = False) -> Callable[..., Normal]:
    """`normal` by numpy, from the atoms of all intervals to packed matrices; a few intervals at a time. `second` also wants
    second derivatives of atoms that are not linear."""

    def evaluate(atoms: AtomValues, bent: np.ndarray | None = None) -> Normal:
        u, t = atoms[0] + 1j * atoms[1], atoms[2] + 1j * atoms[3]
        parts = []
        for where in _pieces(problem):
            own = u[..., where], t[..., where], None if bent is None else bent[..., where]
            parts.append(normal(np, intervals(problem, where), own, second))
        H, g, chi2 = (np.concatenate(p, -1) for p in zip(*parts, strict=True))
        return H[np.tril_indices(problem.count)], g, chi2

    return evaluate


def jax_normal(problem: Problem) -> Callable[[np.ndarray], Normal]:
    """The same by JAX from the unknowns theta (count of the whole, S), compiled for the device that it runs on, in float64. The
    pseudo-visibilities go there once, and atoms are made there (`Problem.traced`): an iteration moves unknowns, H and g."""
    from ...plan.xla import jax, jnp

    shell, forms = problem.emptied(), [eq.form for eq in problem.equations]
    none, place = np.empty(0), np.tril_indices(problem.count)

    def made(data: Any, u: Any, t: Any) -> Any:
        equations = tuple(Equations(form, R, y, none, none) for form, (R, y) in zip(forms, data, strict=True))
        H, g, chi2 = normal(jnp, replace(shell, equations=equations), (u, t, None))
        return H[place], g, chi2

    compiled = problem.kept("jax", lambda: jax.jit(made))
    pieces = [(s, jax.device_put([(eq.R, eq.y) for eq in intervals(problem, s).equations])) for s in _pieces(problem)]

    def evaluate(theta: np.ndarray) -> Normal:
        u, t = (problem.traced or partial(_complex, problem))(theta)
        found = [
            compiled(data, *((u, t) if len(pieces) == 1 else (u[..., where], t[..., where]))) for where, data in pieces
        ]
        H, g, chi2 = (np.concatenate([np.asarray(own) for own in part], -1) for part in zip(*found, strict=True))
        return H, g, chi2

    return evaluate


def add_bending(gains: np.ndarray, theta: np.ndarray, g: np.ndarray, H: np.ndarray) -> None:
    """Add to H (packed, half a Hessian) what the way of a step that is multiplied in, x exp(d / x) = x + d + d^2 / 2 x, adds to the
    second order of chi2, given its gradient g. Without it, the phases of all gains are free at the minimum only."""
    for p in gains.tolist():
        q = p + 1
        x = theta[p] + 1j * theta[q]
        fine = np.isfinite(x) & (x != 0)
        z = np.where(fine, (g[p] - 1j * g[q]) / np.where(fine, x, 1), 0)
        for row, column, value in ((p, p, z.real), (q, p, -z.imag), (q, q, -z.real)):
            H[row * (row + 1) // 2 + column] += value


_BUDGET = 1 << 24
"""Complex numbers in the largest array."""


def _pieces(problem: Problem) -> list[slice]:
    """Intervals that are worked on at once: as many as the budget allows, of equal numbers but for the last."""
    each = problem.count**2 + sum(map(_size, problem.equations))
    count = max(1, -(-problem.intervals * each // _BUDGET))
    size = max(1, -(-problem.intervals // count))
    return [slice(s, s + size) for s in range(0, problem.intervals, size)]


def _size(eq: Equations) -> int:
    """Complex numbers, of one interval, in the derivatives of an equation or in the products of these."""
    members, rows, _, J, _ = eq.R[0].shape
    unknowns = max(1, len(_columns(eq.form)[0]))
    return int(members * unknowns * max(rows * J, unknowns))


def _complex(problem: Problem, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Atoms, and their derivatives."""
    ur, ui, tr, ti = problem.atoms(theta)
    return ur + 1j * ui, tr + 1j * ti


def intervals(problem: Problem, where: slice | np.ndarray) -> Problem:
    """The equations of some intervals only (the atoms of the result are still those of all)."""
    cut = [
        replace(
            eq, R=(eq.R[0][..., where], eq.R[1][..., where]), y=(eq.y[0][..., where], eq.y[1][..., where]),
            constant=eq.constant[:, where], data=eq.data[:, where],
        )
        for eq in problem.equations
    ]  # fmt: skip
    return replace(problem, equations=tuple(cut), structure={})


def _columns(form: Form) -> tuple[np.ndarray, np.ndarray]:
    """(factor, parameter of its atom) of every real unknown that an equation sees."""
    pairs = [(f, p) for f, p, size in form.units.tolist() for p in range(p, p + size)]
    factor, parameter = np.array(pairs, int).reshape(-1, 2).T
    return factor, parameter


def _turned(xp: Any, array: Any, conj: np.ndarray, trailing: int) -> Any:
    """Conjugated where `conj`, an entry of the second axis; `trailing` axes follow."""
    mask = conj.reshape((1, -1) + (1,) * trailing)
    return xp.where(mask, array.conj(), array)


def _products(xp: Any, form: Form, x: Any, by: tuple[int, ...]) -> Any:
    """phi (members, planes, J, S), or its derivative by the local factors `by`."""
    total: list[Any] = [xp.zeros((x.shape[0], *x.shape[2:]), complex)] * form.planes
    for plane, coef, row in zip(form.term_plane.tolist(), form.term_coef, form.term_factor.tolist(), strict=True):
        for product in _derivatives([f for f in row if f >= 0], by):
            value = coef * xp.ones_like(total[plane])
            for f in product:
                value = value * x[:, f]
            total[plane] = total[plane] + value
    return xp.stack(total, 1)


def _derivatives(factors: list[int], by: tuple[int, ...]) -> list[list[int]]:
    """The products whose sum is the derivative of a product of factors."""
    if not by:
        return [factors]
    first = [factors[:i] + factors[i + 1 :] for i, f in enumerate(factors) if f == by[0]]
    return [product for rest in first for product in _derivatives(rest, by[1:])]


def _added(xp: Any, array: Any, index: Any, values: Any) -> Any:
    """array[index] += values, adding up where indices repeat."""
    if xp is np:
        np.add.at(array, index, values)
        return array
    return array.at[index].add(values)
