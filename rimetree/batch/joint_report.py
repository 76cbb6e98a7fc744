"""What is reported of a joint fit: the outcomes of its classes, what classes exchange, and what no datum determines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..solve.joint.coupled import Coupled
from ..solve.joint.coupled_fit import Minimum
from ..solve.joint.exchange import Exchange, Exchanges
from ..solve.result.outcome import Outcome
from ..solve.settings import Settings
from ..solve.single.problem import Problem
from ..solve.single.significance import judge, reduced
from ..status import Status
from .fit import Fitted
from .joint_starts import LOST

if TYPE_CHECKING:
    from .joint import JointFit

SLIGHT = 1e-3
"""A smaller part in what is not determined is not spoken of."""

ABOVE = (
    "chi2 stays above what noise explains from all starts: the model lacks something, the weights are too large, or all led to minima "
    "that are not the lowest"
)


def exchanged(
    joint: JointFit, problem: Coupled, known: Exchanges, fitted: Sequence[Fitted], x: np.ndarray
) -> list[str]:
    """What classes exchange, and which of them has it."""
    names = ["+".join(dict.fromkeys(name for name, _, _ in item.components)) for item in fitted]
    texts: dict[str, None] = {}
    for item in known.found:
        held = names[item.held]
        kind, real = item.kind
        if real:
            text = f"{kind} and {_shape(joint, problem, item, x)} of {held} are not both determined: it goes to {kind}"
        else:
            keeper = names[item.keeper]
            text = f"the {kind} between {keeper} and {held} is not determined: it goes to {keeper}"
        texts[f"{joint.name}: {text}, and errors are those with it held in {held}"] = None
    return list(texts)


def undetermined(joint: JointFit, problem: Coupled, between: np.ndarray) -> list[str]:
    """What else several classes have in common that no datum determines: named, no value of its own is known."""
    taking: dict[str, float] = {}
    for own, part in zip(joint.classes, problem.split(between), strict=True):
        for node, x in zip(own.meaning.node.tolist(), part.sum(1), strict=True):
            label = node.split(":")[0]
            taking[label] = taking.get(label, 0.0) + x
    names = [label for label, x in taking.items() if x > SLIGHT * sum(taking.values())]
    if len(names) < 2:
        return []
    text = f"{', '.join(names[:-1])} and {names[-1]} are not determined apart from each other"
    return [f"{joint.name}: {text}: their values are one choice of many, and errors leave out what they have in common"]


def _shape(joint: JointFit, problem: Coupled, item: Exchange, x: np.ndarray) -> str:
    """How gains take up what another class gives: as a phase or a scale, and as what function of frequency or time."""
    made, state = problem.classes[item.held], joint.whole.state.parms[joint.classes[item.held].parms[0]]
    gains = made.retract.gains
    way, value = (problem.split(v)[item.held] for v in (np.asarray(item.directions.sum(1)).ravel(), x))
    turn = way[gains] + 1j * way[gains + 1]
    turn = np.divide(turn, value[gains] + 1j * value[gains + 1], out=np.zeros_like(turn), where=turn != 0)
    wave = turn[np.abs(turn).max(1).argmax()].reshape(-1, len(state.freq_bounds))
    part = "phase" if np.abs(wave.imag).max() >= np.abs(wave.real).max() else "scale"
    size = wave.imag if part == "phase" else wave.real
    there = wave != 0
    time, freq = (
        np.broadcast_to(a, wave.shape)[there] for a in (np.arange(len(wave))[:, None], state.freq_bounds.mean(1))
    )
    for where, text in ((0 * freq, "the"), (freq, "the slope in frequency of the"), (time, "the drift of the")):
        basis = np.stack([np.ones(len(where)), (where - where.mean()) / max(np.ptp(where), 1e-300)], 1)
        left = size[there] - basis @ np.linalg.lstsq(basis, size[there], rcond=None)[0]
        if np.linalg.norm(left) < 0.01 * np.linalg.norm(size[there]):
            return f"{text} {part}"
    return f"a pattern of the {part}s"


def outcomes(
    joint: JointFit, problem: Coupled, found: Minimum, variance: np.ndarray, fitted: list[Fitted], settings: Settings,
    referred: Counter[str],
) -> None:  # fmt: skip
    """Turn the outcomes of the classes, each by itself, into those of the joint fit, and store all."""
    systems = found.systems
    data = np.bincount(found.of_cell.ravel() + 1, problem.data.ravel(), systems.count + 1)[1:]
    known = problem.prior.precision > 0
    data += systems.sum(known * 1.0)
    extra, surprise = problem.split(known), problem.split(problem.surprise(found.x))
    share = found.dof / np.maximum(data, 1)
    push = problem.split(found.gradient * (found.blocks.inverse(np.zeros(problem.count)) @ found.gradient))
    labels = problem.split(systems.label)
    with np.errstate(divide="ignore"):
        alone = problem.split(1 / found.blocks.diagonal(problem.count))
    columns = zip(
        joint.classes, problem.classes, fitted, problem.split(found.x), problem.split(variance), alone, strict=True
    )
    for i, (own, made, item, theta, wide, narrow) in enumerate(columns):
        for k, (name, part, outcome) in enumerate(item.components):
            system = labels[i][part.unknowns].min(0)
            of = made.of_part == made.component[part.unknowns[0]]
            held = outcome.variance
            outcome = _joined(
                outcome, found, system, np.append(share, 1.0)[system],
                np.bincount(made.cell, found.chi2[of].sum(0), made.intervals) + surprise[i][part.unknowns].sum(0),
                np.bincount(made.cell, problem.data[of].sum(0), made.intervals) + extra[i][part.unknowns].sum(0),
                push[i][part.unknowns].sum(0), wide[part.unknowns],
            )  # fmt: skip
            # what classes only exchange does no harm: a gain is lost where it is with the others held
            with_others_held = np.where(np.isfinite(outcome.variance), np.fmin(held, outcome.variance), np.nan)
            lost = judge(
                part, theta[part.unknowns], part.atoms(theta), outcome.status, with_others_held,
                narrow[part.unknowns], outcome.unconstrained, reduced(outcome.chi2, outcome.dof), settings.min_snr,
            )  # fmt: skip
            item.components[k] = (name, part, replace(outcome, lost=lost, referred=zeroed(part, referred)))
        own._store(theta, item.first, item.intervals[0], item.components)


def _joined(
    before: Outcome,
    found: Minimum,
    system: np.ndarray,
    share: np.ndarray,
    chi2: np.ndarray,
    data: np.ndarray,
    push: np.ndarray,
    variance: np.ndarray,
) -> Outcome:
    """The outcome of one component of a class after the joint fit. An interval of a system that ran out of iterations
    counts as converged where its own unknowns have no more to gain."""
    kept = np.isin(before.status, (*LOST, Status.SINGULAR)) | (system >= len(found.status))
    status = np.append(found.status, Status.NO_DATA)[system]
    dof = data * share
    settled = push <= 1e-6 * np.maximum(chi2, 0) / np.maximum(dof, 1)
    status = np.where((status == Status.ITERATION_LIMIT) & settled, Status.CONVERGED, status)
    return replace(
        before,
        status=np.where(kept, before.status, status).astype(np.uint8),
        iterations=before.iterations + np.append(found.iterations, 0)[system].astype(np.int32),
        chi2=np.where(system < len(found.status), chi2, before.chi2),
        dof=np.where(system < len(found.status), dof, before.dof),
        variance=np.where(np.isfinite(before.variance), variance, before.variance),
        referred=None,
    )


def zeroed(part: Problem, referred: Counter[str]) -> dict[str, int]:
    """What was made zero of a component."""
    names = set(part.meaning.node.tolist()) if part.meaning else set()
    return {node: count for node, count in referred.items() if node in names}
