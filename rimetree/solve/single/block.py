"""Eight intervals of a fit, the lanes of a vector: what the kernels work on."""

from __future__ import annotations

import numpy as np

from ...status import Status
from ..algebra.linear import damped_step_of_all, finish, turn, turn_back
from ..algebra.simd import LANES, Room, aligned
from ..algebra.threads import in_turns, shared, threads
from .bounds import Prior, add_prior, hold, pin, release
from .fit import Fit
from .normal import add_part, normal, pack
from .plain import Normal
from .problem import AtomValues
from .steps import DAMPED, MADE, Course, advance, move, take_in

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""H, g and chi2 of eight intervals."""


class Block:
    """Eight intervals (or fewer at the end) of a fit, from `s0`. Its `room` may be that of a block that has ended."""

    def __init__(self, fit: Fit, s0: int, room: Room | None = None) -> None:
        self.fit, self.s0, self.room = fit, s0, room or Room()
        self.where = slice(s0, min(s0 + LANES, fit.problem.intervals))
        self.count = self.where.stop - s0
        self.data = self.room.zeros("data", int(fit.tables.first[-1, 6]))
        for eq, first in zip(fit.problem.equations, fit.tables.first[:, 6], strict=False):
            pack(*eq.R, *eq.y, s0, self.data, first)
        n = fit.problem.count
        theta = self._padded(fit.theta[fit.problem.unknowns])
        zeros = self.room.zeros
        status = np.full(LANES, Status.NO_DATA, np.uint8)
        status[: self.count] = fit.status[self.where]
        self.course = Course(
            theta,
            theta.copy(),
            zeros("step", n),
            zeros("normal", n * (n + 1) // 2),
            zeros("slope", n),
            np.full((1, LANES), np.nan),
            np.full((1, LANES), np.nan),
            self._padded(fit.constant[None]),
            self._padded(fit.floor[None])[0],
            self._padded(fit.power[None])[0],
            np.array([fit.alternations]),
            np.zeros((1, LANES)),
            np.zeros(LANES, np.int32),
            np.full(LANES, np.inf),
            self._padded(fit.dof[None])[0],
            np.full((1, LANES), float(fit.settings.damping)),
            np.zeros((1, LANES)),
            np.full((1, LANES), np.inf),
            (status == Status.ITERATION_LIMIT)[None].astype(float),
            status,
            np.zeros(LANES, np.int32),
            np.zeros(LANES, np.bool_),
            Prior(*(self._padded(a) for a in fit.prior)),
            self.room.any("home", n),
            np.zeros((2, LANES)),
            *np.zeros((3, LANES), np.int64),
        )

    def _padded(self, array: np.ndarray) -> np.ndarray:
        """(..., LANES) from (..., S)."""
        result = aligned((*array.shape[:-1], LANES))
        result[..., : self.count] = array[..., self.where]
        return result

    def lanes(self, atoms: AtomValues) -> tuple[np.ndarray, ...]:
        """Atoms and derivatives of these intervals."""
        return tuple(self._padded(a) for a in atoms)

    def evaluate(self, atoms: tuple[np.ndarray, ...], k: int, team: bool = False) -> Part:
        """H, g and chi2, given those `lanes`; by all threads where `team`."""
        tables, blocks_only, number = self.fit.tables, bool(k < self.course.alternations[0]), threads() if team else 1
        parts = [self.scratch(chunk) for chunk in range(number)]

        def task(chunk: int) -> None:
            normal(tables, self.data, *atoms, *parts[chunk], blocks_only, chunk, number)

        shared(task, range(number))
        H, g, chi2 = parts[0]
        for part in parts[1:]:
            in_turns(add_part, H, g, part[0], part[1], tables, blocks_only)
            chi2 += part[2]
        return H, g, chi2

    def scratch(self, chunk: int = 0) -> Part:
        """Room for H, g and chi2."""
        name = str(chunk or "")
        H, g = self.course.H, self.course.g
        return self.room.any("H" + name, len(H)), self.room.any("g" + name, len(g)), self.room.any("chi2" + name, 1)

    def advance(self, k: int, part: Part, team: bool = False) -> bool:
        """Take an evaluation; whether another is needed."""
        course, rules = self.course, self.fit.rules
        if not team or len(rules.bounds.unknown):
            return bool(advance(course, rules, k, *part))
        what = take_in(course, rules, k, *part)
        if what == DAMPED:
            damped_step_of_all(course.H, course.g, course.damping, course.delta, course.decrease, *part[:2])
            return bool(move(course, rules))
        return bool(what == MADE)

    def errors_without(self, atoms: AtomValues, pinned: np.ndarray) -> None:
        """Errors at the present parameters, those of unknowns that are `pinned` (n, S) being zero."""
        fit, course, n = self.fit, self.course, self.fit.problem.count
        pins = self._padded(pinned) > 0
        worked = np.flatnonzero(pins.any(0))
        if not worked.size:
            return
        course.H[:], course.g[:], chi2 = self.evaluate(self.lanes(atoms), fit.alternations)
        add_prior(course.prior, course.theta, course.H, course.g, chi2)
        variance = np.empty((n, LANES))
        self._errors(pins, variance, np.zeros(LANES, np.int32), np.zeros(LANES), False)
        variance[pins] = 0.0
        fit.variance[:, self.s0 + worked] = variance[:, worked]

    def _errors(
        self, pins: np.ndarray, variance: np.ndarray, rank: np.ndarray, condition: np.ndarray, team: bool
    ) -> np.ndarray:
        """See `finish`; unknowns at their bounds, and `pins` (n, LANES), are held."""
        fit, course = self.fit, self.course
        bounds = fit.rules.bounds
        held = np.zeros((len(bounds.unknown), LANES), np.bool_)
        turned = np.union1d(fit.rules.gains, bounds.unknown[bounds.modulus])
        turn(course.H, course.theta, turned)
        hold(bounds, course.theta, course.H, course.g, held)
        pin(course.H, pins)
        null: np.ndarray = finish(course.H, variance, rank, condition, self.room, team)
        release(bounds, held, variance)
        turn_back(null, course.theta, turned)
        return null

    def part(self, made: Normal) -> Part:
        """These intervals' share of the normal equations of all."""
        H, g, chi2 = made
        return self._padded(H), self._padded(g), self._padded(chi2[None])

    def arrive(self, start: Normal, found: Normal) -> None:
        """Be where another package has gone: its normal equations there, chi2 at the start."""
        fit, course = self.fit, self.course
        course.theta[:, : self.count] = fit.theta[fit.problem.unknowns, self.where]
        course.status[: self.count], course.iterations[: self.count] = (
            fit.status[self.where],
            fit.iterations[self.where],
        )
        for (H, g, chi2), theta, into in (
            (self.part(start), course.trial, course.start),
            (self.part(found), course.theta, course.chi2),
        ):
            chi2 += course.constant
            add_prior(course.prior, theta, H, g, chi2)
            into[:] = np.where(course.active > 0, chi2, np.nan)
            course.H[:], course.g[:] = H, g

    def end(self, team: bool = False) -> None:
        """Rank and errors, by all threads where `team`; everything goes where the fit keeps it."""
        fit, course, n = self.fit, self.course, self.fit.problem.count
        fit.theta[fit.problem.unknowns, self.where] = course.theta[:, : self.count]
        fit.status[self.where] = course.status[: self.count]
        fit.iterations[self.where] = (course.iterations + course.alternated)[: self.count]
        fit.chi2[self.where], fit.chi2_start[self.where] = course.chi2[0, : self.count], course.start[0, : self.count]
        worked = np.isfinite(course.chi2[0, : self.count])
        if not worked.any():
            return
        variance = np.empty((n, LANES))
        rank, condition = np.zeros(LANES, np.int32), np.zeros(LANES)
        place = np.arange(n)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            alone = 1 / course.H[place * (place + 3) // 2]
        null = self._errors(np.zeros((n, LANES), np.bool_), variance, rank, condition, team)
        fit.nulls[self.s0] = np.where(worked, null[..., : self.count], 0.0)
        into = np.arange(self.s0, self.where.stop)[worked]
        fit.alone[:, into] = alone[:, : self.count][:, worked]
        for whole, own in ((fit.variance, variance), (fit.rank, rank), (fit.condition, condition)):
            whole[..., into] = own[..., : self.count][..., worked]
