"""What a configuration may say: lists of solve, fluxscale and apply blocks. `rimetree config` prints documented examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from ..errors import ConfigError
from ..quantity import hertz, seconds
from ..trees.terms import Term, term
from . import syntax
from .interpolate import DOMAINS, FREQS, SELECTS, TIMES
from .mistakes import Mistakes, Place, Source

Names = str | int | list[str | int] | None
Spw = str | int | list[str | int] | None


Listed = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""Names, or one."""


class Block(BaseModel):
    """Base of all parts: unknown keys are mistakes, numbers are not texts."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _choices(block: Block, wrong: Mistakes, count: int, valid: Mapping[str, tuple[str, ...] | None]) -> list[list[Any]]:
    """Of some keys the values per step, each out of those that are valid (None: any)."""
    found = []
    for name, words in valid.items():
        given = getattr(block, name)
        values = wrong.of((name,), [type(block).model_fields[name].default] * count, syntax.per_step, given, count)
        if words is not None:
            values = [
                wrong.of((name, i) if isinstance(given, list) else (name,), words[0], syntax.one_of, value, words)
                for i, value in enumerate(values)
            ]
        found.append(values)
    return found


class External(Block):
    """Solutions of earlier runs that are applied before anything is solved."""

    tables: Listed = Field(min_length=1)
    jones: Listed = Field(min_length=1)
    fields: list[Any] | None = None
    field_select: str | list[str] = "nearest_time"
    time_interp: str | list[str] = "nearest"

    @model_validator(mode="after")
    def _complete(self) -> External:
        wrong = Mistakes()
        self.tables, self.field_select, self.time_interp = _choices(
            self, wrong, len(self.jones), {"tables": None, "field_select": SELECTS, "time_interp": TIMES}
        )
        if self.fields is not None and len(self.fields) != len(self.jones):
            wrong.add(("fields",), f"has {len(self.fields)} values, but jones has {len(self.jones)}; give one per term")
        if wrong:
            raise wrong
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
    jones: Listed
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
    max_iter: int = Field(100, ge=1, le=1_000_000)
    tol: float = Field(1e-10, gt=0, lt=1)
    memory_limit_gb: float = Field(0.0, ge=0)
    solver_backend: Literal["rimetree", "ceres", "jax", "scipy"] = "rimetree"
    n_workers: int = Field(0, ge=0, le=10_000)
    gpu: bool = False
    external_preapply: External | None = None
    taql: str | None = None
    antennas: Names = None
    _steps: list[Step] = PrivateAttr(default_factory=list)

    @field_validator("rfi_threshold", "residual_threshold", "memory_limit_gb", "tol", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return _float(value)

    @model_validator(mode="after")
    def _complete(self) -> Solve:
        wrong = Mistakes()
        if not self.jones:
            wrong.add(("jones",), "expected one or more terms such as [K, G]")
        count = len(self.jones)
        lists = {name: self._per_step(name, wrong) for name in LISTS}
        nothing = [None] * count
        fields = wrong.of(("field",), nothing, syntax.names, self.field, count)
        scans = wrong.of(("scans",), nothing, syntax.scans, self.scans, count)
        intents = wrong.of(("intent",), nothing, syntax.names, self.intent, count)
        _path(self.ms, wrong)
        if self.flag_residuals and not self.residual_threshold:
            wrong.add(("flag_residuals",), "say beyond how many sigmas: residual_threshold: 5")
        keys = syntax.keys(self.jones)
        for i, (key, kind) in enumerate(zip(keys, self.jones, strict=True)):

            def place(name: str, number: int = i) -> Place:
                return (name, number) if isinstance(getattr(self, name), list) else (name,)

            made = wrong.of(("jones", i), None, _term, kind, lists["phase_only"][i], lists["phase_offset"][i])
            solint = [
                wrong.of(place(name), None, getattr(syntax, name), lists[name][i])
                for name in ("time_interval", "freq_interval")
            ]
            interp = wrong.of(
                place("preapply_time_interp"), "nearest", syntax.one_of, lists["preapply_time_interp"][i], TIMES
            )
            combined = wrong.of(place("combine"), False, syntax.combined, lists["combine"][i])
            spw = lists["step_spw"][i] if lists["step_spw"][i] is not None else self.spw
            words = f"{key}, time {lists['time_interval'][i]}, frequency {lists['freq_interval'][i]}"
            if not wrong:
                self._steps.append(
                    Step(key=key, kind=kind, term=made, field=fields[i], scans=scans[i], intent=intents[i], spw=spw,
                         combined=combined, solint=(solint[0], solint[1]), interp=interp, words=words)
                )  # fmt: skip
        if self.joint is not None:
            names = [] if self.joint == "none" else self.joint
            self.joint = [
                wrong.of(("joint", i), name, syntax.resolve, name, keys, "jones") for i, name in enumerate(names)
            ]
        if wrong:
            raise wrong
        return self

    def _per_step(self, name: str, wrong: Mistakes) -> list[Any]:
        """The values of a key, one per step; of its default where there are too many or few."""
        count = len(self.jones)
        default = type(self).model_fields[name].default
        found: list[Any] = wrong.of((name,), [default] * count, syntax.per_step, getattr(self, name), count)
        return found

    @property
    def steps(self) -> list[Step]:
        """The terms in jones, each with everything that is its own."""
        return self._steps

    @property
    def backend(self) -> str:
        """Who makes sums and normal equations (see `solve.reduce.backends`); ceres and scipy minimise, see `backend`."""
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
    jones: Listed = Field(min_length=1)
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
        count, wrong = len(self.jones), Mistakes()
        _path(self.ms, wrong)
        valid = {
            "tables": None,
            "field_select": SELECTS,
            "time_interp": TIMES,
            "freq_interp": FREQS,
            "interp_domain": DOMAINS,
        }
        self.tables, self.field_select, self.time_interp, self.freq_interp, self.interp_domain = _choices(
            self, wrong, count, valid
        )
        for name, convert, example in (("smooth_time", seconds, "60s"), ("smooth_freq", hertz, "2MHz")):
            values = wrong.of((name,), [None] * count, syntax.per_step, getattr(self, name), count)
            setattr(self, name, [wrong.of((name,), 0.0, syntax.width, convert, value, example) for value in values])
        self.solution_field = wrong.of(("solution_field",), [None] * count, syntax.names, self.solution_field, count)
        for i, select in enumerate(self.field_select):
            if select != "pinned":
                self.solution_field[i] = None
            elif self.solution_field[i] is None and not any(one.place == ("solution_field",) for one in wrong.found):
                wrong.add(("field_select",), f"{self.jones[i]} is pinned, so say to which field: solution_field: [...]")
        if wrong:
            raise wrong
        return self


class Config(Block):
    """A configuration file: any of the three lists, done in this order."""

    solve: list[Solve] = []
    fluxscale: list[Fluxscale] = []
    apply: list[Apply] = []
    report: str | None = None

    _source: Source = PrivateAttr(default_factory=Source)

    @property
    def source(self) -> Source:
        """Where it was read, to say where its mistakes are."""
        return self._source

    def read_from(self, source: Source) -> Config:
        """The same, which knows where it was read."""
        self._source = source
        return self


def _float(value: Any) -> Any:
    """A whole number, or what YAML takes for a text ("1e-10"), as a float."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


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


def _path(value: str | list[str], wrong: Mistakes) -> None:
    """Note where no path is given."""
    if not value or not all([value] if isinstance(value, str) else value):
        wrong.add(("ms",), "expected the path of a Measurement Set, or a list of one or more")
