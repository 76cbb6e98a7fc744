"""Canned chains on real data, as `rimetree run` does them: what is left is what is expected, and nothing is made up."""

from __future__ import annotations

import numpy as np
from casacore.tables import table

from rimetree.io.caltable import CalFile
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run as run_blocks
from rimetree.status import Status


def calibrate(path, flux, **block):
    """Point model of `flux` Jy; solved, applied, with a page; the report and the solutions."""
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
    with table(str(path), readonly=False, ack=False) as main:
        for row in range(main.nrows()):
            if main.iscelldefined("DATA", row):
                model = np.zeros_like(main.getcell("DATA", row))
                model[:, [0, -1]] = flux
                main.putcell("MODEL_DATA", row, model)
    output, page = (str(path.parent / name) for name in ("real.h5", "real.html"))
    jones = [f"{kind}0" for kind in block["jones"]]
    apply = {"ms": str(path), "jones": jones, "tables": output}
    content = {"solve": {"ms": str(path), "output": output, **block}, "apply": apply, "report": page}
    report = run_blocks(check(content), progress=False)
    assert (path.parent / "real.html").stat().st_size > 10_000
    return report, {t.place: t for t in CalFile.load(output).tables}


def visibilities(path, spw=None):
    """CORRECTED_DATA of the parallel hands where it was corrected: (n, 2); and DATA there."""
    found = []
    with table(str(path), ack=False) as main:
        for row in main.selectrows(np.flatnonzero(main.getcol("ANTENNA1") != main.getcol("ANTENNA2"))):
            if row["FLAG_ROW"] or (spw is not None and row["DATA_DESC_ID"] != spw):
                continue
            corrected, data = (row[name][:, [0, -1]] for name in ("CORRECTED_DATA", "DATA"))
            good = ~row["FLAG"][:, [0, -1]].any(1) & (corrected != 0).all(1)
            found.append(np.stack([corrected[good], data[good]]))
    return np.concatenate(found, 1)


def coherence(values):
    """|mean of exp(i phase)|: 1 for one point source without noise, 0 where phases are anything."""
    return np.abs((values / np.abs(values)).mean(0))


def test_vla_delays_and_gains_align_a_weak_source(real):
    """TDEM0003 at 36 GHz: half of the noise per visibility. Delays and gains over the run align what was spread."""
    path = real("vla_tdem0003")
    report, tables = calibrate(path, 1.0, jones=["K", "G"], time_interval=["inf", "inf"])
    assert report.converged, report.full()
    corrected, data = visibilities(path)
    assert coherence(data).max() < 0.1 < coherence(corrected).min()
    delays = next(t for t in tables.values() if t.key == "K0")
    assert np.abs(delays.delay[~delays.flags]).max() < 200e-9  # a band of 8 MHz; nothing ran off


def test_vla_bandpass_says_what_it_cannot_find(real):
    """One channel of one antenna is at 1 to 3 sigma: most are no solutions, those data become 0, and the report says so."""
    path = real("vla_tdem0003")
    block = {"time_interval": ["inf"] * 3, "freq_interval": ["full", "full", "1chan"]}
    report, tables = calibrate(path, 1.0, jones=["K", "G", "B"], **block)
    bandpass = next(t for t in tables.values() if t.key == "B0")
    assert 0.2 < bandpass.flags.mean() < 0.9
    assert "low snr" in str(report) and "zero within the errors" in str(report)
    assert np.isfinite(visibilities(path)).all()


def test_askap_gains_leave_the_rest_of_the_field(real):
    """Vela at 36 antennas: a point explains about half of the amplitude, the same as in least squares written out."""
    path = real("askap_vela60")
    report, tables = calibrate(path, 700.0, jones=["G"], time_interval="1slot")
    (gains,) = tables.values()
    dead = gains.flags.all((1, 2))
    assert report.converged and dead.sum() < 4
    corrected, _ = visibilities(path)
    assert coherence(corrected).min() > 0.8
    assert abs(np.mean(corrected.real) - 700) < 35


def test_alma_windows_and_fields_one_by_one(real):
    """Two windows with data, of two fields one: each is solved for what it has, the other has none and says so."""
    path = real("alma_mssel_small")
    fields = ["J1617-7717", "J1423-7829"]
    report, tables = calibrate(path, 1.0, jones=["G"], field=fields, time_interval="scan")
    assert "no data" in str(report)
    assert {(t.field, t.spw) for t in tables.values() if not t.flags.all()} == {(fields[1], 1), (fields[1], 2)}
    for table_ in tables.values():
        alive = ~table_.flags
        assert np.isfinite(table_.jones[alive]).all()
        assert all(np.all(v.status[v.status != Status.CONVERGED] > 0) for v in table_.parms.values())
    corrected, data = visibilities(path)
    assert np.isfinite(corrected).all()
    assert coherence(corrected).min() > 1.5 * coherence(data).max()
