"""UVW computed from antenna positions against the column that each observatory wrote."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq


@pytest.mark.parametrize(
    ("archive", "order"),
    [("wsrt_3c343", "q-p"), ("lofar_hba_generic", "q-p"), ("ovro_lwa_20ant", "q-p"), ("alma_mssel_small", "p-q"),
     ("hera_45361_redundant", "p-q"), ("mwa_birli_768ch", "p-q")],
)  # fmt: skip
def test_uvw_as_in_the_column(real, archive, order):
    """To 1e-4 of the length: what differs are the observatories' own precession, aberration and positions."""
    ms = rt.MeasurementSet(real(archive))
    group = ms.groups[0]
    stored = ms.read(group, columns=(), uvw=True, weights=False).uvw[-1]
    ns = rt.Scope()
    positions = {antenna.name: tuple(antenna.position) for antenna in ms.antenna_table}
    p, q = ms.baselines[-1]
    centre = Meq.PhaseCentre(radec=tuple(group.phase_dir))
    origin = Meq.ArrayCentre(position=positions[p])
    first, second = (Meq.UVW(Meq.Position(n, position=positions[n]), centre, origin, order=order) for n in (p, q))
    ns.uvw << first - second
    values = ns.forest().evaluate("uvw", rt.Cells(time=group.time)).values[..., 0]
    computed = np.broadcast_to(values, (3, group.time.size)).T
    there = np.isfinite(stored).all(1) & stored.any(1)
    length = np.linalg.norm(stored[there], axis=1).max()
    np.testing.assert_allclose(computed[there], stored[there], atol=1e-4 * length)
