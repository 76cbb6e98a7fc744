"""What a configuration may say: lists of solve, fluxscale and apply blocks. `rimetree config` prints documented examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..errors import ConfigError, nearest
from ..quantity import hertz, seconds
from ..trees.terms import Term, term
from . import syntax
from .interpolate import DOMAINS, FREQS, SELECTS, TIMES

Names = str | int | list[str | int] | None
Spw = str | int | list[str | int] | None


class Block(BaseModel):
    """Base of all parts: unknown keys are mistakes, numbers are not texts."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Mistakes(list[str]):
    """What is wrong with a block, found one after another."""

    def of(self, instead: Any, check: Any, *args: Any) -> Any:
        """`check(*args)`; where that raises, the mistake is noted and `instead` taken."""
        try:
            return check(*args)
        except (ConfigError, ValueError) as error:
            self.append(str(error))
            return instead


def per_step(name: str, value: Any, count: int) -> list[Any]:
    """A value per step: a list of as many as there are steps, or one for all. ValueError otherwise."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name} has {len(value)} values, but jones has {count}; give one per term, or a single one for all"
        )
    return value


def one_of(name: str, value: Any, valid: tuple[str, ...]) -> str:
    """A word out of some; `nearest_time` is an old name of `nearest`. ValueError otherwise."""
    word = str(value)
    word = "nearest" if word == "nearest_time" and word not in valid else word
    if word not in valid:
        raise ValueError(f"{name}: expected {', '.join(valid)}, not {value!r}{nearest(value, valid)}")
    return word


class External(Block):
    """Solutions of earlier runs that are applied before anything is solved."""

    tables: list[str] = Field(min_length=1)
    jones: list[str] = Field(min_length=1)
    fields: list[Any] | None = None
    field_select: str | list[str] = "nearest_time"
    time_interp: str | list[str] = "nearest"

    @model_validator(mode="after")
    def _complete(self) -> External:
        count = len(self.jones)
        self.tables = per_step("tables", self.tables, count)
        self.field_select = [
            one_of("field_select", v, SELECTS) for v in per_step("field_select", self.field_select, count)
        ]
        self.time_interp = [one_of("time_interp", v, TIMES) for v in per_step("time_interp", self.time_interp, count)]
        return self


class Step(Block):
    """One term of a solve block, with everything that is its own."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    key: str
    kind: str
    term: Term
    field: list[str] | None
    scans: Any
    intent: list[str] | None
    spw: Spw
    combined: bool
    solint: tuple[int | str | None, int | str | None]
    interp: str
    words: str


LISTS = (
    "time_interval", "freq_interval", "phase_only", "phase_offset", "preapply_time_interp", "step_spw", "combine",
)  # fmt: skip
"""Keys that have a value per step, or one for all."""


