"""The sub-tables of a simulated Measurement Set, complete enough for casacore and CASA-like tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .metadata import STOKES
from .table import open_table

if TYPE_CHECKING:
    from .simulate import Observation

_TOPOCENTRIC = 5  # casacore MFrequency::TOPO


def write_subtables(path: Path, plan: Observation) -> None:
    """Fill the sub-tables that casacore made with the main table at `path`."""
    for name, rows in (
        ("ANTENNA", _antennas(plan)),
        ("FEED", _feeds(plan)),
        ("FIELD", _fields(plan)),
        ("SPECTRAL_WINDOW", [_window(plan)]),
        ("POLARIZATION", [_polarization(plan)]),
        ("DATA_DESCRIPTION", [{"SPECTRAL_WINDOW_ID": 0, "POLARIZATION_ID": 0, "FLAG_ROW": False}]),
        ("OBSERVATION", [_observation(plan)]),
        ("STATE", [_state()]),
    ):
        table = open_table(path / name, write=True)
        try:
            table.addrows(len(rows))
            for number, row in enumerate(rows):
                for column, value in row.items():
                    table.putcell(column, number, value)
        finally:
            table.close()


def _antennas(plan: Observation) -> list[dict[str, Any]]:
    return [
        {
            "NAME": f"ant{number:02d}",
            "STATION": f"pad{number:02d}",
            "TYPE": "GROUND-BASED",
            "MOUNT": "ALT-AZ",
            "POSITION": position,
            "OFFSET": np.zeros(3),
            "DISH_DIAMETER": 25.0,
            "FLAG_ROW": False,
        }
        for number, position in enumerate(plan.positions)
    ]


def _feeds(plan: Observation) -> list[dict[str, Any]]:
    return [
        {
            "ANTENNA_ID": number,
            "FEED_ID": 0,
            "SPECTRAL_WINDOW_ID": -1,
            "TIME": plan.time.mean(),
            "INTERVAL": 0.0,  # valid at all times
            "NUM_RECEPTORS": 2,
            "BEAM_ID": -1,
            "BEAM_OFFSET": np.zeros((2, 2)),
            "POLARIZATION_TYPE": ["R", "L"] if plan.corrs[0][0] in "RL" else ["X", "Y"],
            "POL_RESPONSE": np.eye(2, dtype=np.complex64),
            "POSITION": np.zeros(3),
            "RECEPTOR_ANGLE": np.zeros(2),
        }
        for number in range(len(plan.positions))
    ]


def _fields(plan: Observation) -> list[dict[str, Any]]:
    return [
        {
            "NAME": f"field{number}",
            "CODE": "",
            "TIME": plan.time[0],
            "NUM_POLY": 0,
            "SOURCE_ID": -1,
            "FLAG_ROW": False,
            **dict.fromkeys(("DELAY_DIR", "PHASE_DIR", "REFERENCE_DIR"), centre[None]),
        }
        for number, centre in enumerate(plan.phase_dir)
    ]


def _window(plan: Observation) -> dict[str, Any]:
    width = np.full(plan.freq.size, plan.width)
    return {
        "NAME": "spw0",
        "NUM_CHAN": plan.freq.size,
        "CHAN_FREQ": plan.freq,
        **dict.fromkeys(("CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION"), width),
        "REF_FREQUENCY": plan.freq[0],
        "TOTAL_BANDWIDTH": width.sum(),
        "MEAS_FREQ_REF": _TOPOCENTRIC,
        "NET_SIDEBAND": 1,
        "IF_CONV_CHAIN": 0,
        "FREQ_GROUP": 0,
        "FREQ_GROUP_NAME": "",
        "FLAG_ROW": False,
    }


def _polarization(plan: Observation) -> dict[str, Any]:
    return {
        "NUM_CORR": len(plan.corrs),
        "CORR_TYPE": np.array([STOKES.index(name) + 1 for name in plan.corrs], np.int32),
        "CORR_PRODUCT": np.array([[int(letter in "YL") for letter in name] for name in plan.corrs], np.int32),
        "FLAG_ROW": False,
    }


def _observation(plan: Observation) -> dict[str, Any]:
    ends = np.array([plan.time[0] - plan.interval / 2, plan.time[-1] + plan.interval / 2])
    return {
        "TELESCOPE_NAME": "VLA",
        "OBSERVER": "rimetree",
        "PROJECT": "simulation",
        "SCHEDULE_TYPE": "",
        "SCHEDULE": [""],
        "LOG": [""],
        "TIME_RANGE": ends,
        "RELEASE_DATE": ends[0],
        "FLAG_ROW": False,
    }


def _state() -> dict[str, Any]:
    return {"SIG": True, "REF": False, "CAL": 0.0, "LOAD": 0.0, "SUB_SCAN": 0, "OBS_MODE": "", "FLAG_ROW": False}
