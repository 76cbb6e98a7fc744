"""A LOFAR sky model against the visibilities that DP3 predicted from it."""

from __future__ import annotations

import numpy as np
from casacore.tables import table

import rimetree as rt
from rimetree.sky.predict import predict


def test_lofar_sky_model_as_predicted_by_dp3(real):
    """Points and Gaussians with logarithmic spectra; UVW is antenna 2 minus antenna 1. The rest is 0.13 %."""
    path = real("lofar_hba_generic")
    sky = rt.read_sky(path.parent / "tNDPPP-generic-skymodel.txt")
    assert len(sky) == 13 and sky.points.sum() == 5
    ms = rt.MeasurementSet(path)
    tile = ms.read(ms.groups[0], columns=(), uvw=True)
    with table(str(path.parent / "tPredict.tab"), ack=False) as theirs:
        expected = theirs.getcol("PREDICT_nobeam")[tile.ms_rows]
    found = predict(sky, tile, ms.groups[0].phase_dir, ms.baselines, 1, smear=False)
    assert np.sqrt((np.abs(found - expected) ** 2).mean()) < 2e-3 * np.sqrt((np.abs(expected) ** 2).mean())
