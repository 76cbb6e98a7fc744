"""A sky model in the place of a model column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, option
from rimetree.graph.registry import node


@node
class SkyModel(NodeClass):
    """The visibilities of a whole sky model on the baseline p, q: like a Spigot, but computed, not read.

    A (2,2) tensor [[XX, XY], [YX, YY]] or [[RR, RL], [LR, LL]] in Jy (XX = I + Q): the sum over sources of
    B exp(sign 2 pi i nu/c (u l + v m + w (n - 1))), times shape and smearing. The model is a text file (see
    `rimetree.read_sky`): points and Gaussians with spectra and rotation measures; or a FITS image or cube in Jy per pixel or
    per beam, SIN projection, centred on the phase centre, which is degridded from planes of w. `sign` goes with the UVW column: -1
    where it holds antenna 1 minus antenna 2 (VLA, MeerKAT, ASKAP, ALMA), +1 where the opposite (LOFAR, WSRT). With
    `patch`, the sources of one patch only: one node per direction. Sources with something solvable are written as a tree of
    PointSource and PhaseDelay instead. Computed by a kernel in float32 with phases in float64: errors are 1e-6 of the flux.
    Reference: Smirnov 2011, A&A 527, A106, eq. 10. (MeqTrees: PSVTensor; FITSImage, FFTBrick and UVInterpolWave.)
    """

    role = "data"
    p = option(type=(str, int), per_member=True, required=True, example="ant01", help="first antenna: name or number")
    q = option(type=(str, int), per_member=True, required=True, example="ant02", help="second antenna: name or number")
    sky = option(type=kinds.PATH, required=True, example="sky.txt", help="text file or FITS image (.fits)")
    patch = option(None, type=str, help="only the sources of this patch")
    sign = option(-1, choices=(-1, 1), help="sign of the phase for the UVW column as it is")
    smear = option(False, type=bool, help="average over channels and time slots")

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        return (2, 2)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        """With `column`, under which the engine keeps the visibilities of a tile."""
        chosen = {"sky": str(options["sky"]), **{key: options[key] for key in ("patch", "sign", "smear")}}
        return options | {"sky": chosen["sky"], "column": "sky " + json.dumps(chosen)}
