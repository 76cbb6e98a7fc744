"""Which gains are lost in the noise: amplitudes that are zero within their errors, which no data must be divided by, and
phases that may as well be others.

A gain is an atom that multiplies other unknowns wherever it occurs: were it zero, its equations would not depend on
them. A Jones matrix of four unknowns is lost where its smaller singular value is (a dead receptor). Leakages may well be
zero and are never lost. CASA's gaincal drops solutions by the same rule (`minsnr`, 3). Where a phase is known to less than
a radian, chi2 has several minima, of which noise alone chooses one; all that were found have errors of more than 0.3.
"""

from __future__ import annotations

import numpy as np

from ...status import Status
from ..reduce.forms import Form
from .problem import AtomValues, Problem

MOST = 0.5
"""An interval of which more than this part is lost in the noise is LOW_SNR: its minimum may be one of several."""

ENOUGH = 20
"""Degrees of freedom from which an interval's own chi2 tells how far its weights are off."""


def judge(
    problem: Problem,
    theta: np.ndarray,
    atoms: AtomValues,
    status: np.ndarray,
    variance: np.ndarray,
    alone: np.ndarray,
    free: np.ndarray,
    scale: np.ndarray,
    least: float,
) -> np.ndarray:
    """(n, S): gains lost in the noise. Where these are most of those not `free`, `status` (S,) becomes LOW_SNR.

    theta, variance and free are (n, S), and so is `alone`, the variance if all other unknowns were known: matrices and phases go by
    it, since what is badly known of all together does no harm (rotations, a phase between x and y). The rest is explained at `lost`.
    """
    found = lost(problem, atoms, variance, alone, scale, least)
    found |= sums_lost(problem, atoms, variance, scale, least)
    found |= matrices_lost(theta, problem.retract.matrices, alone, scale, least) & np.isfinite(variance)
    found &= ~free & np.isin(status, (Status.CONVERGED, Status.SINGULAR))
    rest = (np.isfinite(variance) & ~free).sum(0)
    status[(found.sum(0) > MOST * rest) & found.any(0)] = Status.LOW_SNR
    return found


def lost(
    problem: Problem, atoms: AtomValues, variance: np.ndarray, alone: np.ndarray, scale: np.ndarray, least: float
) -> np.ndarray:
    """(n, S): unknowns of gains whose amplitude is less than `least` standard errors of a complex number.

    That is the root of 2 times the error of the amplitude: noise alone passes 3 of them once in 8,000 times, e^-9. Phases are lost
    where their error is that of such a gain, 0.24 rad (a root mean square over cells and atoms: delays have some in every channel).

    atoms at the solution; variance and `alone` (n, S) of the unknowns (see `judge`) and `scale` (S,), what they are to be multiplied
    by: chi2 per degree of freedom, since weights are often right only up to a factor.
    """
    found = np.zeros(variance.shape, bool)
    gains = np.flatnonzero(gain_atoms(problem))
    if gains.size:
        ur, ui, tr, ti = (a[gains] for a in atoms)
        unknown = problem.atom_unknown[gains]
        along = np.isin(unknown[:, 0], problem.retract.gains)[:, None]  # variances are along and across the value
        atom, parameter = np.nonzero(unknown >= 0)
        with np.errstate(all="ignore"):  # what ran away is infinite
            own, single = (np.where((unknown >= 0)[..., None], a[unknown] * scale, 0) for a in (variance, alone))
            power = ur**2 + ui**2
            there = np.where(power > 0, power, np.nan)
            radial = (ur[:, None] * tr + ui[:, None] * ti) ** 2 * own[:, :, None]
            error = (radial.sum(1) / there).mean(1)
            error = np.where(along, own[:, 0], error)
            turning = (ur[:, None] * ti - ui[:, None] * tr) ** 2 * single[:, :, None]
            phase = (turning.sum(1) / there**2).mean(1)
        small = power.mean(1) <= 2 * least**2 * error  # False where the error is unknown
        np.logical_or.at(found, unknown[atom, parameter], small[atom] & (error > 0)[atom])
        total, count = np.zeros(variance.shape), np.zeros((len(variance), 1))
        np.add.at(total, unknown[atom, parameter], phase[atom])
        np.add.at(count, unknown[atom, parameter], 1)
        found |= np.isfinite(total) & (2 * least**2 * total > np.where(count > 0, count, np.inf))
    return found


