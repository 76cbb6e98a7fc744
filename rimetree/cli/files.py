"""Commands on files: solutions looked at and plotted, Measurement Sets made, their flags told and undone."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import opened, quantity


def info(file: Annotated[str, typer.Argument(help="HDF5 solution file.")]) -> None:
    """Summarise a solution file."""
    if _of_script(file):
        from ..io.solutions import info as describe
    else:
        from ..pipeline.show import info as describe

    print(describe(file))


def fluxscale_info(file: Annotated[str, typer.Argument(help="HDF5 solution file.")]) -> None:
    """Print the flux scales in a solution file."""
    from ..pipeline.show import fluxscale_info as describe

    print(describe(file))


def plot(
    file: Annotated[str, typer.Argument(help="HDF5 solution file.")],
    folder: Annotated[str, typer.Option("-o", "--output", help="Folder for the plots.")] = "plots",
) -> None:
    """Plot the solutions in a file."""
    if _of_script(file):
        from ..io.plots import plot as draw
        from ..io.solutions import Solutions

        paths = draw(Solutions.load(file), folder)
    else:
        from ..pipeline.show import plot as draw_tables

        paths = draw_tables(file, folder)
    print(
        "\n".join(map(str, paths))
        or f"{file}: nothing to plot: no term that was solved for, no Solver with several intervals"
    )


def _of_script(file: str) -> bool:
    """Whether a solution file was made by a script rather than a configuration."""
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            return "format" in opened.attrs
    except OSError:  # whoever reads it says what is wrong
        return False


def simulate(
    out: Annotated[str, typer.Argument(help="Measurement Set to make.")],
    antennas: Annotated[str, typer.Option(help="Number of antennas, or vla-like (27).")] = "7",
    times: Annotated[int, typer.Option(help="Number of slots.")] = 10,
    interval: Annotated[str, typer.Option(help="Length of a slot.")] = "10s",
    start: Annotated[str, typer.Option(help="Start, MJD, in seconds or with a unit.")] = "5e9s",
    chans: Annotated[int, typer.Option(help="Number of channels.")] = 16,
    freq: Annotated[str, typer.Option(help="Centre of the first channel.")] = "1.4GHz",
    width: Annotated[str, typer.Option(help="Channel width.")] = "1MHz",
    scans: Annotated[int, typer.Option(help="Number of scans.")] = 1,
    fields: Annotated[int, typer.Option(help="Number of fields; scans go round them.")] = 1,
    noise: Annotated[float, typer.Option(help="rms of a complex visibility.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    feed: Annotated[str, typer.Option(help="linear or circular.")] = "linear",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing Measurement Set.")] = False,
) -> None:
    """Make a Measurement Set from an array, times and channels, with noise for data."""
    from ..io.simulate import simulate as make

    count = int(antennas) if antennas.isdecimal() else antennas
    axes: dict[str, Any] = {
        "times": (quantity("--start", start, "s"), times, quantity("--interval", interval, "s")),
        "freqs": (quantity("--freq", freq, "Hz"), chans, quantity("--width", width, "Hz")),
    }
    others: dict[str, Any] = {
        "scans": scans,
        "fields": fields,
        "corrs": feed,
        "noise": noise,
        "seed": seed,
        "overwrite": overwrite,
    }
    make(out, count, **axes, **others)
    print(out)


def flags(
    ms: Annotated[str, typer.Argument(help="Measurement Set.")],
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", help="Remove this flagset, and from FLAG what it alone flags; repeat."),
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Make FLAG what it was before there were flagsets; they stay in BITFLAG.")
    ] = False,
) -> None:
    """List the flagsets of a Measurement Set: their bits in BITFLAG, and how much they and FLAG flag; undo them."""
    with opened(ms, {}) as data:
        for name in remove or ():
            data.remove_flagset(name)
        if restore:
            data.restore_flags()
    with opened(ms, {}) as data:
        bits = {"FLAG": "", **{name: f"bit {bit}" for name, bit in data.flagsets.items()}}
        width = max(map(len, bits))
        for name, part in data.flagged().items():
            print(f"{name:{width}}  {bits[name]:14} {100 * part:.4g} % flagged")
