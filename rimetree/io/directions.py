"""Phase centres of fields, in J2000: from J2000, ICRS (0.02" away) and B1950; what moves or depends on the place has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SAME = ("J2000", "ICRS")


def to_j2000(direction: np.ndarray, frame: str, ephemeris: bool) -> tuple[np.ndarray, str]:
    """Right ascension and declination (2,) in rad, J2000, of a direction (2,) in a frame of casacore's; NaN, and why, where it
    has none.

    B1950: FK4 at epoch 1950, without proper motion in FK5 (Aoki et al. 1983, A&A 128, 263; ERFA fk45z).
    """
    if ephemeris:
        return np.full(2, np.nan), "the phase centre follows an ephemeris (FIELD EPHEMERIS_ID), which is not read"
    if frame in SAME:
        return direction, ""
    if frame == "B1950":
        import erfa

        return np.array(erfa.fk45z(*direction, 1950.0)), ""
    known = ", ".join((*SAME, "B1950"))
    return np.full(2, np.nan), f"the phase centre is given in {frame} (FIELD PHASE_DIR); understood are {known}"


def frame_of(measinfo: Mapping[str, Any], code: Any) -> str:
    """The frame of a direction, from the keyword MEASINFO of its column, and its code in the column that this names, if any."""
    if "VarRefCol" not in measinfo:
        return str(measinfo.get("Ref", "J2000"))
    if isinstance(code, str):
        return code
    names = dict(zip(measinfo.get("TabRefCodes", ()), measinfo.get("TabRefTypes", ()), strict=False))
    return str(names.get(code, f"a frame of unknown code {code}"))
