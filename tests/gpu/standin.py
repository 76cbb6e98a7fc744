"""Whole solves with backend="gpu" where the second of two CPU devices stands in for a GPU: run by `test_gpu`, prints JSON.

Every program that is compiled on the way is lowered for CUDA, too, and every array that goes in or comes out is asked where it is.
What XLA makes of them for a GPU (fusions, matrix products, memory) is not seen here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import numpy as np

import rimetree as rt
from rimetree import Meq
from rimetree.funklets import Spline
from rimetree.io.caltable import CalFile
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run
from rimetree.plan.xla import jax

HOST, GPU = jax.devices()


class Watched:
    """`jax.jit` and `jax.device_put`, with notes on what passes through them."""

    def __init__(self) -> None:
        self.jit, self.device_put, self.devices = jax.jit, jax.device_put, jax.devices
        self.clear()

    def clear(self) -> None:
        """Forget what passed."""
        self.astray: set[str] = set()
        """Compiled functions that took or gave arrays of another device than the stand-in's, while a solve asked for this."""
        self.calling: set[str] = set()
        """Compiled functions that call back to the host."""
        self.foreign: set[str] = set()
        """What CUDA does not have of the lowered text."""
        self.lowered: set[str] = set()
        self.outside: set[str] = set()
        """Compiled functions that were called while no solve asked for the stand-in."""
        self.put: list[int] = []
        """Bytes of each array of the host that `device_put` sent."""
        self.calls: dict[str, list[int]] = {}
        """Bytes of arrays of the host in each call of a compiled function."""

    def compiled(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """In place of `jax.jit`."""
        if function is None:
            return lambda one: self.compiled(one, **options)
        made, name, seen = self.jit(function, **options), getattr(function, "__qualname__", str(function)), set()

        def call(*args: Any) -> Any:
            leaves = jax.tree.leaves(args[1:] if options else args)
            key = str((args[:1] if options else (), [(np.shape(a), str(getattr(a, "dtype", type(a)))) for a in leaves]))
            if key not in seen:
                seen.add(key)
                self.lower(name, made.trace(*args))
            result = made(*args)
            size = sum(a.nbytes for a in leaves if isinstance(a, np.ndarray))
            self.calls.setdefault(name, []).append(size)
            if jax.config.jax_default_device == GPU:
                arrays = [a for a in (*leaves, *jax.tree.leaves(result)) if isinstance(a, jax.Array)]
                if any(a.devices() != {GPU} for a in arrays):
                    self.astray.add(name)
            else:
                self.outside.add(name)
            return result

        return call

    def lower(self, name: str, traced: Any) -> None:
        """One program for CUDA, with numbers of 64 bits."""
        if "pure_callback" in str(traced.jaxpr):  # JAX lowers callbacks only where there is a GPU
            self.calling.add(name)
            return
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        self.lowered.add(name)
        targets = set(re.findall(r"custom_call @(\w+)", text))
        self.foreign |= {f"{name}: {target}" for target in targets if not target.startswith(("cu", "Sharding"))}

    def sent(self, tree: Any, *args: Any, **options: Any) -> Any:
        """In place of `jax.device_put`."""
        self.put += [a.nbytes for a in jax.tree.leaves(tree) if isinstance(a, np.ndarray)]
        return self.device_put(tree, *args, **options)

    def only(self, kind: str | None = None) -> Any:
        """In place of `jax.devices`."""
        return [GPU] if kind == "gpu" else self.devices(kind)


def parm(ns: rt.Scope, name: str, p: Any, value: Any, **options: Any) -> Any:
    return ns[name](p) << Meq.Parm(value, tags="x", **options)


def both(make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda ns, p: Meq.Matrix22(g := make(ns, p), 0, 0, g)


def dispersive(tec, freq):
    """exp(i 1e9 tec / freq)."""
    return np.exp(1j * tec * 1e9 / freq)


Dispersive = rt.node(dispersive, name="Dispersive")

FOLDER = Path(sys.argv[1])


def pointing(ns: rt.Scope, p: str) -> Any:
    """A beam from a file, off by what is solved for."""
    off = parm(ns, "off", p, 0.0, solint=3, prior=(0, 1e-4))
    beam = ns.beam << Meq.FITSReader(str(FOLDER / "beam.fits"), smooth=True)
    return Meq.CoordTransform(beam, 0.01 + off, 1e-3 * int(p[3:]), axes=("l", "m"))


def beam() -> None:
    """A Gaussian in l and m."""
    from astropy.io import fits

    pixels = np.arange(-30, 31) * 0.001
    axes = {"CTYPE1": "L", "CDELT1": 0.001, "CRPIX1": 31, "CTYPE2": "M", "CDELT2": 0.001, "CRPIX2": 31}
    values = np.exp(-(pixels**2 + pixels[:, None] ** 2) / 4e-4)
    fits.writeto(FOLDER / "beam.fits", values, fits.Header(axes))


TURNED = both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=3) * Meq.Exp(1e-18j * int(p[3:]) * Meq.Freq() * Meq.Time()))

