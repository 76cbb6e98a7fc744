"""Options that several commands have, and what is made of their words."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import ConfigError

Field = Annotated[str | None, typer.Option(help="Field: name, number or glob; several with commas.")]
Spw = Annotated[str | None, typer.Option(help="Spectral windows: numbers or names, such as 0~2.")]
Scans = Annotated[str | None, typer.Option(help="Scans, such as 1~3,5.")]
Channels = Annotated[str | None, typer.Option(help="Channels, such as 10~50 (both included).")]
Antennas = Annotated[str | None, typer.Option(help="Antennas: names or numbers, with commas.")]
Taql = Annotated[str | None, typer.Option(help="A TaQL condition on rows.")]
Intent = Annotated[str | None, typer.Option(help="What scans are for, such as '*CALIBRATE_PHASE*'.")]
Combine = Annotated[str | None, typer.Option(help="spw: all spectral windows of a field as one band.")]
Ms = Annotated[str | None, typer.Option("--ms", help="Measurement Set, or several, with commas, as one.")]
Memory = Annotated[str | None, typer.Option(help="Most memory for data, such as 2GB.")]
Reference = Annotated[str | None, typer.Option(help="Antenna whose phases, where data leave them free, are made zero.")]
Chosen = Annotated[list[str] | None, typer.Option("-o", "--option", help="key=value for the script; repeat as needed.")]


def selection(**given: str | None) -> dict[str, str]:
    """Those that are given."""
    return {key: value for key, value in given.items() if value is not None}


def opened(path: str, selection: dict[str, str]) -> Any:
    """One or several Measurement Sets."""
    options: dict[str, Any] = {**selection}
    if "," in path or "combine" in selection:
        from ..io.sets import MeasurementSets

        return MeasurementSets([part.strip() for part in path.split(",")], **options)
    from ..io.ms import MeasurementSet

    return MeasurementSet(path, **options)


def size(text: str | None) -> float | None:
    """Bytes of "2GB"."""
    from ..quantity import memory

    try:
        return memory(text) if text is not None else None
    except ValueError as error:
        raise ConfigError(f"--memory: {error}") from error


def quantity(name: str, text: str, unit: str) -> float:
    """SI number of "8s" or "1.4GHz"; a bare number is in SI already."""
    from ..quantity import hertz, seconds

    try:
        return (seconds if unit == "s" else hertz)(text if text[-1:].isalpha() else float(text))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
