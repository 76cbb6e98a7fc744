"""Examples run as they are printed, on data that fit them, and leave no more than 1.05 of what the true Jones matrices leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table

from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.load import check, load
from rimetree.pipeline.mounts import feed_angles
from rimetree.pipeline.run import run

EXAMPLES = Path(__file__).parents[2] / "trees" / "examples"
CORRS = {"linear": ("XX", "XY", "YX", "YY"), "circular": ("RR", "RL", "LR", "LL")}
ANTENNAS = 7
FIRST, SECOND = np.triu_indices(ANTENNAS, 1)
NOISE = 0.1
FLUX = 10.0
HOUR = 3600.0
DIAGONAL, CROSS = ([0, 1], [0, 1]), ([0, 1], [1, 0])


@dataclass
class Night:
    """What is observed: a chain of true Jones terms, fields in scans of so many slots, `gap` s apart, and spectral windows.

    Gains turn by 0.4 rad, once in `period` s; `models` are the fluxes (Jy) that the sets say of fields, where wrong.
    With `seen_as`, every field has gains of its own, but those of the field that is said. 3C286 is polarised, under any name.
    x and y of the antenna `even` have the same bandpass and gain, but for a constant: the rest is X and Y. What is calibrated
    are channels within `bands` (Hz).
    """

    chain: str
    scans: list[tuple[str, int]] = field(default_factory=lambda: [("3C286", 12)] * 2)
    names: tuple[str, ...] = ("calibrators.ms",)
    step: float = 10.0
    period: float = 20 * HOUR
    windows: tuple[tuple[float, float, int], ...] = ((1.4e9, 1e6, 16),)
    polarised: float = 0.0
    sky: dict[str, float] = field(default_factory=dict)
    models: dict[str, float] = field(default_factory=dict)
    seen_as: dict[str, str] = field(default_factory=dict)
    before: dict[str, object] | None = None
    gap: float = 30.0
    prefix: str = "C"
    even: int | None = None
    start: float = 5e9
    bands: tuple[tuple[float, float], ...] = ((0.0, 1e12),)

    @property
    def targets(self) -> list[str]:
        """What is looked at: what has a set of its own, else everything."""
        return ["T"] if "T" in self.fields else self.fields

    @property
    def fields(self) -> list[str]:
        """Names, in the order of their numbers."""
        return list(dict.fromkeys(name for name, _ in self.scans))


NIGHTS = {
    "several_nights": Night(
        "KBG", [("J0630", 12), ("T", 6), ("J0630", 12)], ("night1.ms",), period=50 * HOUR,
        windows=((1.4055e9, 1e6, 60), (1.5e9, 1e6, 16)), bands=((1.41e9, 1.43e9), (1.44e9, 1.46e9), (1.49e9, 1.6e9)),
    ),
    "simple_kg": Night("KG"),
    "kgb": Night("KGB", [("CAL", 12)] * 2, step=8.0, period=300.0),
    "bandpass_timegain": Night(
        "KBG", [("3C286", 12), ("J0630", 12), ("T", 6), ("J0630", 12)], ("calibrators.ms", "science.ms")
    ),
    "channel_selection": Night("KGB", windows=((1.4e9, 0.25e6, 112), (1.5e9, 0.25e6, 112))),
    "external_preapply": Night(
        "KG", [("J0630", 12)] * 2, ("new.ms",), period=1e9, before={"ms": "new.ms", "output": "old.h5", "jones": ["K"]}
    ),
    "kgbd": Night("KGBD", period=300.0, polarised=0.1),
    "readme": Night(
        "KGD",
        [("3C286", 4), ("B0329+54", 2), ("3C147", 4)],
        ("calibrators.ms", "science.ms"),
        polarised=0.1,
        models={"3C147": 1.0},
        period=50 * HOUR,
    ),
    "fluxscale": Night("KG", [("3C286", 8), ("J1822", 8)] * 2, models={"J1822": 1.0}, period=50 * HOUR),
    "full_polarization": Night("KGDXY", period=1e9, polarised=0.1),
    "meerkat_fullpol": Night(
        "KBGXYDP", [(n, 6) for n in ("J1939-6342", "J0408-6545", "J1331+3030", "J1239-1023", "J1331+3030") * 2], ("test.ms",),
        period=1e9, polarised=0.1, models={"J0408-6545": 1.0, "J1239-1023": 1.0}, gap=HOUR, prefix="m0", even=2,
    ),
    "nearest_sky": Night(
        "KG", [(n, 12) for n in ("3C286", "J1822", "J0630", "T", "J0630")], ("calibrators.ms", "science.ms"), seen_as={"T": "J0630"},
        sky={"3C286": 0.0, "J0630": 0.3, "J1822": 0.6, "T": 0.32},
    ),
    "phase_only": Night("KG", step=10.0, period=300.0),
    "pinned_field": Night(
        "KG", [("3C286", 12), ("J0630", 12), ("T", 6), ("J0630", 12)], ("calibrators.ms", "science.ms"), seen_as={"T": "J0630"},
        sky={"3C286": 0.0, "J0630": 0.3, "T": 0.3},
    ),
}  # fmt: skip


class Truth:
    """True Jones matrices (antenna, slot, channel, 2, 2) of a night, by letters: X is KC, Y is CP."""

    def __init__(self, night: Night, rng: np.random.Generator):
        self.night, shape = night, (ANTENNAS, 1, 1, 2)
        self.delay, self.phase, self.turn = (
            rng.uniform(-1, 1, (3, *shape)) * np.array([20e-9, np.pi, np.pi])[:, *[None] * 4]
        )
        self.size, self.curve, self.cubic = 1 + 0.1 * rng.normal(size=(3, *shape))
        self.away = rng.uniform(-1, 1, (len(night.fields), *shape))
        if night.even is not None:
            for values in (self.delay, self.turn, self.cubic):
                values[night.even, ..., 1] = values[night.even, ..., 0]
        self.leak = 0.05 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))

    def diagonal(self, letter: str, time: np.ndarray, freq: np.ndarray, number: int) -> np.ndarray:
        """The diagonal of a term."""
        t, f = time[None, :, None, None], freq[None, None, :, None]
        x = np.linspace(-1, 1, freq.size)[None, None, :, None]
        match letter:
            case "K":
                return np.exp(-2j * np.pi * self.delay * f)
            case "G":
                drift = 0.4 * np.sin(2 * np.pi * t / self.night.period + self.turn)
                name = self.night.fields[number]
                toward = self.away[self.night.fields.index(self.night.seen_as.get(name, name))]
                return self.size * np.exp(1j * (self.phase + drift + toward * bool(self.night.seen_as)))
            case "B":
                x = np.repeat(x[:, :, ::4], 4, axis=2)  # constant over 4 channels: no wider than the intervals
                return (1 + (self.curve - 1) * x**2) * np.exp(2j * (self.cubic - 1) * x**3)
            case "X":
                return np.exp(-2j * np.pi * 3e-9 * (f - freq.mean()) * np.array([1, 0]))
            case _:
                return np.exp(0.7j * np.array([0, 1])) * np.ones((1, 1, 1, 2))

    def jones(self, letters: str, time: np.ndarray, freq: np.ndarray, number: int, angle: np.ndarray) -> np.ndarray:
        """The product of some terms; P turns by minus `angle` (antenna, slot)."""
        total = np.broadcast_to(np.eye(2, dtype=complex), (ANTENNAS, time.size, freq.size, 2, 2))
        for letter in letters:
            if letter == "D":
                mixing = np.zeros((ANTENNAS, 1, 1, 2, 2), complex) + np.eye(2)
                mixing[..., 0, 1], mixing[..., 1, 0] = self.leak[..., 0], self.leak[..., 1]
                total = total @ mixing
            elif letter == "P":
                c, s = np.cos(angle), np.sin(angle)
                total = total @ np.stack([c, s, -s, c], -1).reshape(*angle.shape, 1, 2, 2)
            else:
                total = total * self.diagonal(letter, time, freq, number)[..., None, :]
        return total


class Observed:
    """The set of a night, and what its true Jones matrices make of DATA."""

    def __init__(self, night: Night, feed: str, raw_ms: Callable[..., Path], edit: Callable[..., object]):
        self.night, self.feed, rng = night, feed, np.random.default_rng(5)
        self.path = self._empty(raw_ms, edit)
        truth = Truth(night, rng)
        if night.start > 5e9:
            rng = np.random.default_rng(6)  # the same antennas on another night
        self.true: dict[int, np.ndarray] = {}
        self.sky: dict[int, np.ndarray] = {}
        with MeasurementSet(self.path) as ms:
            ms.ensure_column("MODEL_DATA")
            groups = ms.groups
            angles = [feed_angles(ms, group) for group in groups]
        with table(str(self.path), readonly=False, ack=False) as main:
            main.putcol("WEIGHT", np.full((main.nrows(), 4), 1 / NOISE**2, np.float32))
            for number, group in enumerate(groups):
                sky = self._model(group, rng)
                jones = truth.jones(night.chain, group.time - 5e9, group.freq, group.field_id, angles[number])
                data = jones[FIRST] @ sky @ jones[SECOND].conj().swapaxes(-1, -2)
                noise = rng.normal(size=(2, *data.shape)) * NOISE / np.sqrt(2)
                data = data + noise[0] + 1j * noise[1]
                back = np.linalg.inv(jones)
                self.true[number] = back[FIRST] @ data @ back[SECOND].conj().swapaxes(-1, -2)
                self.sky[number] = sky
                rows = main.query(f"DATA_DESC_ID=={group.ddid} && FIELD_ID=={group.field_id}")
                said = sky * (night.models.get(str(group.field_name), FLUX) / FLUX)
                for name, values in (("DATA", data), ("MODEL_DATA", said)):
                    rows.putcol(name, values.swapaxes(0, 1).reshape(-1, group.freq.size, 4).astype(np.complex64))
        self.groups = groups

    def _empty(self, raw_ms: Callable[..., Path], edit: Callable[..., object]) -> Path:
        """Rows and sub-tables."""
        night, rows, now, last = self.night, [], self.night.start, len(self.night.windows) - 1
        for scan, (name, slots) in enumerate(night.scans, 1):
            for _ in range(slots):
                place = (now, scan, night.fields.index(name))
                rows += [(p, q, *place, last - w) for w in range(last + 1) for p, q in zip(FIRST, SECOND, strict=True)]
                now += night.step
            now += night.gap
        made = raw_ms(rows, [(n, CORRS[self.feed]) for *_, n in night.windows[::-1]], night.names[0], night.step)
        for name in night.names[1:]:
            made.with_name(name).symlink_to(made)
        with edit(made / "FIELD") as sub:
            for number, name in enumerate(night.fields):
                sub.putcell("NAME", number, name)
                sub.putcell("PHASE_DIR", number, np.array([[night.sky.get(name, 0.02 * number), -0.5]]))
        with edit(made / "STATE") as sub:
            sub.addrows(len(night.fields))
            for number, name in enumerate(night.fields):
                sub.putcell("OBS_MODE", number, "OBSERVE_TARGET" if name == "T" else "CALIBRATE_PHASE")
        with edit(made) as main:
            main.putcol("STATE_ID", main.getcol("FIELD_ID"))
        with edit(made / "ANTENNA") as sub:
            sub.putcol("NAME", [f"{night.prefix}{i:02}" for i in range(ANTENNAS)])
        with edit(made / "SPECTRAL_WINDOW") as sub:
            for number, (start, width, chans) in enumerate(night.windows):
                sub.putcell("CHAN_FREQ", number, start + width * np.arange(chans))
                sub.putcell("CHAN_WIDTH", number, np.full(chans, width))
        return made

    def _model(self, group: object, rng: np.random.Generator) -> np.ndarray:
        """A point and another of 20 %, whose fringes turn with time and frequency; (baseline, slot, channel, 2, 2)."""
        x, t = np.linspace(-1, 1, group.freq.size), np.linspace(0, 1, group.time.size)[:, None]
        turns = rng.uniform(-1, 1, (2, FIRST.size, 1, 1))
        fringe = np.exp(2j * np.pi * (turns[0] * x + turns[1] * t))
        p = self.night.polarised * (group.field_name in ("3C286", "J1331+3030"))
        brightness = np.array([[1 + p / 2, p - 0.5j * p], [p + 0.5j * p, 1 - p / 2]])
        return (FLUX * (1 + 0.2 * fringe)[..., None, None] * brightness).astype(np.complex64)

    def left(self) -> tuple[float, float, float]:
        """rms of corrected minus sky over that with the true Jones matrices, of parallel and of cross-hands, in the field where it
        is most; and what part is lost."""
        squares, lost, count = {name: np.zeros((2, 2)) for name in self.night.targets}, 0, 0
        with table(str(self.path), ack=False) as main:
            for number, group in enumerate(self.groups):
                if group.field_name not in squares:
                    continue
                rows = main.query(f"DATA_DESC_ID=={group.ddid} && FIELD_ID=={group.field_id}")
                flat = [rows.getcol(name) for name in ("CORRECTED_DATA", "FLAG")]
                shape = (group.time.size, FIRST.size, group.freq.size, 2, 2)
                corrected, flag = (values.reshape(shape).swapaxes(0, 1) for values in flat)
                chosen = np.any([(low < group.freq) & (group.freq < high) for low, high in self.night.bands], axis=0)
                wanted = ~flag & chosen[:, None, None]
                there = wanted & (corrected != 0)
                lost, count = lost + (wanted & ~there).sum(), count + wanted.sum()
                for row, values in enumerate((corrected, self.true[number])):
                    error = np.where(there, np.abs(values - self.sky[number]) ** 2, 0)
                    squares[group.field_name][row] += [error[..., i, j].sum() for i, j in (DIAGONAL, CROSS)]
        parallel, cross = np.max([np.sqrt(ours / best) for ours, best in squares.values()], axis=0)
        return float(parallel), float(cross), lost / count


@pytest.fixture
def observed(raw_ms, edit, tmp_path, monkeypatch):
    """`observed(name, feed)`: the data of an example, in the folder in which it will be run."""
    monkeypatch.chdir(tmp_path)
    return lambda name, feed="linear", **changes: Observed(replace(NIGHTS[name], **changes), feed, raw_ms, edit)


def leaves_the_noise(seen: Observed, report: object) -> None:
    """All is solved and corrected, to 1.05 of what the truth leaves."""
    assert report.converged, report.full()
    parallel, cross, lost = seen.left()
    assert lost < 1e-3
    assert parallel < 1.05
    assert cross < 1.05


@pytest.mark.parametrize(
    ("name", "feed"),
    [
        *((name, "linear") for name in NIGHTS if (EXAMPLES / f"{name}.yaml").exists()),
        ("kgb", "circular"),
        ("full_polarization", "circular"),
    ],
)
def test_examples_leave_the_noise(observed, name: str, feed: str):
    seen = observed(name, feed)
    if seen.night.before is not None:
        run(check({"solve": seen.night.before}), progress=False)
    nights = [observed(name, names=("night2.ms",), start=5e9 + 86400)] if name == "several_nights" else []
    report = run(load(EXAMPLES / f"{name}.yaml"), progress=False)
    for night in (seen, *nights):
        leaves_the_noise(night, report)


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["linear", "circular"])
def test_leakages_join_the_chain_of_the_template(observed, feed: str):
    """K G B D of a polarised source, while gains turn from slot to slot."""
    terms, intervals = "[K, G, B, D]", "[scan, 1slot, inf, inf]"
    changes = [f"solve.0.{name}={terms}" for name in ("jones", "joint")] + [
        "solve.0.field=3C286",
        "apply.0.jones=[K0, G0, B0, D0]",
    ]
    changes += [f"solve.0.time_interval={intervals}", "solve.0.freq_interval=[full, full, 1chan, full]"]
    seen = observed("kgbd", feed)
    leaves_the_noise(seen, run(load(EXAMPLES / "kgb.yaml", changes), progress=False))


def spoilt(what: str, flag: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flags (row, channel, correlation); rows are slots of all baselines."""
    first, second = (np.tile(which, len(flag) // FIRST.size) for which in (FIRST, SECOND))
    match what:
        case "30 % at random":
            return flag | (rng.random(flag.shape[:2]) < 0.3)[..., None]
        case "dead channels at the edges":
            edges = np.isin(np.arange(flag.shape[1]), [0, 1, 2, flag.shape[1] - 1])
            return flag | edges[:, None]
        case _:
            dead = 0 if "reference" in what else 3
            return flag | ((first == dead) | (second == dead))[:, None, None]


@pytest.mark.parametrize(
    "what", ["30 % at random", "a dead antenna", "a dead reference antenna", "dead channels at the edges"]
)
def test_flags_leave_the_noise_in_the_rest(observed, what: str):
    """An unpolarised calibrator, of which much is flagged, and wrong there."""
    seen = observed("kgb")
    with table(str(seen.path), readonly=False, ack=False) as main:
        flag = spoilt(what, main.getcol("FLAG"), np.random.default_rng(6))
        main.putcol("FLAG", flag)
        main.putcol("DATA", np.where(flag, np.complex64(1e4), main.getcol("DATA")))
    leaves_the_noise(seen, run(load(EXAMPLES / "kgb.yaml", ["solve.0.ref_ant=C00"]), progress=False))


README = """
solve:
  - ms: calibrators.ms
    output: cal.h5
    ref_ant: C04
    data_col: DATA
    model_col: MODEL_DATA
    apply_parang: false
    rfi_threshold: 5.0
    max_iter: 100
    tol: 1.0e-10
    solver_backend: ceres
    jones: [K, G, D]
    field: [[3C286], [3C286, 3C147], [3C286]]
    time_interval: [scan, inf, inf]
    freq_interval: [full, 4MHz, full]
    phase_only: [false, false, false]
fluxscale:
  - reference_table: cal.h5
    reference_field: [3C286]
    transfer_table: cal.h5
    transfer_field: [3C147]
    output: cal.h5
    jones_type: G0
apply:
  - ms: science.ms
    output_col: CORRECTED_DATA
    target_field: [B0329+54]
    apply_parang: true
    propagate_flags: true
    jones: [K0, G0, D0]
    tables: [cal.h5, cal.h5, cal.h5]
    field_select: [nearest_time, nearest_time, nearest_time]
    time_interp: [nearest, linear, nearest]
"""
"""The three blocks of ALAKAZAM's README."""


@pytest.mark.slow
def test_the_readme_of_alakazam_runs_as_it_is(observed, tmp_path):
    seen = observed("readme")
    Path("readme.yaml").write_text(README)
    config = load("readme.yaml")
    plan = "\n".join(run(config, dry_run=True, progress=False).notes)
    for words in ("step 1: K0, time scan", "step 2: G0, time inf, frequency 4MHz", "step 3: D0", "science.ms"):
        assert words in plan
    assert not Path("cal.h5").exists()
    report = run(config, progress=False)
    assert report.converged, report.full()
    assert report.scales[0].flux == pytest.approx(10, rel=0.05)  # with fringes of a second source
    (target,) = (g for g in seen.groups if g.field_name == "B0329+54")
    with table("science.ms", ack=False) as main:
        corrected = main.query(f"FIELD_ID=={target.field_id}").getcol("CORRECTED_DATA")
    assert np.isfinite(corrected).all() and corrected.any()
