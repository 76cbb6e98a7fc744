"""What the benchmarks share: their options, a Measurement Set with a known truth, timing, and the table that they
print."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casacore import tables as ct

import rimetree as rt
from rimetree import Meq

NOISE = 0.1
FLAGGED = 0.02
FIRST, WIDTH = 1.3e9, 250e3
"""First channel and channel width, Hz."""

Sky = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Coherencies (row, channel, 2, 2) from uvw (row, 3) in m and frequencies (channel,) in Hz."""


@dataclass(frozen=True, slots=True)
class Options:
    """`smoke`: sizes for a quick check that everything runs; its ratios mean nothing. `folder`: where data are made
    and kept."""

    smoke: bool
    folder: Path
    switches: frozenset[str] = frozenset()
    """Those of the benchmark's own switches that are on."""


@contextmanager
def options(description: str, **switches: str) -> Iterator[Options]:
    """Parse the command line; without --folder, data live in a temporary folder. `switches`: name and help of own ones."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="small and short: does it run?")
    parser.add_argument("--folder", type=Path, help="make data here and keep them for the next time")
    for name, text in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    given = parser.parse_args()
    on = frozenset(name for name in switches if getattr(given, name))
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        yield Options(given.smoke, given.folder, on)
        return
    with tempfile.TemporaryDirectory(prefix="rimetree-bench-") as folder:
        yield Options(given.smoke, Path(folder), on)


MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=2).returncode
wall = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(status)
"""
"""A process of its own for each: the peak memory of children is the largest of all that a process ever had."""


def process(
    command: Sequence[str], variables: Mapping[str, str] = os.environ, folder: Path | None = None, longest: float = 600
) -> tuple[float, float, float]:
    """Wall time in s, processor time in s and peak memory in MB of a command. Compiled Python files may be kept, for they
    are among the caches that are warm. Raises SubprocessError, with what the command said."""
    kept = {name: value for name, value in variables.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        capture_output=True, text=True, check=True, timeout=longest, cwd=folder, env=kept,
    )  # fmt: skip
    wall, processor, memory = map(float, done.stdout.split())
    return wall, processor, memory


def best(work: Callable[[], Any], times: int) -> float:
    """The shortest of several wall times, in s: what the work costs when nothing disturbs it."""
    return min(timed(work) for _ in range(times))


