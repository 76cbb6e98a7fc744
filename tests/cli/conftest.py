"""The command line in this process, and a small Measurement Set to use it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
from rimetree import Meq

def define_forest(ns, ms, options):
    solint = options.get("solint", 1)
    for p in ms.antennas:
        ns.g(p) << Meq.Parm(1 + 0j, tags="gain", solint=(solint, None))
        ns.G(p) << Meq.Matrix22(ns.g(p), 0, 0, ns.g(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, "MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q, "DATA"))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", max_iter=options.get("max_iter", 60))
"""


@dataclass
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def rimetree(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """`rimetree("run", path)`: the outcome of a command."""
    from rimetree.cli import main

    monkeypatch.delenv("RIMETREE_DEBUG", raising=False)

    def call(*words: Any) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        return Outcome(int(caught.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def ms(make_ms: Callable[..., Path]) -> Path:
    """4 antennas; MODEL_DATA is 1 in the parallel hands, and DATA is that and noise."""
    import numpy as np
    from casacore.tables import table

    from rimetree.io.ms import MeasurementSet

    path = make_ms(scans=2)
    with MeasurementSet(path) as opened:
        opened.ensure_column("MODEL_DATA")
    with table(str(path), readonly=False, ack=False) as main:
        data = main.getcol("DATA")
        model = np.zeros_like(data)
        model[..., [0, 3]] = 5
        main.putcol("MODEL_DATA", model)
        main.putcol("DATA", data + model)
    return path


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that solves for one gain per antenna."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path
