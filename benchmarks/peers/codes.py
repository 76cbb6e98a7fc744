"""The codes: how each is installed, what it is told for a task, and how its solutions are read.

Every one gets the stopping rule that its makers chose (tolerance and most iterations raised only where the default stops
early), two threads, and writes solutions but no visibilities.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .environments import environment
from .tasks import Task

THREADS = 2


class Code(ABC):
    """One calibration code."""

    name: str

    @abstractmethod
    def prepare(self) -> None:
        """Install it. Raises NotInstalledError."""

    @abstractmethod
    def command(self, task: Task, ms: Path, out: Path) -> list[str]:
        """The command line; solutions go into the folder `out`, which is empty."""

    @abstractmethod
    def solutions(self, task: Task, out: Path) -> np.ndarray:
        """Jones matrices (direction, antenna, t, f, 2, 2), NaN where there is no solution."""

    def variables(self) -> Mapping[str, str]:
        """Its environment variables."""
        return os.environ


class Rimetree(Code):
    """This package, in a new process."""

    name = "rimetree"
    script = """
from rimetree import Meq

def define_forest(ns, ms, options):
    solint = options["slots"], options["channels"]
    columns = options["columns"].split("+")
    for p in ms.antennas:
        for d in range(len(columns)):
            xx, yy = (ns[name](p, d) << Meq.Parm(1 + 0j, tags="gain", solint=solint) for name in ("xx", "yy"))
            xy = yx = 0
            if options["full"]:
                xy, yx = (ns[name](p, d) << Meq.Parm(0j, tags="gain", solint=solint) for name in ("xy", "yx"))
            ns.G(p, d) << Meq.Matrix22(xx, xy, yx, yy)
    for p, q in ms.baselines:
        seen = [
            Meq.MatrixMultiply(ns.G(p, d), Meq.Spigot(p, q, column=column), Meq.ConjTranspose(ns.G(q, d)))
            for d, column in enumerate(columns)
        ]
        model = seen[0] if len(seen) == 1 else Meq.Add(*seen)
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q, column="DATA"))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
"""

    def prepare(self) -> None:
        """Nothing: it is what runs."""

    def command(self, task: Task, ms: Path, out: Path) -> list[str]:
        (out / "gains.py").write_text(self.script)
        interval = {"slots": task.per_slots or "null", "channels": task.per_channels or "null"}
        words = {**interval, "columns": "+".join(task.columns), "full": str(task.full).lower()}
        given = [f"-o{key}={value}" for key, value in words.items()]
        files = [str(out / "gains.py"), "--ms", str(ms), "--solutions", str(out / "gains.h5")]
        return [sys.executable, "-m", "rimetree", "run", *files, *given, "--quiet"]

    def solutions(self, task: Task, out: Path) -> np.ndarray:
        from rimetree import Solutions

        return matrices(task, Solutions.load(out / "gains.h5"))


def matrices(task: Task, solutions: Any) -> np.ndarray:
    """Jones matrices (direction, antenna, t, f, 2, 2) of the Parms of `Rimetree.script`, NaN where not converged."""
    result = np.zeros((task.directions, task.antennas, *task.grid, 2, 2), complex)
    for i, label in enumerate(("xx", "xy", "yx", "yy")):
        if not task.full and label in ("xy", "yx"):
            continue
        table = solutions.parm(label)
        values = np.where(table.status == 0, table.values[..., 0, 0], np.nan)
        antennas = sorted({p for p, _ in table.qualifiers})
        for row, (p, d) in zip(values, table.qualifiers, strict=True):
            result[int(d), antennas.index(p), ..., i // 2, i % 2] = row
    return result


class DP3(Code):
    """DP3 gaincal; ddecal for several directions. The wheel's C++ library is run without the Python around it."""

    name = "DP3"
    runner = (
        "import glob, importlib.util, sys;"
        "path = glob.glob(sys.prefix + '/lib/python3*/site-packages/dp3/pydp3*.so')[0];"
        "spec = importlib.util.spec_from_file_location('dp3.pydp3', path);"
        "module = importlib.util.module_from_spec(spec);"
        "spec.loader.exec_module(module);"
        "sys.exit(module.execute_from_command_line(['DP3', *sys.argv[1:]]))"
    )

    def prepare(self) -> None:
        self.home = environment("dp3", ["dp3==6.6.0"])
        measures = Path(importlib.util.find_spec("casacore").origin or "").parent / "data"
        self.casarc = self.home / "casarc"
        self.casarc.write_text(f"measures.directory: {measures}\n")

    def variables(self) -> Mapping[str, str]:
        return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "CASARCFILES": str(self.casarc)}

    def command(self, task: Task, ms: Path, out: Path) -> list[str]:
        interval = {"solint": task.per_slots or task.slots, "nchan": task.per_channels or task.channels}
        if task.directions > 1:
            columns = ",".join(task.columns)
            step = {
                "type": "ddecal",
                "modeldatacolumns": f"[{columns}]",
                "mode": "diagonal",
                "h5parm": out / "gains.h5",
            }
        else:
            step = {
                "type": "gaincal", "usemodelcolumn": "true", "modelcolumn": task.columns[0], "parmdb": out / "gains.h5",
                "caltype": "fulljones" if task.full else "diagonal",
            }  # fmt: skip
        words = [f"s.{key}={value}" for key, value in {**step, **interval}.items()]
        return [
            str(self.home / "bin" / "python"), "-c", self.runner, f"msin={ms}", "msout=", "steps=[s]",
            f"numthreads={THREADS}", *words,
        ]  # fmt: skip

    def solutions(self, task: Task, out: Path) -> np.ndarray:
        import h5py

        with h5py.File(out / "gains.h5") as file:
            sol = file["sol000"]
            axes = sol["phase000/val"].attrs["AXES"].decode().split(",")
            values = sol["amplitude000/val"][:] * np.exp(1j * sol["phase000/val"][:])
            values[sol["phase000/weight"][:] == 0] = np.nan
        if "dir" not in axes:
            axes, values = [*axes, "dir"], values[..., None]
        values = values.transpose([axes.index(a) for a in ("dir", "ant", "time", "freq", "pol")])
        return as_matrices(values)


