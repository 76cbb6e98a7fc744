"""A canned chain, whole process: one K, G per slot and B per channel, corrected data written; rimetree and CASA.

Wall time, processor time and peak memory with warm caches, and the rms of corrected data minus model over that with the true
gains, each code on a copy of its own. CASA gets an environment of its own under ~/.cache/rimetree/peers, made at the first run (a
minute). ALAKAZAM with ceres needs 25 processor s for the same sizes (28 x 120 x 128): a figure from a document, measured with
its authors' code (ALAKAZAM.md), on a machine like this one but not by this benchmark.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from casacore import tables as ct
from common import Options, chain_set, options, process, table, verdict
from peers.chains import CASAChain, Chain, RimetreeChain
from peers.environments import NotInstalledError

ALAKAZAM = 25.0
"""Processor time in s."""
OVER_CASA, OVER_ALAKAZAM, RESIDUAL = 0.5, 0.2, 1.05


@dataclass(frozen=True, slots=True)
class Measured:
    """What a code needed: s, s of all processors, MB; and its residual over that of the true gains."""

    wall: float
    processor: float
    memory: float
    residual: float


def measure(chain: Chain, ms: Path, given: Options) -> Measured:
    """The best of three runs after one that fills caches, on a copy of the data. Raises SubprocessError."""
    own, out, spent = given.folder / "own.ms", given.folder / "out", []
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(ms, own)
    for _ in range(1 if given.smoke else 4):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        spent.append(process(chain.command(own, out), chain.variables(), out))
    found = Measured(*min(spent[1:] or spent), residual(own, ms.with_suffix(".truth.npz")))
    shutil.rmtree(own)
    return found


def residual(ms: Path, truth: Path) -> float:
    """Rms of corrected data minus model over unflagged parallel hands, over that of data corrected with the true gains.

    Cross hands have the phase between feeds in them, which no diagonal solution can tell. Data that are not finite count as wrong.
    """
    known, squares = np.load(truth), np.zeros(2)
    with ct.table(str(ms), ack=False) as main:
        slots = np.unique(main.getcol("TIME"), return_inverse=True)[1]
        for t in range(slots.max() + 1):
            rows = np.flatnonzero(slots == t)
            p, q, data, model, corrected, flags = (
                main.getcol(name, rows[0], len(rows))
                for name in ("ANTENNA1", "ANTENNA2", "DATA", "MODEL_DATA", "CORRECTED_DATA", "FLAG")
            )
            J = known["G"][:, t] * known["bandpass"][:, 0]
            used = ~flags[..., [0, 3]]
            parallel = data[..., [0, 3]] / (J[p] * J[q].conj())
            for i, values in enumerate((corrected[..., [0, 3]], parallel)):
                squares[i] += (abs(values - model[..., [0, 3]])[used] ** 2).sum(dtype=float)
    return float(np.sqrt(squares[0] / squares[1]))


def main() -> None:
    with options(__doc__.splitlines()[0], joint="also with a joint fit of the three terms at the end") as given:
        antennas, slots, channels = (8, 20, 16) if given.smoke else (28, 120, 128)
        ms = chain_set(given.folder, antennas, slots, channels)
        chains: list[Chain] = [RimetreeChain(), RimetreeChain(joint=True)] if given.switches else [RimetreeChain()]
        if not given.smoke:  # installing CASA takes a minute and two gigabytes
            chains.append(CASAChain())
        results: dict[str, Measured] = {}
        for chain in chains:
            try:
                chain.prepare()
                results[chain.name] = measure(chain, ms, given)
            except NotInstalledError as why:
                print(f"{chain.name}: not installed: {why}")
            except subprocess.CalledProcessError as failure:
                if chain is chains[0]:
                    raise
                print(f"{chain.name}: failed: {failure.stderr.strip().splitlines()[-1]}")
        head = ["", "wall s", "processor s", "peak MB", "residual / that of true gains"]
        rows = [[name, m.wall, m.processor, m.memory, f"{m.residual:.4f}"] for name, m in results.items()]
        table(f"K, G, B and apply: {antennas} antennas x {slots} slots x {channels} channels", head, rows)
        column = antennas * (antennas - 1) / 2 * slots * channels * 4 * 8 / 1e6
        table("rimetree's ratios", ["", "ratio", ""], ratios(results, column))


def ratios(results: dict[str, Measured], column: float) -> list[list[object]]:
    """Rows of the second table; `column`: MB of one column of visibilities."""
    ours, casa = results["rimetree"], results.get("CASA")
    found = [
        ("residual over that of the true gains", ours.residual, RESIDUAL),
        ("processor time over ALAKAZAM's (from a document)", ours.processor / ALAKAZAM, OVER_ALAKAZAM),
        ("memory over two columns and 500 MB", ours.memory / (2 * column + 500), 1),
    ]
    if casa:
        found += [
            ("wall time over CASA's", ours.wall / casa.wall, OVER_CASA),
            ("processor time over CASA's", ours.processor / casa.processor, OVER_CASA),
            ("residual over CASA's", ours.residual / casa.residual, RESIDUAL),
        ]
    return [[what, value, verdict(value, most)] for what, value, most in found]


if __name__ == "__main__":
    main()
