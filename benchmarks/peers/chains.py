"""Delays, gains and bandpasses one after another, and corrected data: what each code is told, in one process of its own."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from .environments import environment


class Chain(ABC):
    """One K, G per slot, B per channel, each with those before it taken out; CORRECTED_DATA.

    One K for all scans: CASA averages over the interval and, where phases wander, has delays per scan off by nanoseconds, at
    which one bandpass cannot help.
    """

    name: str

    @abstractmethod
    def prepare(self) -> None:
        """Install the code. Raises NotInstalledError."""

    @abstractmethod
    def command(self, ms: Path, out: Path) -> list[str]:
        """The command line; solutions go into the folder `out`, which is empty."""

    def variables(self) -> Mapping[str, str]:
        """Its environment variables."""
        return os.environ


class RimetreeChain(Chain):
    """This package. `joint`: the three terms once more, together."""

    config = """
solve:
  - {{ms: {ms}, output: {table}, jones: [K, G, B], time_interval: [inf, 1slot, inf], freq_interval: [full, full, 1chan]{joint}}}
apply:
  - {{ms: {ms}, jones: [K0, G0, B0], tables: {table}}}
"""

    def __init__(self, joint: bool = False) -> None:
        self.name, self.joint = "rimetree, then jointly" if joint else "rimetree", ", joint: [K, G, B]" if joint else ""

    def prepare(self) -> None:
        """Nothing: it is what runs."""

    def command(self, ms: Path, out: Path) -> list[str]:
        file = out / "chain.yaml"
        file.write_text(self.config.format(ms=ms, table=out / "chain.h5", joint=self.joint))
        return [sys.executable, "-m", "rimetree", "run", str(file), "--quiet"]


class CASAChain(Chain):
    """CASA 6.7: gaincal, gaincal, bandpass, applycal. Flags are left as they are, as rimetree leaves them."""

    name = "CASA"
    script = """
import sys
import casadata
from casaconfig import config
config.measurespath, config.logfile, config.log2term = casadata.datapath, "casa.log", False
config.measures_auto_update = config.data_auto_update = False
from casatasks import applycal, bandpass, gaincal
ms, common = sys.argv[1], {"refant": "0", "minsnr": 3.0, "parang": False}
gaincal(ms, "chain.K", gaintype="K", solint="inf", combine="scan", **common)
gaincal(ms, "chain.G", gaintype="G", solint="int", calmode="ap", gaintable=["chain.K"], **common)
bandpass(ms, "chain.B", solint="inf", combine="scan", bandtype="B", gaintable=["chain.K", "chain.G"], **common)
applycal(ms, gaintable=["chain.K", "chain.G", "chain.B"], applymode="calonly", calwt=False, flagbackup=False)
"""

    def prepare(self) -> None:
        packages = ["casatasks==6.7.0.31", "casatools==6.7.0.31", "casadata==2025.9.22", "six"]
        self.home = environment("casa", packages, newest=(3, 12))

    def command(self, ms: Path, out: Path) -> list[str]:
        return [str(self.home / "bin" / "python"), "-c", self.script, str(ms)]