class QuartiCal(Code):
    """QuartiCal; its solutions are read in its own environment."""

    name = "QuartiCal"
    reader = """
import sys, numpy
from daskms.experimental.zarr import xds_from_zarr
sets = sorted(xds_from_zarr(sys.argv[1] + "::G"), key=lambda s: float(s.gain_time.values[0]))
gains = numpy.concatenate([numpy.where(s.gain_flags.values[..., None], numpy.nan, s.gains.values) for s in sets])
numpy.save(sys.argv[2], gains.transpose(3, 2, 0, 1, 4))
"""

    def prepare(self) -> None:
        self.home = environment("quartical", ["quartical==0.2.7"])

    def command(self, task: Task, ms: Path, out: Path) -> list[str]:
        per = task.per_slots or task.slots
        chunk = max(per, 40 // per * per) if task.per_slots else 0
        return [
            str(self.home / "bin" / "goquartical"), f"input_ms.path={ms}", "input_ms.weight_column=WEIGHT_SPECTRUM",
            f"input_ms.time_chunk={chunk}", f"input_model.recipe={':'.join(task.columns)}", "solver.terms=[G]",
            "solver.iter_recipe=[100]", f"G.type={'complex' if task.full else 'diag_complex'}",
            f"G.time_interval={task.per_slots or 0}", f"G.freq_interval={task.per_channels or 0}",
            f"G.direction_dependent={str(task.directions > 1).lower()}", "G.pinned_directions=[]" ,
            f"output.gain_directory={out}/gains.qc", f"output.log_directory={out}/logs.qc", "output.flags=false",
            f"dask.threads={THREADS}",
        ]  # fmt: skip

    def solutions(self, task: Task, out: Path) -> np.ndarray:
        made = out / "gains.npy"
        command = [str(self.home / "bin" / "python"), "-c", self.reader, f"{out}/gains.qc", str(made)]
        subprocess.run(command, check=True, capture_output=True)
        return as_matrices(np.load(made))


class CubiCal(Code):
    """CubiCal 1.6.4, which needs Python 3.9 or older; its solutions are read in its own environment."""

    name = "CubiCal"
    reader = """
import glob, sys, numpy
from cubical import param_db
gains = param_db.load(glob.glob(sys.argv[1] + "/out*/*-G-*.parmdb")[0])["G:gain"].get_cube()
numpy.save(sys.argv[2], numpy.ma.filled(gains.astype(complex), numpy.nan).transpose(0, 3, 1, 2, 4, 5))
"""

    def prepare(self) -> None:
        self.home = environment("cubical", ["cubical==1.6.4"], newest=(3, 9))

    def command(self, task: Task, ms: Path, out: Path) -> list[str]:
        per = task.per_slots or task.slots
        words = {
            "data-ms": ms, "data-time-chunk": max(per, 60 // per * per) if task.per_slots else task.slots,
            "data-freq-chunk": 0, "model-list": ":".join(task.columns), "flags-apply": "FLAG", "flags-auto-init": 0,
            "flags-save": 0, "flags-save-legacy": 0, "out-mode": "so", "out-dir": out / "out", "out-name": "cc",
            "out-plots": 0, "out-casa-gaintables": 0, "dist-ncpu": THREADS, "log-boring": 1, "sol-jones": "g",
            "sol-term-iters": 100, "g-max-iter": 100, "g-type": "complex-2x2" if task.full else "complex-diag",
            "g-time-int": task.per_slots or task.slots, "g-freq-int": task.per_channels or task.channels,
            "g-dd-term": int(task.directions > 1),
        }  # fmt: skip
        return [str(self.home / "bin" / "gocubical"), *(w for key, v in words.items() for w in (f"--{key}", str(v)))]

    def solutions(self, task: Task, out: Path) -> np.ndarray:
        made = out / "gains.npy"
        subprocess.run(
            [str(self.home / "bin" / "python"), "-c", self.reader, str(out), str(made)], check=True, capture_output=True
        )
        return np.load(made)


def as_matrices(values: np.ndarray) -> np.ndarray:
    """2x2 matrices from a last axis XX, YY or XX, XY, YX, YY."""
    if values.shape[-1] == 4:
        return values.reshape(*values.shape[:-1], 2, 2)
    return values[..., :, None] * np.eye(2)


CODES: tuple[Code, ...] = (Rimetree(), DP3(), QuartiCal(), CubiCal())