def sums_lost(problem: Problem, atoms: AtomValues, variance: np.ndarray, scale: np.ndarray, least: float) -> np.ndarray:
    """(n, S): the same for gains that are sums, such as of real and imaginary parts: all of a station's atoms are zero within errors."""
    found = np.zeros(variance.shape, bool)
    for own in summed_gains(problem):
        ur, ui, tr, ti = (a[own] for a in atoms)
        unknown = problem.atom_unknown[own]
        with np.errstate(all="ignore"):
            power = (ur**2 + ui**2).sum(0)
            error = np.zeros(power.shape)
            for k in np.unique(unknown[unknown >= 0]):
                atom, parameter = np.nonzero(unknown == k)
                along = (ur[atom] * tr[atom, parameter] + ui[atom] * ti[atom, parameter]).sum(0)
                error += along**2 * variance[k] * scale / power
            small = (power.mean(0) <= 2 * least**2 * error.mean(0)) & (error.mean(0) > 0)
        found[np.unique(unknown[unknown >= 0])] |= small
    return found


def matrices_lost(
    theta: np.ndarray, rows: np.ndarray, variance: np.ndarray, scale: np.ndarray, least: float
) -> np.ndarray:
    """The same for 2x2 matrices `rows` (k, 4): numbers of the real parts of their elements in theta (n, S)."""
    found = np.zeros(variance.shape, bool)
    if rows.size:
        both = np.stack([rows, rows + 1], -1).reshape(len(rows), 8)
        matrix = (theta[rows] + 1j * theta[rows + 1]).transpose(0, 2, 1).reshape(len(rows), -1, 2, 2)
        smaller = np.linalg.svd(np.nan_to_num(matrix), compute_uv=False)[..., 1]
        error = variance[both].mean(1) * scale
        found[both] = (smaller**2 <= 2 * least**2 * error)[:, None]
    return found


def reduced(chi2: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """chi2 per degree of freedom (S,): an interval's own where it has enough, else the median of all."""
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(dof > 0, chi2 / np.maximum(dof, 1), np.nan)
    known = own[np.isfinite(own)]
    return np.where(np.isfinite(own) & (dof >= ENOUGH), own, np.median(known) if known.size else 1.0)


def gain_atoms(problem: Problem) -> np.ndarray:
    """(atoms,) True for gains outside matrices."""
    seen, other = np.zeros((2, len(problem.atom_unknown)), bool)
    for eq in problem.equations:
        for factor, yes in enumerate(_gain_factors(eq.form)):
            (seen if yes else other)[eq.form.factor_atom[:, factor]] = True
    of_matrix = np.isin(problem.atom_unknown, np.concatenate([problem.retract.matrices.ravel(), [-2]])).any(1)
    return seen & ~other & ~of_matrix & (problem.atom_unknown >= 0).any(1)


def summed_gains(problem: Problem) -> list[np.ndarray]:
    """Atoms of every station of which each term has exactly one, beside other factors: their sum is a gain. Not those that are gains by
    themselves, or of matrices."""
    found: list[np.ndarray] = problem.kept("summed gains", lambda: _summed_gains(problem))
    return found


def _summed_gains(problem: Problem) -> list[np.ndarray]:
    of_atom = problem.blocks[problem.atom_unknown.max(1)]
    seen, other = np.zeros((2, len(of_atom)), bool)
    for eq in problem.equations:
        station = of_atom[eq.form.factor_atom]
        terms = [[int(f) for f in row if f >= 0] for row in eq.form.term_factor]
        for f in range(station.shape[1]):
            alike = [h for h in range(station.shape[1]) if (station[:, h] == station[:, f]).all()]
            yes = len(alike) > 1 and all(len(t) > 1 and sum(h in alike for h in t) == 1 for t in terms)
            (seen if yes else other)[eq.form.factor_atom[:, f]] = True
    matrices = np.isin(problem.atom_unknown, np.concatenate([problem.retract.matrices.ravel(), [-2]])).any(1)
    common = seen & ~other & ~matrices & ~gain_atoms(problem) & (problem.atom_unknown >= 0).any(1)
    bad = np.unique(of_atom[~common & (problem.atom_unknown >= 0).any(1)])
    return [np.flatnonzero(common & (of_atom == b)) for b in np.setdiff1d(np.unique(of_atom[common]), bad)]


def _gain_factors(form: Form) -> list[bool]:
    """Per local factor: whether it is in every term that its group has, beside other factors. Terms that share a
    factor are of one group (such as a direction)."""
    terms = [frozenset(int(f) for f in row if f >= 0) for row in form.term_factor]
    groups: list[list[frozenset[int]]] = []
    for term in terms:
        joined = [g for g in groups if any(term & other for other in g)]
        groups = [g for g in groups if g not in joined] + [[term, *(t for g in joined for t in g)]]
    return [
        any(all(factor in term and len(term) > 1 for term in group) for group in groups)
        for factor in range(len(form.factor_conj))
    ]
