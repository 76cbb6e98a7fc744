"""What a run did: statuses, chi-squared, timings and bytes, as a short text, a full table, and arrays for the solution file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...status import Status, counts


@dataclass(slots=True, eq=False)
class SolverSummary:
    """One component of one Solver in one field and spectral window; arrays are (nt, nf), one entry per solution interval."""

    solver: str
    group: str
    component: str
    unknowns: int
    status: np.ndarray
    iterations: np.ndarray
    chi2_start: np.ndarray
    chi2: np.ndarray
    dof: np.ndarray
    rank: np.ndarray
    condition: np.ndarray
    lost: np.ndarray
    """How many unknowns are gains lost in the noise."""
    gauge: np.ndarray
    gauges: list[str]
    """Null directions of each interval: gauges[gauge[t, f]]."""
    smoothness: np.ndarray | None = None
    """chi2 of the random walk from each interval to its neighbours, where they are tied (Parm smooth=...); not part of chi2."""

    def counts(self) -> str:
        """`110 converged, 2 no data`: how many intervals ended how."""
        return counts(self.status)

    def chi2_per_dof(self) -> float:
        """chi-squared per degree of freedom over all intervals that converged; over those with data where none did."""
        worked = (self.dof > 0) & np.isfinite(self.chi2)
        good = worked & (self.status == Status.CONVERGED)
        good = good if good.any() else worked
        return float(self.chi2[good].sum() / self.dof[good].sum()) if good.any() else float("nan")


MISFIT = 2.0
"""Root of chi2/dof beyond which the report says so."""

TIGHT, EXACT, ENOUGH = 0.2, 1e-5, 100
"""Root of chi2/dof below which it says so too, unless the data are exact (a simulation without noise) or as few."""


@dataclass(slots=True, eq=False)
class Report:
    """The outcome of `forest.run`. `print(report)` is the summary, `report.full()` a line per solution interval."""

    data: str
    solvers: list[SolverSummary] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    """Column -> visibilities written."""
    invalid: int = 0
    """Visibilities without a usable solution (written as 0)."""
    unfit: int = 0
    """Visibilities whose value is NaN or Inf, or needs a baseline that is missing there (written as 0)."""
    dropped: int = 0
    """Unflagged samples that are NaN or Inf and were left out."""
    clipped: int = 0
    """Visibilities flagged because a robust Solver clips them."""
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage -> wall time, in the order in which they first began."""
    compiled: list[str] = field(default_factory=list)
    """What numba and XLA compiled or loaded meanwhile, part of the times of the stages."""
    plan: str = ""
    solutions: str = ""
    """The solution file written."""
    tables: Any = None
    """The solutions themselves: io.solutions.Solutions."""
    notes: list[str] = field(default_factory=list)

    @property
    def converged(self) -> bool:
        """Whether every interval that has data converged."""
        good = (Status.CONVERGED, Status.NO_DATA)
        return all(np.isin(s.status, good).all() and (s.status == Status.CONVERGED).any() for s in self.solvers)

    def __str__(self) -> str:
        lines = [f"{self.data}: {self.plan}"]
        alike: dict[Any, list[SolverSummary]] = {}
        for s in self.solvers:
            alike.setdefault((s.solver, s.group, s.component, s.unknowns, s.status.shape), []).append(s)
        lines.extend(_together(several) for several in alike.values())
        lines.extend(self._misfits())
        codes = sorted({int(c) for s in self.solvers for c in np.unique(s.status)} - {Status.CONVERGED})
        lines.extend(f"  {Status(c).word}: {Status(c).message}" for c in codes)
        for column, count in self.written.items():
            lines.append(f"  wrote {column}: {count:,} visibilities")
        if self.invalid:
            lines.append(
                f"  {self.invalid:,} visibilities have no valid solution: written as 0; Meq.Sink(..., flag=True), or "
                "propagate_flags in an apply block, flags them"
            )
        if self.unfit:
            lines.append(f"  {self.unfit:,} visibilities are NaN or Inf, or need a row that is missing: written as 0")
        if self.dropped:
            lines.append(f"  {self.dropped:,} unflagged samples are NaN or Inf and were not used")
        if self.clipped:
            lines.append(f"  {self.clipped:,} visibilities are clipped: flagged")
        lines.extend(f"  {note}" for note in self.notes)
        if self.solutions:
            lines.append(f"  solutions: {self.solutions}")
        timing = ", ".join(f"{name} {value:.2f} s" for name, value in self.seconds.items())
        lines.append(f"  {timing}; read {self.bytes_read / 1e6:.0f} MB, wrote {self.bytes_written / 1e6:.0f} MB")
        return "\n".join(lines)

    def _misfits(self) -> Iterator[str]:
        """A line for each solver whose residuals are not what the weights promise. A minimum is a minimum, hence no status."""
        for name in dict.fromkeys(s.solver for s in self.solvers):
            own = [s for s in self.solvers if s.solver == name]
            ratio = np.sqrt([s.chi2_per_dof() for s in own])
            many = ratio[np.isfinite(ratio)]
            if many.size and sum(s.dof.sum() for s in own) > ENOUGH and EXACT < many.max() < TIGHT:
                yield (
                    f"  {name}: residuals are at most {many.max():.3g} times what the weights promise: the weights are too small, "
                    "or the data have no noise; errors are too large by as much"
                )
            if (many > MISFIT).any():
                yield (
                    f"  {name}: residuals are up to {many.max():.3g} times what the weights promise: the model lacks something, "
                    "the weights are too large, or this minimum is not the lowest (try another start)"
                )

    def full(self) -> str:
        """The time of each stage, what was compiled, a table with a line per component and solution interval, and what
        the data leave free."""
        head = ("solver", "group", "component", "t", "f", "status", "its", "chi2 before", "chi2", "chi2/dof", "dof", "rank",
                "condition", "lost", "free")  # fmt: skip
        rows = [head]
        free: dict[str, str] = {}
        for s in self.solvers:
            for (t, f), code in np.ndenumerate(s.status):
                text = s.gauges[s.gauge[t, f]]
                mark = free.setdefault(text, _letters(len(free))) if text else ""
                dof = s.dof[t, f]
                reduced = f"{s.chi2[t, f] / dof:.5g}" if dof > 0 else ""
                before, after = (_number(float(a[t, f])) for a in (s.chi2_start, s.chi2))
                rows.append(
                    (s.solver, s.group, s.component, str(t), str(f), Status(int(code)).word, str(s.iterations[t, f]),
                     before, after, reduced, f"{dof:.0f}", str(s.rank[t, f]), f"{s.condition[t, f]:.3g}",
                     str(s.lost[t, f] or ""), mark)
                )  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        left = {0, 1, 2, 5, 14}
        lines = [str(self), *self._times(), *([""] if self.solvers else [])]
        for row in rows if self.solvers else ():
            cells = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(cells).rstrip())
        lines += ["", *(f"free {mark}: {text}" for text, mark in free.items())] if free else []
        return "\n".join(lines)

    def _times(self) -> Iterator[str]:
        """Where the time went, a line per stage; compiling is part of these."""
        total = max(self.seconds.get("total", 0.0), 1e-9)
        stages = {name: value for name, value in self.seconds.items() if name != "total"}
        stages["other"] = max(total - sum(stages.values()), 0.0)
        for name, value in (*stages.items(), ("total", total)):
            yield f"  {name:12} {value:8.3f} s {100 * value / total:5.1f} %"
        yield from (f"  of which {line}" for line in self.compiled)


