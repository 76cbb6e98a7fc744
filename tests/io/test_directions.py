"""Phase centres that are not given in J2000: B1950 against casacore and astropy, and those that are not fixed on the sky."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import FK4, FK5, SkyCoord

import rimetree as rt
from rimetree import Meq

B1950 = np.array([[2.1, 0.7]])


def reframe(edit, path, frame):
    with edit(path / "FIELD") as table:
        table.putcol("PHASE_DIR", B1950[None])
        table.putcolkeyword("PHASE_DIR", "MEASINFO", {"type": "direction", "Ref": frame})


def test_b1950_is_converted(make_ms, edit):
    from casacore.measures import measures

    path = make_ms()
    reframe(edit, path, "B1950")
    found = rt.MeasurementSet(path).fields[0].phase_dir
    measure = measures()
    direction = measure.direction("B1950", *(f"{float(x)!r}rad" for x in B1950[0]))
    expected = [measure.measure(direction, "J2000")[m]["value"] for m in ("m0", "m1")]
    arcsec = np.pi / 180 / 3600
    np.testing.assert_allclose(
        found, expected, atol=0.5 * arcsec
    )  # FK4 turns against FK5: casacore takes another epoch
    there = SkyCoord(*B1950[0], unit="rad", frame=FK4(equinox="B1950", obstime="B1950")).transform_to(
        FK5(equinox="J2000")
    )
    np.testing.assert_allclose(found, [there.ra.rad, there.dec.rad], atol=0.01 * arcsec)
    assert abs(there.ra.to(units.rad).value - B1950[0, 0]) > 0.005  # what it would be off by


def test_frames_by_row(make_ms, edit):
    from casacore.tables import makescacoldesc

    path = make_ms(fields=2, scans=2)
    with edit(path / "FIELD") as table:
        centres = table.getcol("PHASE_DIR")[:, 0]
        table.addcols(makescacoldesc("PhaseDir_Ref", 0))
        table.putcol("PhaseDir_Ref", np.array([0, 21], np.int32))
        info = {
            "type": "direction",
            "VarRefCol": "PhaseDir_Ref",
            "TabRefTypes": ["J2000", "B1950"],
            "TabRefCodes": np.array([0, 21]),
        }
        table.putcolkeyword("PHASE_DIR", "MEASINFO", info)
    first, second = rt.MeasurementSet(path).fields
    np.testing.assert_array_equal(first.phase_dir, centres[0])
    assert 0.004 < np.abs(second.phase_dir - centres[1]).max() < 0.02


@pytest.mark.parametrize("how", ["frame", "ephemeris"])
def test_directions_that_are_not_fixed(make_ms, edit, how):
    """The set opens, and is solved; what needs the direction says in one line what is wrong."""
    from casacore.tables import makescacoldesc

    path = make_ms()
    if how == "frame":
        reframe(edit, path, "AZELGEO")
    else:
        with edit(path / "FIELD") as table:
            table.addcols(makescacoldesc("EPHEMERIS_ID", 0))
    ms = rt.MeasurementSet(path)
    message = "given in AZELGEO .*understood are J2000, ICRS, B1950" if how == "frame" else "follows an ephemeris"
    ns = rt.Scope()
    for p, q in ms.baselines:
        ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q))
    ns.forest().run(ms, progress=False)
    p, q = ms.baselines[0]
    ns = rt.Scope()
    ns.angle << Meq.ParAngle()
    ns.out << Meq.Sink(ns.angle, p, q, column="CORRECTED_DATA")
    with pytest.raises(rt.ForestError, match=rf"PhaseCentre.*{message}.*give radec=\(ra, dec\)") as caught:
        ns.forest().run(ms, progress=False)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(rt.DataError, match=message):
        ms.groups[0].centre()