def timed(work: Callable[[], Any]) -> float:
    """Wall time of one call, in s."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers with three significant digits."""
    cells = [list(head)] + [[c if isinstance(c, str) else f"{c:.3g}" for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for row in cells:
        print(
            "  "
            + "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        )


def verdict(value: float, most: float, unit: str = "") -> str:
    """`within 4` or `ABOVE 4`."""
    return f"{'within' if value <= most else 'ABOVE'} {most:g}{unit}"


def gains_set(folder: Path, antennas: int, slots: int, channels: int) -> Path:
    """A Measurement Set whose DATA are J X J^H + noise with random diagonal J per slot, 2 % of it flagged garbage;
    made once.

    MODEL_DATA is X, a strong source and four weak, slightly polarised ones. Everything but the empty set is plain
    numpy.
    """
    path = folder / f"g{antennas}x{slots}x{channels}.ms"
    if path.exists():
        return path
    rng = np.random.default_rng(1)
    phases = rng.uniform(-np.pi, np.pi, (antennas, 1, 2)) + rng.normal(0, 0.05, (antennas, slots, 2)).cumsum(1)
    gains = (1 + 0.15 * rng.normal(size=(antennas, 1, 2))) * np.exp(1j * phases)
    rt.simulate(path, antennas, (5.0e9, slots, 8.0), (FIRST, channels, WIDTH), scans=3, noise=NOISE)
    jones = gains[:, :, None, :, None] * np.eye(2)
    fill(path, {"MODEL_DATA": sky}, lambda t: jones[None, :, t])
    np.save(path.with_suffix(".truth.npy"), gains)
    return path


def chain_set(folder: Path, antennas: int, slots: int, channels: int) -> Path:
    """A Measurement Set like that of `gains_set` with J = K G B, K and B constant in time; made once.

    Delays up to 20 ns, random phases, gains that wander by 5 % and a radian, bandpasses of 2 % noise on a slow curve. The truth
    is beside it: G and bandpass (K times B), antenna x slot x channel x feed.
    """
    path = folder / f"kgb{antennas}x{slots}x{channels}.ms"
    if path.exists():
        return path
    rng = np.random.default_rng(4)
    delay = rng.uniform(-20e-9, 20e-9, (antennas, 1, 1, 2))
    delay[0] = 0
    time, band = np.linspace(0, 1, slots)[:, None, None], np.linspace(-1, 1, channels)[:, None]
    size, phase, swing, turn = rng.normal(size=(4, antennas, 1, 1, 2))
    size = 1 + 0.15 * size + 0.05 * np.sin(2 * np.pi * (1 + turn) * time)
    G = size * np.exp(1j * (10 * phase + swing * np.sin(2 * np.pi * (turn + time))))
    noise, curve, bend = (rng.normal(size=(antennas, 1, n, 2)) for n in (channels, 1, 1))
    B = (1 + 0.02 * noise + 0.1 * curve * np.cos(np.pi * band)) * np.exp(0.2j * bend * band**2)
    K = np.exp(-2j * np.pi * delay * (FIRST + WIDTH * np.arange(channels)[:, None]))
    rt.simulate(path, antennas, (5.0e9, slots, 8.0), (FIRST, channels, WIDTH), scans=3, noise=NOISE)
    np.savez(path.with_suffix(".truth.npz"), G=G, bandpass=K * B)
    fill(path, {"MODEL_DATA": sky}, lambda t: (G[:, t] * (K * B)[:, 0])[None, ..., None] * np.eye(2))
    return path


def fill(path: Path, models: Mapping[str, Sky], jones: Callable[[int], np.ndarray]) -> None:
    """Write DATA = sum over directions of J X J^H + noise and FLAG into an empty set, and each X into a column of its
    own.

    `models`: column -> coherencies of that direction; `jones(t)`: (direction, antenna, channel or 1, 2, 2) of slot t.
    """
    rng = np.random.default_rng(3)
    with ct.table(str(path), readonly=False, ack=False) as main:
        for name in models:
            stored = main.getcoldesc("DATA")
            main.addcols(ct.makecoldesc(name, stored), main.getdminfo("DATA") | {"NAME": f"Tiled{name}"})
        p, q, time_of = (main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "TIME"))
        uvw, slot = main.getcol("UVW"), np.unique(time_of, return_inverse=True)[1]
        channels = main.getcell("DATA", 0).shape[0]
        frequency = FIRST + WIDTH * np.arange(channels)
        for t in range(slot.max() + 1):
            rows = np.flatnonzero(slot == t)
            first, shape = (rows[0], len(rows)), (len(rows), channels, 4)
            data = np.zeros((len(rows), channels, 2, 2), complex)
            for (name, model_of), J in zip(models.items(), jones(t), strict=True):
                model = model_of(uvw[rows], frequency)
                data += J[p[rows]] @ model @ J[q[rows]].conj().swapaxes(-1, -2)
                main.putcol(name, model.reshape(shape).astype(np.complex64), *first)
            noise = rng.normal(0, NOISE / np.sqrt(2), (2, *shape))
            flags = np.repeat(rng.random((len(rows), channels)) < FLAGGED, 4, -1).reshape(shape)
            data = data.reshape(shape) + noise[0] + 1j * noise[1] + 500 * flags
            main.putcol("DATA", data.astype(np.complex64), *first)
            main.putcol("FLAG", flags, *first)


def sky(uvw: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Coherencies (row, channel, 2, 2) of five sources, XX = I + Q."""
    rng = np.random.default_rng(2)
    l, m = rng.normal(0, 0.004, (2, 5))
    l[0] = m[0] = 0
    I = np.array([10.0, 1.5, 1.0, 0.7, 0.3])
    Q, U, V = I * rng.uniform(-0.05, 0.05, (3, 5)) * [[1], [1], [0.1]]
    return coherencies(uvw, frequency, l, m, (I, Q, U, V))


def coherencies(
    uvw: np.ndarray, frequency: np.ndarray, l: np.ndarray, m: np.ndarray, stokes: Sequence[np.ndarray]
) -> np.ndarray:
    """(row, channel, 2, 2) of point sources at (l, m), XX = I + Q, with fringes exp(-2 pi i (ul + vm + w(n-1)) nu/c)."""
    I, Q, U, V = stokes
    brightness = np.array([[I + Q, U + 1j * V], [U - 1j * V, I - Q]])
    delay = (uvw[:, 0, None] * l + uvw[:, 1, None] * m + uvw[:, 2, None] * (np.sqrt(1 - l**2 - m**2) - 1)) / 299792458.0
    fringe = np.exp(-2j * np.pi * delay[:, None] * frequency[:, None])
    return np.einsum("rcs,ijs->rcij", fringe, brightness)


def gain_forest(ms: rt.MeasurementSet, solint: tuple[Any, Any] = (1, None)) -> Any:
    """A diagonal gain per antenna and interval against MODEL_DATA: a Solver and no Sink."""
    ns = rt.Scope()
    for p in ms.antennas:
        ns.gx(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
        ns.gy(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q, column="DATA"))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    return ns.forest()
