"""Diagonal and full-Jones solves on two real LOFAR data sets, with a report and plots.

    python examples/lofar.py ../shared/data out

The first folder holds lofar_hba_generic.tar.gz (from DP3) and lofar_61st_corrected.tar.gz (from LOFAR's imager). DATA
is what the correlator wrote; the model is CORRECTED_DATA, the same visibilities as LOFAR's own software corrected them.
The second folder receives the unpacked copies, which are worked on, the solutions and the plots.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from bbs import read_bbs, sky_nodes
from casacore.tables import table
from lofar_plots import plot_gains, plot_residuals, plot_stations

import rimetree as rt
from rimetree import Meq

HANDS = ("x", "y")


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into `folder`, replacing what an earlier run left there; the folder that it holds."""
    target = folder / archive.name.removesuffix(".tar.gz")
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return target


def jones(ns: rt.Scope, antennas: list[str], full: bool, solint: tuple[Any, Any]) -> Any:
    """One matrix of complex gains per station, ns.J(p): diagonal, or with its off-diagonal elements free as well."""
    for p in antennas:
        for row in HANDS:
            for column in HANDS:
                if full or row == column:
                    start = 1 + 0j if row == column else 0j
                    ns[row + column](p) << Meq.Parm(start, tags="gain", solint=solint)
        off = (ns.xy(p), ns.yx(p)) if full else (0, 0)
        ns.J(p) << Meq.Matrix22(ns.xx(p), *off, ns.yy(p))
    return ns.J


def forest(ms: rt.MeasurementSet, full: bool, solint: tuple[Any, Any], residual: str) -> Any:
    """DATA = J_p CORRECTED_DATA J_q^H, solved for J; what is left goes to the column `residual`."""
    ns = rt.Scope()
    gains = jones(ns, ms.antennas, full, solint)
    for p, q in ms.baselines:
        sky, data = Meq.Spigot(p, q, column="CORRECTED_DATA"), Meq.Spigot(p, q, column="DATA")
        ns.model(p, q) << Meq.MatrixMultiply(gains(p), sky, Meq.ConjTranspose(gains(q)))
        ns.eq(p, q) << Meq.Condeq(ns.model(p, q), data)
        ns.left(p, q) << Meq.Sink(data - ns.model(p, q), column=residual)
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    return ns.forest()


def rms(values: np.ndarray) -> float:
    """Root of the mean square modulus."""
    return float(np.sqrt(np.mean(np.abs(values) ** 2, dtype=float)))


def leftovers(path: Path, columns: dict[str, str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Baseline lengths (km), and per label rms(column) / rms(DATA) of every baseline; the rms of all is printed.

    "before" is DATA - s CORRECTED_DATA with the best single number s, because the two are in different units.
    """
    with rt.MeasurementSet(path) as ms:
        tile = ms.read(ms.groups[0], columns=("DATA", "CORRECTED_DATA", *columns.values()), uvw=True)
    solved = [tile.columns[name] != 0 for name in columns.values()]  # without a solution, Sinks write 0
    good = (tile.flags == 0) & np.all(solved, axis=0)
    data, sky = tile.columns["DATA"], tile.columns["CORRECTED_DATA"]
    scale = np.vdot(sky[good], data[good]) / np.vdot(sky[good], sky[good])
    left = {"before": data - scale * sky} | {label: tile.columns[name] for label, name in columns.items()}
    for label, values in left.items():
        print(f"  {label:9} rms(data - model) / rms(data) = {rms(values[good]) / rms(data[good]):.3g}")
    rows = {b: r[r >= 0] for b, r in enumerate(tile.rows)}
    rows = {b: r for b, r in rows.items() if good[r].any()}
    length = np.array([np.nanmean(np.linalg.norm(tile.uvw[b], axis=-1)) / 1e3 for b in rows])
    return length, {
        label: np.array([rms(values[r][good[r]]) / rms(data[r][good[r]]) for r in rows.values()])
        for label, values in left.items()
    }


def solve(name: str, path: Path, solint: tuple[Any, Any], folder: Path) -> None:
    """Both solves on one Measurement Set, with their report and plots."""
    print(f"\n{name}")
    reports = {}
    for label in ("diagonal", "full"):
        with rt.MeasurementSet(path) as ms:
            tree = forest(ms, label == "full", solint, residual=f"LEFT_{label.upper()}")
            reports[label] = tree.run(ms, solutions=folder / f"{name}_{label}.h5", overwrite=True)
        print(reports[label])
    length, left = leftovers(path, {"diagonal": "LEFT_DIAGONAL", "full": "LEFT_FULL"})
    plot_residuals(folder / f"{name}_residuals.png", name, length, left)
    tables = {label: report.tables.groups[0].jones[0] for label, report in reports.items()}
    if len(tables["full"].time) > 2:
        plot_gains(folder / f"{name}_gains.png", name, tables["diagonal"])
    else:
        plot_stations(folder / f"{name}_gains.png", name, tables)


def predict(folder: Path, path: Path) -> None:
    """The sky model of the archive as a tree, against DP3's prediction of the same (its column PREDICT_nobeam)."""
    ns = rt.Scope()
    with rt.MeasurementSet(path) as ms:
        sources = read_bbs(folder / "tNDPPP-generic-skymodel.txt")
        sky = sky_nodes(ns, sources, ms.fields[0].phase_dir, ms.baselines)
        for p, q in ms.baselines:
            ns.out(p, q) << Meq.Sink(sky(p, q), column="MODEL_DATA")
        ns.forest().run(ms)
    with table(str(path), ack=False) as ours, table(str(folder / "tPredict.tab"), ack=False) as theirs:
        cross = ours.getcol("ANTENNA1") != ours.getcol("ANTENNA2")
        model, reference = ours.getcol("MODEL_DATA")[cross], theirs.getcol("PREDICT_nobeam")[cross]
    difference = rms(model - reference) / rms(reference)
    print(f"\nsky model of {len(sources)} sources: rms(ours - DP3) / rms(DP3) = {difference:.2g}")


def main(data: Path, out: Path) -> None:
    """Everything."""
    out.mkdir(parents=True, exist_ok=True)
    hba = unpack(data / "lofar_hba_generic.tar.gz", out)
    stations = unpack(data / "lofar_61st_corrected.tar.gz", out)
    solve("lofar_hba_generic", hba / "tNDPPP-generic.MS", (1, None), out)
    solve("lofar_61st_corrected", stations / "tAWImager2.MS", (1, None), out)
    predict(hba, hba / "tNDPPP-generic.MS")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
