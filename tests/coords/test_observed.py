"""In a run, antennas and phase centre come from the Measurement Set, field by field."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq


def computed(ms, first, second):
    """u, v, w of each baseline as if they were three correlations, and the feed angle of its first antenna."""
    ns = rt.Scope()
    ns.uvw.over(ms.antennas) << Meq.UVW(Meq.Position(ms.antennas))
    ns.baseline.over(first, second) << ns.uvw.at(first) - ns.uvw.at(second)
    ns.feed.over(ms.antennas) << Meq.FeedAngle(Meq.ParAngle(), Meq.AzEl(), Meq.Mount(ms.antennas))
    uvw = [Meq.Selector(ns.baseline.at(first, second), index=i) for i in range(3)]
    ns.out.over(first, second) << Meq.Sink(
        Meq.Matrix22(*uvw, ns.feed.at(first)), first, second, column="CORRECTED_DATA"
    )
    return ns


def test_uvw_and_feed_angles_of_two_fields(make_ms, edit):
    path = make_ms(fields=2, scans=4, times=(59000.25 * 86400, 8, 600.0))
    with edit(path / "ANTENNA") as table:
        table.putcol("MOUNT", ["ALT-AZ", "EQUATORIAL", "ALT-AZ", "ALT-AZ"])
    ms = rt.MeasurementSet(path)
    first, second = np.array(ms.baselines).T
    computed(ms, first, second).forest().run(ms, progress=False)
    again = rt.MeasurementSet(path)
    assert len(again.groups) == 2
    for group in again.groups:
        tile = again.read(group, columns=("CORRECTED_DATA",), uvw=True)
        found = tile.columns["CORRECTED_DATA"][:, 0].real
        for b, (p, _) in enumerate(again.baselines):
            there = tile.rows[b] >= 0
            rows = tile.rows[b][there]
            np.testing.assert_allclose(found[rows, :3], tile.uvw[b][there], atol=0.02)
            assert (found[rows, 3] == 0).all() == (p == ms.antennas[1])
            assert np.ptp(found[rows, 3]) > 0.1 or p == ms.antennas[1]


def test_antenna_that_is_not_there(make_ms):
    ms = rt.MeasurementSet(make_ms())
    ns = rt.Scope()
    p, q = ms.baselines[0]
    ns.angle << Meq.FeedAngle(Meq.ParAngle(), Meq.AzEl(), Meq.Mount(p + "x"))
    ns.out << Meq.Sink(ns.angle, p, q, column="CORRECTED_DATA")
    with pytest.raises(rt.ForestError, match=f"no antenna '{p}x'.*did you mean '{p}'.*whose mount is asked"):
        ns.forest().run(ms, progress=False)
