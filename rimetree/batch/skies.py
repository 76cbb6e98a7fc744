"""Sky models of a run: predicted into tiles as if they were columns."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

from ..errors import ConfigError, nearest
from ..sky.model import SkyModel
from ..sky.predict import STOKES, predict
from ..sky.read import read_sky


class Skies:
    """The models by column; `wanted` maps columns to the options of `Meq.SkyModel`.

    Raises DataError where a file cannot be read, ConfigError where a patch is not in it or a correlation of `data` cannot be
    predicted.
    """

    def __init__(self, wanted: Mapping[str, Mapping[str, Any]], data: Any) -> None:
        self._data = data
        self._models: dict[str, tuple[SkyModel, int, bool]] = {}
        files: dict[str, SkyModel] = {}
        for column, options in wanted.items():
            path = options["sky"]
            if path not in files:
                files[path] = read_sky(path)
            chosen = _patch(path, files[path], options["patch"])
            self._models[column] = chosen, options["sign"], options["smear"]
        corrs = {corr for group in data.groups for corr in group.corrs} if wanted else set()
        if unknown := sorted(corrs - set(STOKES)):
            raise ConfigError(
                f"{data.path}: correlation {unknown[0]} cannot be predicted from a sky model; select by spw="
            )

    def fill(self, tiles: Any) -> Generator[Any, None, None]:
        """The tiles, each with the visibilities of the models among its columns."""
        with closing(tiles):
            for tile in tiles:
                for column, (sky, sign, smear) in self._models.items():
                    centre = tile.group.phase_dir
                    tile.columns[column] = predict(sky, tile, centre, self._data.baselines, sign, smear)
                yield tile


def _patch(path: str, sky: SkyModel, patch: str | None) -> SkyModel:
    if patch is None:
        return sky
    chosen = sky.patches == patch
    if not chosen.any():
        known = sorted(set(sky.patches.tolist()) - {""})
        listed = f"; it has {', '.join(known[:8])}" if known else "; it has no patches"
        raise ConfigError(f"{path}: there is no patch {patch!r}{nearest(patch, known)}{listed}")
    return sky.only(chosen)
