"""What guesses are made of, against sums in numpy."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree.io.solutions import GroupSolutions
from rimetree.pipeline.look import Collector, look


@pytest.mark.parametrize("spectral", [False, True])
def test_sums_are_those_of_numpy(observe, spectral):
    """NaN and Inf count nowhere, neither in the sums nor in the power."""
    from casacore.tables import table

    seen = observe()
    rng = np.random.default_rng(3)
    with table(str(seen.path), readonly=False, ack=False) as main:
        data, flag, weight = main.getcol("DATA"), main.getcol("FLAG"), main.getcol("WEIGHT_SPECTRUM")
        data[rng.random(data.shape) < 0.05] = np.nan
        data[rng.random(data.shape) < 0.05] = complex(1, np.inf)
        flag[rng.random(flag.shape) < 0.1] = True
        main.putcol("DATA", data)
        main.putcol("FLAG", flag)
    with rt.MeasurementSet(seen.path) as ms:
        (group,) = ms.groups
        collector = Collector(ms, ("scan", "8MHz"), spectral, (0, 3))
        none = GroupSolutions(str(group.field_name), str(group.spw_id), [], [], [])
        look(ms, [], [], [none], ("DATA", "MODEL_DATA"), None, collector.add)
        parts = {tuple(cells.tolist()): found for cells, found in collector.seen(group, range(6), 0.0, False)}
    shape = (12, 15, 16, 4)
    model = seen.model.swapaxes(0, 1).reshape(shape)
    data, weight = data.reshape(shape), weight.reshape(shape)
    used = ~flag.reshape(shape) & np.isfinite(data)
    number = (seen.scan != seen.scan[0]).astype(int)
    for values, name in (
        (weight * model.conj() * np.where(used, data, 0), "sums"),
        (np.where(used, weight * abs(model) ** 2, 0), "power"),
    ):
        scans = np.stack([values[number == k].sum(0) for k in (0, 1)], 1)  # baseline, scan, channel, correlation
        halves = [scans[:, :, :8], scans[:, :, 8:]]
        expected = (
            {(0, 2): halves[0], (1, 3): halves[1]}
            if spectral
            else {(0, 1, 2, 3): np.stack([h.sum(2) for h in halves], 2)}
        )
        for cells, right in expected.items():
            for element in (0, 3):
                got = getattr(parts[cells], name)[element]
                np.testing.assert_allclose(got, right[..., element].reshape(got.shape), rtol=1e-5)