KINDS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "diagonal": (
        lambda ns, p: Meq.Matrix22(parm(ns, "gx", p, 1 + 0j, solint=1), 0, 0, parm(ns, "gy", p, 1 + 0j, solint=1)),
        {},
    ),
    "full": (
        lambda ns, p: Meq.Matrix22(*(parm(ns, f"g{e}", p, v + 0j, solint=3) for e, v in enumerate([1, 0, 0, 1]))),
        {},
    ),
    "delay": (both(lambda ns, p: Meq.Exp(1e3j * parm(ns, "tau", p, 0.0, solint=3) * (Meq.Freq() * 1e-9 - 1.4))), {}),
    "numpy": (both(lambda ns, p: Dispersive(parm(ns, "tec", p, 0.1, solint=3), Meq.Freq())), {}),
    "spline": (both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=(3, None), funklet=Spline(freq=2, degree=1))), {}),
    "inverse": (
        lambda ns, p: Meq.MatrixInvert(
            Meq.Matrix22(parm(ns, "g", p, 1 + 0j, solint=3), 0, 0, parm(ns, "h", p, 1 + 0j, solint=3))
        ),
        {},
    ),
    "computed": (TURNED, {}),
    "beam": (both(pointing), {}),
    "two intervals": (
        both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=3) * parm(ns, "b", p, 1 + 0j, solint=(None, 2))),
        {},
    ),
    "single data": (both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=(1, 1))), {}),
    "robust": (both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=3)), {"robust": "student-t", "tol": 1e-9}),
    "bounds": (both(lambda ns, p: parm(ns, "a", p, 1.0, solint=3, bounds=(0.95, 1.05))), {}),
    "prior": (both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=3, prior=(1, 0.05))), {}),
    "previous": (both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=2)), {"start": "previous"}),
    "matrix-free": (both(lambda ns, p: parm(ns, "g", p, 1 + 0j, solint=3)), {"algorithm": "gn-cg"}),
}


def solved(ms: Any, kind: str, backend: str) -> dict[str, np.ndarray]:
    """chi2, statuses and the corrected data of one run."""
    jones, options = KINDS[kind]
    ns = rt.Scope()
    for p in ms.antennas:
        ns.J(p) << jones(ns, p)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.model(p, q) << model
        ns.eq(p, q) << Meq.Condeq(ns.model(p, q), Meq.Spigot(p, q))
        ns.out(p, q) << Meq.Sink(ns.model(p, q), column="PREDICTED")
    ns.solve << Meq.Solver(*ns.eq, solvable="x", backend=backend, **{"tol": 1e-10, "algorithm": "lm"} | options)
    report = ns.forest().run(ms, progress=False)
    own = report.solvers[-1]
    return {
        "chi2": np.array(sum(s.chi2.sum() for s in report.solvers)),
        "status": np.array(own.status),
        "predicted": KIT.getcol(ms.path, "PREDICTED"),
    }


def piped(path: Path, output: Path, gpu: bool) -> np.ndarray:
    """Gains of delays and phases that a configuration asks for."""
    block = {"ms": str(path), "output": str(output), "jones": ["K", "G"], "field": "field0", "gpu": gpu}
    run(check({"solve": block | {"time_interval": ["inf", "scan"], "freq_interval": ["full", "full"]}}), progress=False)
    return np.concatenate([table.jones.ravel() for table in CalFile.load(output).tables])


def kit() -> Any:
    """Observations with gains, of the tests of runs."""
    spec = spec_from_file_location("kit", Path(__file__).parents[1] / "batch" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KIT = kit()


def main() -> None:
    """Every kind by numba, and by JAX on the stand-in."""
    watched = Watched()
    jax.jit, jax.device_put, jax.devices = watched.compiled, watched.sent, watched.only
    beam()
    KIT.observe(FOLDER / "x.ms", antennas=4, spread=0.1, noise=0.05)
    ms = rt.MeasurementSet(FOLDER / "x.ms")
    found: dict[str, Any] = {}
    for kind in KINDS:
        one = solved(ms, kind, "numba")
        watched.clear()
        other = solved(ms, kind, "gpu")
        found[kind] = {
            "chi2": [float(one["chi2"]), float(other["chi2"])],
            "status": [one["status"].tolist(), other["status"].tolist()],
            "difference": float(np.abs(one["predicted"] - other["predicted"]).max()),
            "astray": sorted(watched.astray),
            "foreign": sorted(watched.foreign),
            "calling": sorted(watched.calling),
            "lowered": sorted(watched.lowered),
            "calls": watched.calls,
            "outside": sorted(watched.outside),
            "put": watched.put,
        }
    gains = [piped(ms.path, FOLDER / f"{gpu}.h5", gpu) for gpu in (False, True)]
    found["pipeline"] = float(np.abs(gains[1] - gains[0]).max())
    found["column"] = KIT.getcol(ms.path, "DATA").nbytes
    found["turned"] = 3 * 6 * 4 * 16  # antennas (the first is not turned), slots, channels
    print(json.dumps(found))


if __name__ == "__main__":
    main()
