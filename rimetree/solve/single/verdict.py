"""The outcome of a fit: statuses that need the whole, null directions in words, the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...status import Status
from ..algebra.threads import shared
from ..result.gauges import Free, freedoms, in_words
from ..result.outcome import Outcome
from ..result.referring import references, turn_to_zero
from .block import Block
from .fit import Fit
from .scaling import insensitive, scaled
from .significance import judge, reduced


def verdict(fit: Fit) -> Outcome:
    """The statuses that need the whole, and all results."""
    problem = fit.problem
    fit.status[fit.chi2 > fit.chi2_start * (1 + 1e-9)] = Status.DIVERGED
    atoms = problem.atoms(fit.theta)
    blind = fit.seen & np.isnan(fit.variance) & (fit.status == Status.CONVERGED)
    fit.variance[blind] = np.inf
    null = fit.null()
    beyond = ~np.isfinite(null).all(
        (0, 1)
    )  # normal equations that are no numbers, such as of the inverse of a gain that ran to 0
    fit.status[beyond], null[..., beyond] = Status.DIVERGED, 0.0
    free = scaled(atoms, problem.atom_unknown, problem.blocks, null) & (fit.status == Status.CONVERGED)
    free |= insensitive(atoms, problem.atom_unknown, blind)
    fit.status[free.any(0)] = Status.SINGULAR
    own, dof = fit.theta[problem.unknowns], fit.data - fit.rank
    lost = judge(
        problem,
        own,
        atoms,
        fit.status,
        fit.variance,
        fit.alone,
        free,
        reduced(fit.chi2, dof),
        fit.settings.min_snr,
    )
    number, freedom = freedoms(
        problem.meaning, problem.retract.matrices, own, null, problem.structure.setdefault("freedoms", {}), fit.alone
    )
    referred = _refer(fit, number, freedom, ~lost & ~free) if fit.settings.reference else {}
    gauge, gauges = in_words(number, freedom)
    return Outcome(
        fit.status,
        fit.iterations,
        fit.chi2_start,
        fit.chi2,
        dof,
        fit.rank,
        fit.condition,
        fit.variance,
        null,
        free,
        lost,
        gauge,
        gauges,
        referred,
    )


def _refer(fit: Fit, number: np.ndarray, freedom: Sequence[Free], good: np.ndarray) -> dict[str, int]:
    """Make the phases of the reference zero, and errors those of differences to it. Returns what was made zero how
    often."""
    problem, wanted, referred = fit.problem, fit.settings.reference, Counter[str]()
    if problem.meaning is None:
        return {}
    pinned = np.zeros(good.shape, np.bool_)
    own, good = fit.theta[problem.unknowns], good & np.isfinite(fit.variance)
    for s in np.flatnonzero(np.isin(fit.status, (Status.CONVERGED, Status.SINGULAR))):
        nodes: dict[str, None] = {}
        chosen = references(
            problem.meaning, problem.retract.matrices, fit.variance[:, s], good[:, s], freedom[number[s]], wanted
        )
        for reference, group in chosen:
            turn_to_zero(problem.meaning, own[:, s], reference, group)
            pinned[reference + (problem.meaning.part[reference] > 0), s] = True
            nodes[str(problem.meaning.node[reference])] = None
        referred.update(nodes.keys())
    fit.theta[problem.unknowns] = own
    atoms = problem.atoms(fit.theta)
    shared(lambda s0: Block(fit, s0).errors_without(atoms, pinned), fit.starts)
    return dict(referred)
