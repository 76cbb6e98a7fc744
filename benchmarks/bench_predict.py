"""Prediction of point sources into a column: 378 baselines x 120 slots x 64 channels x 4 correlations.

A source-cell is one source on one baseline, slot and channel, with all its correlations. The figures to beat, measured in the
same way on two cores: 0.24e9 source-cells/s (DP3), 0.25e9 (simms), 0.17e9 (codex-africanus, unpolarised). Reading UVW and writing
the column are included in "run", compiling is not.
"""

from __future__ import annotations

import numpy as np
from common import best, options, table

import rimetree as rt
from rimetree import Meq
from rimetree.sky.predict import predict

PEER = 0.25e9


def sky_file(path, count, polarised):
    """Point sources within a degree, as a table."""
    random = np.random.default_rng(count)
    ra, dec = 17.19 + random.normal(0, 0.5, count), 34.4 + random.normal(0, 0.5, count)
    flux = random.uniform(0.01, 1, count)
    q, u, v = flux * random.uniform(-0.1, 0.1, (3, count)) * polarised
    rows = zip(ra, dec, flux, q, u, v, random.uniform(-1, 0, count), strict=True)
    lines = ["ra,dec,I,Q,U,V,alpha,freq0", *(",".join(f"{x:.9g}" for x in row) + ",1.4e9" for row in rows)]
    path.write_text("\n".join(lines))
    return path


def main():
    with options(__doc__) as given:
        antennas, slots, channels = (7, 4, 8) if given.smoke else (28, 120, 64)
        path = given.folder / "predict.ms"
        rt.simulate(path, antennas, (5e9, slots, 8.0), (1.3e9, channels, 250e3), phase_dir=(0.3, 0.6), overwrite=True)
        ms = rt.MeasurementSet(path)
        first, second = np.array(ms.baselines).T
        tile = ms.read(ms.groups[0], columns=(), uvw=True)
        rows = []
        for count in (10, 20) if given.smoke else (100, 1000):
            for polarised in (True, False):
                file = sky_file(given.folder / f"{count}{polarised}.csv", count, polarised)
                sky = rt.read_sky(file)
                ns = rt.Scope()
                node = Meq.SkyModel(first, second, str(file))
                ns.out.over(first, second) << Meq.Sink(node, first, second, column="MODEL_DATA")
                forest = ns.forest()
                centre = ms.groups[0].phase_dir
                kernel = best(lambda sky=sky, centre=centre: predict(sky, tile, centre, ms.baselines, -1, False), 3)
                forest.run(ms, progress=False)
                run = best(lambda forest=forest: forest.run(ms, progress=False), 2)
                cells = count * ms.groups[0].rows.size * channels
                name = f"{count} {'polarised' if polarised else 'unpolarised'} sources"
                rows.append([name, kernel, run, cells / kernel / 1e9, cells / run / 1e9, cells / run / PEER])
        head = ("", "kernel s", "run s", "kernel 1e9/s", "run 1e9/s", "run / best peer")
        table("Source-cells per second", head, rows)


if __name__ == "__main__":
    main()