def _together(several: list[SolverSummary]) -> str:
    """The line of components that are called alike and are of one size, such as those of x and of y, or of every baseline."""
    first, status = several[0], np.concatenate([s.status for s in several])
    size = f"{len(several)} x {first.unknowns}" if len(several) > 1 else f"{first.unknowns}"
    line = f"  {first.solver} {first.group} [{first.component}] {size} unknowns x {counted(first.status.size, 'interval')}: "
    line += counts(status)
    reduced = np.array([s.chi2_per_dof() for s in several])
    reduced = reduced[np.isfinite(reduced)]
    if reduced.size:
        iterations = np.concatenate([s.iterations for s in several])
        low, high = (f"{x:.5g}" for x in (reduced.min(), reduced.max()))
        spread = low if low == high else f"{low} to {high}"
        line += f"; chi2/dof {spread}; iterations {int(np.median(iterations))} (most {int(iterations.max(initial=0))})"
    walks = [s.smoothness.sum() for s in several if s.smoothness is not None]
    return line + (f"; random walk chi2 {sum(walks):.4g}" if walks else "")


def counted(number: int, thing: str) -> str:
    """1 interval, 2 intervals."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def _letters(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    text = chr(ord("a") + number % 26)
    return text if number < 26 else _letters(number // 26 - 1) + text
