"""Sky models of a run: predicted into tiles as if they were columns."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, nearest
from ..sky.image import Image, read_image
from ..sky.model import SkyModel
from ..sky.predict import STOKES, predict, predict_image
from ..sky.read import read_sky

CENTRED = 1e-8
"""By how much the centre of an image may differ from the phase centre, rad: 0.002 arcsec."""

FITS = {".fits", ".fit", ".fts"}
"""Suffixes of images."""


class Skies:
    """The models by column; `wanted` maps columns to the options of `Meq.SkyModel`.

    Raises DataError where a file cannot be read, ConfigError where a patch is not in it or a correlation of `data` cannot be
    predicted.
    """

    def __init__(self, wanted: Mapping[str, Mapping[str, Any]], data: Any) -> None:
        self._data = data
        self._options = dict(wanted)
        self._models: dict[str, SkyModel | Image] = {}
        files: dict[str, SkyModel | Image] = {}
        for column, options in wanted.items():
            path = options["sky"]
            if path not in files:
                files[path] = read_image(path) if Path(path).suffix.lower() in FITS else read_sky(path)
            self._models[column] = chosen = _chosen(files[path], options)
            if isinstance(chosen, Image):
                _check_centre(path, chosen, data.groups)
        corrs = {corr for group in data.groups for corr in group.corrs} if wanted else set()
        if unknown := sorted(corrs - set(STOKES)):
            raise ConfigError(
                f"{data.path}: correlation {unknown[0]} cannot be predicted from a sky model; select by spw="
            )

    def fill(self, tiles: Any) -> Generator[Any, None, None]:
        """The tiles, each with the visibilities of the models among its columns."""
        with closing(tiles):
            for tile in tiles:
                for column, model in self._models.items():
                    tile.columns[column] = self._predict(model, tile, **self._options[column])
                yield tile

    def _predict(self, model: SkyModel | Image, tile: Any, sign: int, smear: bool, **_: Any) -> np.ndarray:
        if isinstance(model, SkyModel):
            return predict(model, tile, tile.group.centre(), self._data.baselines, sign, smear)
        return predict_image(model, tile, sign)


def _check_centre(path: str, image: Image, groups: Any) -> None:
    """ConfigError where the image is not centred on the phase centre of a field."""
    for group in groups:
        (ra, dec), (ra0, dec0) = image.centre, group.centre()
        if np.hypot(np.angle(np.exp(1j * (ra - ra0))), dec - dec0) > CENTRED:
            raise ConfigError(
                f"{path}: is centred on ra {ra:.7f}, dec {dec:.7f} rad, field {group.field_name} on {ra0:.7f}, {dec0:.7f}: "
                "regrid the image to the phase centre, or select the field"
            )


def _chosen(sky: SkyModel | Image, options: Mapping[str, Any]) -> SkyModel | Image:
    """What of a model is wanted."""
    path, patch = options["sky"], options["patch"]
    if isinstance(sky, Image):
        wrong = [name for name in ("patch", "smear") if options[name]]
        if wrong:
            raise ConfigError(f"{path}: {wrong[0]}= goes with a list of sources, not with an image")
        return sky
    if patch is None:
        return sky
    chosen = sky.patches == patch
    if not chosen.any():
        known = sorted(set(sky.patches.tolist()) - {""})
        listed = f"; it has {', '.join(known[:8])}" if known else "; it has no patches"
        raise ConfigError(f"{path}: there is no patch {patch!r}{nearest(patch, known)}{listed}")
    return sky.only(chosen)
