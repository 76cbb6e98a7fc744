"""The demo: a Measurement Set made by a tree of ours, calibrated by a chain of ours, compared with the truth."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import rimetree as rt
from rimetree import Meq
from rimetree.io.caltable import CalFile
from rimetree.pipeline.interpolate import evaluate

ANTENNAS, SLOTS, CHANNELS = 10, 60, 64
F0, DF, DT, NOISE = 1.3e9, 250e3, 10.0, 0.2
SKY = ((8.0, 0.0, 0.0), (2.0, 0.004, -0.002), (1.0, -0.003, 0.005))
"""Point sources: Stokes I in Jy, l, m."""

CONFIG = """\
solve:
  - ms: {ms}
    output: {solutions}
    ref_ant: {ref}
    jones: [K, G, B]
    joint: [K, G, B]
    field: field0
    time_interval: [scan, 1slot, inf]        # a delay and a phase per scan, a gain per slot,
    freq_interval: [full, full, 1chan]       # a gain per channel; then all together
apply:
  - {{ms: {ms}, jones: [K0, G0, B0], tables: {solutions}}}
report: {page}
"""


class Truth:
    """True Jones terms: a delay, a drifting gain and a smooth bandpass per antenna and polarisation, drawn at random."""

    def __init__(self, t0: float) -> None:
        rng = np.random.default_rng(7)
        shape = (ANTENNAS, 2)
        self.t0 = t0
        self.delay = rng.uniform(-20e-9, 20e-9, shape)
        self.amplitude, self.phase = rng.uniform(0.8, 1.2, shape), rng.uniform(-np.pi, np.pi, shape)
        self.swing, self.rate = rng.uniform(0.1, 0.4, shape), 2 * np.pi / rng.uniform(300, 900, shape)
        self.slope, self.bow = rng.uniform(-0.1, 0.1, shape), rng.uniform(-0.2, 0.2, shape)

    def gain(self, a: int, h: int) -> object:
        """The tree of one diagonal element: exp(-2 pi i nu tau) * a exp(i phase(t)) * b(nu)."""
        x = (Meq.Freq() - (F0 + DF * CHANNELS / 2)) / (DF * CHANNELS / 2)
        drift = Meq.Sin((Meq.Time() - self.t0) * self.rate[a, h]) * self.swing[a, h] + self.phase[a, h]
        band = Meq.Polar(1 + x * self.slope[a, h], x * x * self.bow[a, h])
        return Meq.Delay(self.delay[a, h]) * Meq.Polar(self.amplitude[a, h], drift) * band

    def values(self, time: np.ndarray, freq: np.ndarray) -> np.ndarray:
        """The same in numpy: (antenna, hand, slot, channel)."""
        full = [
            v[:, :, None, None]
            for v in (self.delay, self.amplitude, self.phase, self.swing, self.rate, self.slope, self.bow)
        ]
        delay, amplitude, phase, swing, rate, slope, bow = full
        x = (freq - (F0 + DF * CHANNELS / 2)) / (DF * CHANNELS / 2)
        drift = swing * np.sin((time[:, None] - self.t0) * rate) + phase
        return amplitude * (1 + slope * x) * np.exp(1j * (drift + bow * x**2 - 2 * np.pi * delay * freq))


def simulate(path: Path) -> Truth:
    """Write the Measurement Set: noise first, then a tree adds the sky, seen through the true Jones terms."""
    start = 5.0e9
    rt.simulate(
        path,
        ANTENNAS,
        (start, SLOTS, DT),
        (F0, CHANNELS, DF),
        scans=3,
        corrs="linear",
        noise=NOISE,
        seed=1,
        overwrite=True,
    )
    ms = rt.MeasurementSet(path)
    truth = Truth(float(ms.groups[0].time[0]))
    ns = rt.Scope()
    for a, p in enumerate(ms.antennas):
        ns.J(p) << Meq.Matrix22(truth.gain(a, 0), 0, 0, truth.gain(a, 1))
    for i, (flux, l, m) in enumerate(SKY):
        ns.lmn(i) << Meq.Composer(l, m, float(np.sqrt(1 - l * l - m * m)))
        ns.X(i) << Meq.PointSource(flux, 0.05 * flux, 0.02 * flux, 0.0)
    for p, q in ms.baselines:
        uvw = Meq.Spigot(p, q, column="UVW")
        ns.sky(p, q) << Meq.Add(*(Meq.PhaseDelay(ns.lmn(i), uvw) * ns.X(i) for i in range(len(SKY))))
        seen = Meq.MatrixMultiply(ns.J(p), ns.sky(p, q), Meq.ConjTranspose(ns.J(q)))
        ns.model(p, q) << Meq.Sink(ns.sky(p, q), p, q, column="MODEL_DATA")
        ns.data(p, q) << Meq.Sink(Meq.Spigot(p, q, column="DATA") + seen, p, q, column="DATA")
    print(ns.forest().run(ms))
    return truth


def plot_residuals(path: Path, left: np.ndarray, rows: np.ndarray, perfect: float) -> None:
    """Rms of corrected data minus model (row, channel, corr; NaN where flagged) against time and channel."""
    from matplotlib.figure import Figure

    power = np.abs(left) ** 2
    slots = [power[r[r >= 0]].reshape(-1, 4) for r in rows.T]
    figure = Figure((10, 3.5), layout="constrained")
    for ax, values, label in zip(
        figure.subplots(1, 2, sharey=True),
        (np.array([np.nanmean(s, 0) for s in slots]), np.nanmean(power, 0)),
        ("slot", "channel"),
        strict=True,
    ):
        ax.plot(np.sqrt(values), lw=1, label=["XX", "XY", "YX", "YY"])
        ax.axhline(perfect, color="black", ls=":", lw=1, label="noise over the true gains")
        ax.set(xlabel=label)
    figure.axes[0].set(ylabel="corrected minus model, rms (Jy)", ylim=(0, None))
    figure.axes[1].legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=110)


def compare(path: Path, solutions: Path, truth: Truth) -> bool:
    """Print how far the solved Jones terms and the corrected data are from the truth; plot what is left."""
    ms = rt.MeasurementSet(path)
    group = ms.groups[0]
    true = truth.values(group.time, group.freq)
    solved = np.ones_like(true)
    for table in CalFile.load(solutions).tables:
        solved *= evaluate(table, group.time, group.freq)[..., [0, 1], [0, 1]].transpose(0, 3, 2, 1)
    turn = (true * solved.conj()).sum(0)
    error = np.abs(solved * turn / abs(turn) - true).std() / np.abs(true).mean()
    tile = ms.read(group, columns=("DATA", "MODEL_DATA", "CORRECTED_DATA"))
    good = tile.flags == 0
    baseline_p = np.array([[ms.antennas.index(a) for a in pair] for pair in ms.baselines])
    left = tile.columns["CORRECTED_DATA"] - tile.columns["MODEL_DATA"]
    residual = left[good]
    weight = true[baseline_p[:, 0]][:, [0, 0, 1, 1]] * true[baseline_p[:, 1]][:, [0, 1, 0, 1]].conj()
    perfect = NOISE * np.sqrt((1 / np.abs(weight) ** 2).mean())
    rms = np.sqrt((np.abs(residual) ** 2).mean())
    plot_residuals(path.with_name("residuals.png"), np.where(good, left, np.nan), tile.rows, perfect)
    print(f"Jones terms: {100 * error:.2f} % rms from the truth (a phase per polarisation, slot and channel is free)")
    print(
        f"corrected minus model: {rms:.4f} Jy rms; noise divided by the true gains: {perfect:.4f} Jy; ratio {rms / perfect:.3f}"
    )
    return bool(error < 0.02 and rms < 1.05 * perfect)


def main(folder: Path) -> int:
    """Simulate, calibrate, compare; 0 where the solutions are right."""
    began = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    ms, solutions, page = folder / "demo.ms", folder / "solutions.h5", folder / "report.html"
    print(f"1. simulate {ms}")
    truth = simulate(ms)
    config = folder / "kgb.yaml"
    config.write_text(CONFIG.format(ms=ms, ref=rt.MeasurementSet(ms).antennas[0], solutions=solutions, page=page))
    print(f"2. rimetree run {config}")
    if subprocess.run([sys.executable, "-m", "rimetree", "run", str(config), "--overwrite"], check=False).returncode:
        return 1
    print("3. compare with the truth")
    right = compare(ms, solutions, truth)
    print(
        f"look at {page} and {folder / 'residuals.png'}; all in {time.perf_counter() - began:.0f} s"
        if right
        else "the solutions are NOT right"
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
