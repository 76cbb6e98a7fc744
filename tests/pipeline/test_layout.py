"""Solution files of every kind of term have the names, shapes, types and units that ALAKAZAM documents, read with h5py alone.

What is expected is typed from its README and source (version 1.0.0), none of it from our writer.
"""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from rimetree.pipeline.load import check
from rimetree.pipeline.run import run

ANTENNAS, CHANS = 6, 16
SCANS = 2
KINDS = {  # term: time interval, frequency interval; cells in time of a scan of 6 slots of 10 s, cells in frequency
    "K": ("scan", "full", 1, 1),
    "G": ("20s", "full", 3, 1),
    "D": ("scan", "4MHz", 1, 4),
    "KC": ("scan", "full", 1, 1),
    "CP": ("scan", "8MHz", 1, 2),
}
ATTRIBUTES = {
    "jones_type": str, "field_name": str, "scan_id": int, "spw": int, "n_ant": int, "n_active": int, "n_freq": int, "n_time": int,
    "matrix_form": str, "ref_ant_constraint": str, "field_ra": float, "field_dec": float, "solint_s": float, "freqint_hz": float,
    "phase_only": bool, "ref_ant": int, "ref_ant_name": str, "ant_names": str, "ms": str, "solver_backend": str,
    "apply_parang": bool, "preapply_chain": str, "feed_basis": str, "n_cells_total": int, "n_cells_converged": int,
}  # fmt: skip
SOLINT = {"K": -1, "G": 20, "D": -1, "KC": -1, "CP": -1}
FREQINT = {"K": 0, "G": 0, "D": 4e6, "KC": 0, "CP": 8e6}


@pytest.fixture(scope="module", params=["linear", "circular"])
def made(request, tmp_path_factory):
    """A file with every kind of term, made of K G D KC CP on a polarised source, and the feed."""
    from rimetree.io.ms import MeasurementSet
    from rimetree.io.simulate import simulate

    folder = tmp_path_factory.mktemp("layout")
    path = simulate(
        folder / "x.ms", ANTENNAS, (5e9, 12, 10.0), (1.4e9, CHANS, 1e6), scans=SCANS, noise=0.05, corrs=request.param
    )
    from casacore.tables import table

    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
        freq = ms.groups[0].freq
    late = np.array([0, 5, -7, 12, -3, 9]) * 1e-9
    with table(str(path), readonly=False, ack=False) as main:
        turn = np.exp(-2j * np.pi * late[:, None] * freq)
        response = turn[main.getcol("ANTENNA1")] * turn[main.getcol("ANTENNA2")].conj()
        model = np.array([5.4, 0.6 + 0.2j, 0.6 - 0.2j, 4.6])
        main.putcol("DATA", (main.getcol("DATA") + response[..., None] * model).astype(np.complex64))
        main.putcol("MODEL_DATA", np.broadcast_to(model, (*response.shape, 4)).astype(np.complex64))
    intervals = {f"{axis}_interval": [k[i] for k in KINDS.values()] for i, axis in enumerate(("time", "freq"))}
    solve = {
        "ms": str(path),
        "output": str(folder / "s.h5"),
        "jones": list(KINDS),
        "field": "field0",
        "ref_ant": "ant01",
    }
    run(check({"solve": solve | intervals}), progress=False)
    with h5py.File(folder / "s.h5") as file:
        yield file, request.param, late


def node(file: h5py.File, kind: str, scan: int = 0) -> h5py.Group:
    """<KEY>/field_<NAME>/scan_<N>/spw_<N>."""
    scans = sorted(file[f"{kind}0/field_field0"])
    assert len(scans) == SCANS and all(name.startswith("scan_") for name in scans)
    return file[f"{kind}0/field_field0/{scans[scan]}/spw_0"]


def test_the_root(made):
    file, *_ = made
    assert list(file) == ["K0", "G0", "D0", "KC0", "CP0"]
    assert file.attrs["version"] == "1.0" and isinstance(file.attrs["created_at"], str)


@pytest.mark.parametrize("kind", KINDS)
def test_datasets(made, kind: str):
    file, *_ = made
    _, _, times, freqs = KINDS[kind]
    found = node(file, kind)
    expected = {
        "jones": ((ANTENNAS, freqs, times, 2, 2), "complex128"),
        "flags": ((ANTENNAS, freqs, times), "bool"),
        "time": ((times,), "float64"),
        "freq": ((freqs,), "float64"),
        "solver_stats/converged": ((freqs, times), "bool"),
        "solver_stats/n_iter": ((freqs, times), "int64"),
        "solver_stats/cost": ((freqs, times), "float64"),
    }
    if kind in ("K", "KC"):
        expected["delay"] = ((ANTENNAS, freqs, times, 2), "float64")
        assert found["delay"].compression == "gzip" and found["delay"].compression_opts == 4
    for name, (shape, dtype) in expected.items():
        assert (found[name].shape, found[name].dtype) == (shape, np.dtype(dtype)), name
    assert ("delay" in found) == (kind in ("K", "KC"))
    assert found["jones"].compression == "gzip" and found["jones"].compression_opts == 4
    assert not found["flags"][...].any() and np.isfinite(found["jones"][...]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_attributes(made, kind: str):
    file, feed, _ = made
    _, _, times, freqs = KINDS[kind]
    attrs = node(file, kind).attrs
    python = {str: str, int: (int, np.integer), float: (float, np.floating), bool: (bool, np.bool_)}
    for name, kept in ATTRIBUTES.items():
        assert isinstance(attrs[name], python[kept]), (name, type(attrs[name]))
    assert (attrs["jones_type"], attrs["field_name"], attrs["spw"]) == (f"{kind}0", "field0", 0)
    assert (attrs["n_ant"], attrs["n_active"], attrs["n_freq"], attrs["n_time"]) == (ANTENNAS, ANTENNAS, freqs, times)
    assert (attrs["ref_ant"], attrs["ref_ant_name"]) == (1, "ant01")
    assert (attrs["solint_s"], attrs["freqint_hz"]) == (SOLINT[kind], FREQINT[kind])
    assert json.loads(attrs["ant_names"]) == [f"ant0{i}" for i in range(ANTENNAS)]
    assert json.loads(attrs["preapply_chain"]) == list(KINDS)[: list(KINDS).index(kind)]
    assert attrs["feed_basis"] == feed.upper()
    assert (attrs["n_cells_total"], attrs["n_cells_converged"]) == (times * freqs, times * freqs)


def test_units_and_forms(made):
    """Delays in ns, times MJD s, frequencies Hz; K and G diagonal, D with 1 on the diagonal, KC on p only, CP on q only."""
    file, _, late = made
    np.testing.assert_allclose(node(file, "K")["delay"][:, 0, 0], 1e9 * (late - late[1])[:, None] * [1, 1], atol=0.2)
    assert node(file, "G")["time"][0] == pytest.approx(5e9 + 5, abs=6)
    np.testing.assert_allclose(node(file, "D")["freq"], 1.4e9 + 1e6 * np.array([1.5, 5.5, 9.5, 13.5]))
    jones = {kind: node(file, kind)["jones"][...] for kind in KINDS}
    for kind in ("K", "G", "KC", "CP"):
        assert not jones[kind][..., [0, 1], [1, 0]].any(), kind
    assert (jones["D"][..., [0, 1], [0, 1]] == 1).all()
    assert (jones["KC"][..., 1, 1] == 1).all() and (jones["CP"][..., 0, 0] == 1).all()
    for kind in ("KC", "CP"):
        assert (jones[kind] == jones[kind][:1]).all()  # the same for all antennas
    assert not node(file, "KC")["delay"][..., 1].any()