class Solve(Block):
    """Solve terms one after another, each with those before it applied, interpolated to every datum."""

    ms: str | list[str]
    output: str
    jones: list[str]
    joint: list[str] | Literal["none"] | None = None
    ref_ant: str | int = "auto"
    field: Any = None
    scans: Any = None
    spw: Spw = None
    step_spw: list[Any] | None = None
    combine: Any = None
    intent: Any = None
    time_interval: Any = "inf"
    freq_interval: Any = "full"
    phase_only: bool | list[bool] = False
    phase_offset: bool | list[bool] = True
    preapply_time_interp: str | list[str] = "nearest"
    data_col: str = "DATA"
    model_col: str = "MODEL_DATA"
    apply_parang: bool = False
    rfi_threshold: float = Field(5.0, ge=0)
    residual_threshold: float = Field(0.0, ge=0)
    flag_residuals: bool = False
    max_iter: int = Field(100, ge=1)
    tol: float = Field(1e-10, gt=0, lt=1)
    memory_limit_gb: float = Field(0.0, ge=0)
    solver_backend: Literal["rimetree", "ceres", "jax", "scipy"] = "rimetree"
    n_workers: int = Field(0, ge=0)
    gpu: bool = False
    external_preapply: External | None = None
    taql: str | None = None
    antennas: Names = None
    steps: list[Step] = Field(default_factory=list, exclude=True)

    @field_validator("jones", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("rfi_threshold", "residual_threshold", "memory_limit_gb", "tol", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return _float(value)

    @model_validator(mode="before")
    @classmethod
    def _internal(cls, content: Any) -> Any:
        if isinstance(content, dict) and "steps" in content:
            raise ValueError("steps: there is no such key; the steps are the terms in jones:")
        return content

    @model_validator(mode="after")
    def _complete(self) -> Solve:
        if not self.jones:
            raise ValueError("jones: expected one or more terms such as [K, G]")
        count, wrong = len(self.jones), Mistakes()
        lists = {name: self._per_step(name, wrong) for name in LISTS}
        nothing = [None] * count
        fields = wrong.of(nothing, _fields, self.field, count)
        scans = wrong.of(nothing, _scans, self.scans, count)
        intents = wrong.of(nothing, _fields, self.intent, count, "intent")
        if not _sets(self.ms):
            wrong.append("ms: expected the path of a Measurement Set, or a list of one or more")
        if self.flag_residuals and not self.residual_threshold:
            wrong.append("flag_residuals: say beyond how many sigmas: residual_threshold: 5")
        keys = syntax.keys(self.jones)
        for i, (key, kind) in enumerate(zip(keys, self.jones, strict=True)):
            made = wrong.of(None, _term, kind, lists["phase_only"][i], lists["phase_offset"][i])
            solint = [
                wrong.of(None, _named, f"{name} of {key}", getattr(syntax, name), lists[name][i])
                for name in ("time_interval", "freq_interval")
            ]
            interp = wrong.of("nearest", one_of, "preapply_time_interp", lists["preapply_time_interp"][i], TIMES)
            combined = wrong.of(False, _combined, lists["combine"][i])
            spw = lists["step_spw"][i] if lists["step_spw"][i] is not None else self.spw
            words = f"{key}, time {lists['time_interval'][i]}, frequency {lists['freq_interval'][i]}"
            if not wrong:
                self.steps.append(
                    Step(key=key, kind=kind, term=made, field=fields[i], scans=scans[i], intent=intents[i], spw=spw,
                         combined=combined, solint=(solint[0], solint[1]), interp=interp, words=words)
                )  # fmt: skip
        if self.joint is not None:
            names = [] if self.joint == "none" else self.joint
            self.joint = [wrong.of(name, syntax.resolve, name, keys, "joint") for name in names]
        if wrong:
            raise ValueError("\n".join(dict.fromkeys(wrong)))
        return self

    def _per_step(self, name: str, wrong: Mistakes) -> list[Any]:
        """The values of a key, one per step; of its default where there are too many or few."""
        count = len(self.jones)
        default = type(self).model_fields[name].default
        found: list[Any] = wrong.of([default] * count, per_step, name, getattr(self, name), count)
        return found

    @property
    def backend(self) -> str:
        """Who makes sums and normal equations (see `solve.backends`); ceres and scipy minimise, see `backend`."""
        return "gpu" if self.gpu else "jax" if self.solver_backend == "jax" else "numba"


class Fluxscale(Block):
    """Bring gains solved with a model of unknown flux to the scale of those of a reference field."""

    reference_table: str
    reference_field: str | list[str]
    transfer_table: str
    transfer_field: str | list[str]
    output: str
    ms: str | list[str] | None = None
    model_col: str = "MODEL_DATA"
    jones_type: str = "G"
    spw: Spw = None

    @property
    def references(self) -> list[str]:
        """Fields of known flux."""
        return [self.reference_field] if isinstance(self.reference_field, str) else self.reference_field

    @property
    def transfers(self) -> list[str]:
        """Fields of unknown flux."""
        return [self.transfer_field] if isinstance(self.transfer_field, str) else self.transfer_field


class Apply(Block):
    """Correct data with solutions, listed in the order in which they were solved: the first is outermost."""

    ms: str | list[str]
    jones: list[str] = Field(min_length=1)
    tables: str | list[str]
    input_col: str = "DATA"
    output_col: str = "CORRECTED_DATA"
    target_field: Names = None
    target_scans: Any = None
    intent: Names = None
    spw: Spw = None
    field_select: Any = "nearest_time"
    time_interp: Any = "nearest"
    freq_interp: Any = "nearest"
    interp_domain: Any = "amp_phase"
    smooth_time: Any = None
    smooth_freq: Any = None
    solution_field: Any = None
    apply_parang: bool = False
    propagate_flags: bool = False
    forward: bool = False
    calwt: bool = False
    memory_limit_gb: float = Field(0.0, ge=0)
    taql: str | None = None

    @field_validator("memory_limit_gb", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return _float(value)

    @model_validator(mode="after")
    def _complete(self) -> Apply:
        count = len(self.jones)
        self.tables = per_step("tables", self.tables, count)
        for name, valid in (
            ("field_select", SELECTS),
            ("time_interp", TIMES),
            ("freq_interp", FREQS),
            ("interp_domain", DOMAINS),
        ):
            values = per_step(name, getattr(self, name), count)
            setattr(self, name, [one_of(name, value, valid) for value in values])
        if not _sets(self.ms):
            raise ValueError("ms: expected the path of a Measurement Set, or a list of one or more")
        for name, convert, example in (("smooth_time", seconds, "60s"), ("smooth_freq", hertz, "2MHz")):
            values = per_step(name, getattr(self, name), count)
            setattr(self, name, [_width(name, convert, value, example) for value in values])
        self.solution_field = _fields(self.solution_field, count)
        for i, select in enumerate(self.field_select):
            if (select == "pinned") != (self.solution_field[i] is not None):
                if select == "pinned":
                    raise ValueError(
                        f"solution_field: {self.jones[i]} is pinned, so say to which field: solution_field: [...]"
                    )
                self.solution_field[i] = None
        return self


class Config(Block):
    """A configuration file: any of the three lists, done in this order."""

    solve: list[Solve] = Field(default_factory=list)
    fluxscale: list[Fluxscale] = Field(default_factory=list)
    apply: list[Apply] = Field(default_factory=list)
    report: str | None = None

    @field_validator("solve", "fluxscale", "apply", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [] if value is None else [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _some(self) -> Config:
        if not (self.solve or self.fluxscale or self.apply):
            raise ValueError("expected a solve:, fluxscale: or apply: block; `rimetree config` prints examples")
        return self


def _float(value: Any) -> Any:
    """A whole number, or what YAML takes for a text ("1e-10"), as a float."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _named(where: str, convert: Any, value: Any) -> Any:
    try:
        return convert(value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _term(kind: str, phase_only: bool, phase_offset: bool) -> Term:
    """The term of a step."""
    made = term(kind)
    if phase_only and kind in ("G", "B"):
        return term("GP")
    if not phase_offset and hasattr(made, "phase_offset"):
        made.phase_offset = False
    if not made.solvable:
        raise ConfigError(f"{kind} is known, not solved for; say apply_parang: true to take it into account")
    return made


def _sets(value: str | list[str]) -> bool:
    """Whether there is a path."""
    return all([value] if isinstance(value, str) else value) and bool(value)


def _combined(value: Any) -> bool:
    """Whether a step is solved for all spectral windows as one. ValueError where it is neither "spw" nor nothing."""
    if value in (None, "", "none", False):
        return False
    if value == "spw":
        return True
    raise ValueError(f"combine: expected spw, or nothing, not {value!r}{nearest(value, ['spw'])}")


def _width(name: str, convert: Any, value: Any, example: str) -> float:
    """Full width of a smoothing Gaussian in s or Hz, 0 for none. ValueError where it is neither."""
    if value is None or value == 0:
        return 0.0
    try:
        found = float(convert(value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not found > 0:
        raise ValueError(f"{name}: expected a positive width such as {example}, not {value!r}")
    return found


def _fields(value: Any, count: int, name: str = "field") -> list[list[str] | None]:
    """Names per step: nothing, a name, a list of names (for all steps), or a list of lists (one per step)."""
    if value is None:
        return [None] * count
    if not isinstance(value, list):
        return [[str(value)]] * count
    if not any(isinstance(item, list) for item in value):
        return [[str(item) for item in value]] * count
    groups = [[str(word) for word in (item if isinstance(item, list) else [item])] for item in value]
    if len(groups) == 1:
        return groups * count  # type: ignore[return-value]
    if len(groups) != count:
        raise ValueError(
            f"{name} has {len(groups)} groups, but jones has {count}; give one group per term, or a single one"
        )
    return list(groups)


def _scans(value: Any, count: int) -> list[Any]:
    """Scans per step: a number, a text or a flat list for all steps; a list of lists has one per step."""
    if not isinstance(value, list) or not any(isinstance(item, list) for item in value):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"scans has {len(value)} groups, but jones has {count}; give one group per term, or a flat list"
        )
    return value
