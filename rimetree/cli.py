"""The command `rimetree`. Anything that takes long to import is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import ConfigError, RimetreeError
from .graph.relief import seldom
from .interrupts import certain

EXITS = (
    "Exit code: 0 all was done and all solutions converged; 1 your input is wrong (the message says what to do); "
    "2 a bug in rimetree; 3 all was done, but some solutions did not converge; 130 interrupted."
)

app = typer.Typer(
    help="Radio-interferometric calibration: fit any parameter of any measurement equation.",
    epilog=EXITS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. `--debug`, anywhere, shows tracebacks."""
    seldom()
    certain()
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != "--debug"]
    sys.exit(_run(words, debug=words != given or bool(os.environ.get("RIMETREE_DEBUG"))))


def _run(arguments: list[str], debug: bool) -> int:
    """The exit code."""
    try:
        code = app(arguments, prog_name="rimetree", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:  # `rimetree nodes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except RimetreeError as error:
        if debug:
            raise
        return _fail(str(error), 1)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong command line, as click and typer report it
            text = error.format_message()  # empty where the help was printed because nothing was asked
            return _fail(f"{text} ({_help(error)} tells more)", 1) if text else 1
        if debug:
            raise
        return _fail(_bug(error), 2)
    return _fail("interrupted; rerun gives the same result", 130) if code == 130 else int(code)


def _fail(message: str, code: int) -> int:
    print(f"rimetree: {message}", file=sys.stderr)
    return code


def _help(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'rimetree'} --help"


def _bug(error: Exception) -> str:
    """One line on an exception that no user should see."""
    if isinstance(error, MemoryError):
        return "not enough memory; give --memory a smaller amount, or select fewer channels or antennas"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return (
        f"bug: {type(error).__name__}: {text} (at {frame.filename}:{frame.lineno}); run again with --debug for the "
        "traceback, and please report it"
    )


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    if version:
        from importlib import metadata

        try:
            print(f"rimetree {metadata.version('rimetree')}")
        except metadata.PackageNotFoundError:
            print("rimetree, not installed (run from its source folder)")
        raise typer.Exit


@app.command(epilog=EXITS)
def run(
    file: Annotated[str, typer.Argument(help="SCRIPT.py that defines define_forest(ns, ms, options), or CONFIG.yaml.")],
    ms: Ms = None,
    option: Chosen = None,
    field: Field = None,
    spw: Spw = None,
    scans: Scans = None,
    channels: Channels = None,
    antennas: Antennas = None,
    taql: Taql = None,
    intent: Intent = None,
    combine: Combine = None,
    solutions: Annotated[str | None, typer.Option(help="HDF5 file for the solutions.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing solution file.")] = False,
    memory: Memory = None,
    ref_antenna: Reference = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="key=value that replaces one of CONFIG.yaml; repeat as needed.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the finished steps of CONFIG.yaml's solution files.")
    ] = False,
    report: Annotated[str | None, typer.Option(help="HTML page on what CONFIG.yaml did, with plots.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, solve and write nothing.")] = False,
    timings: Annotated[
        bool, typer.Option("--timings", help="The time of each stage, what was compiled, and a line per interval.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> int:
    """Solve and correct: a script with an equation of your own, or a configuration of Jones terms."""
    selection = _selection(
        field=field, spw=spw, scans=scans, channels=channels, antennas=antennas, taql=taql, intent=intent, combine=combine
    )  # fmt: skip
    if Path(file).suffix in (".yaml", ".yml"):
        own = {"ms": ms, "option": option, "solutions": solutions, "memory": memory, "ref-antenna": ref_antenna}
        given = [f"--{name}" for name, value in (own | selection).items() if value]
        if given:
            raise ConfigError(
                f"{', '.join(given)}: for scripts; change a key of a configuration with --set solve.0.key=value"
            )
        changes = [*(change or ()), *([f"report={json.dumps(report)}"] if report else ())]
        done = _run_config(file, changes, overwrite, resume, dry_run, quiet)
    elif change or resume or report:
        raise ConfigError(
            "--set, --resume and --report are for configurations; give options to a script with -o key=value"
        )
    else:
        done = _run_script(file, ms, option, selection, solutions, overwrite, memory, ref_antenna, dry_run, quiet)
    if done is None:
        return 0
    if not quiet:
        print(done.full() if timings else done)
    if done.converged:
        return 0
    return _fail("some solution intervals did not converge (--timings lists all); the rest was done", 3)


def _selection(**given: str | None) -> dict[str, str]:
    return {key: value for key, value in given.items() if value is not None}


def _run_config(file: str, changes: list[str], overwrite: bool, resume: bool, dry_run: bool, quiet: bool) -> Any:
    from .pipeline.load import load
    from .pipeline.run import run as run_blocks

    config = load(file, changes)
    return run_blocks(config, overwrite=overwrite, resume=resume, dry_run=dry_run, progress=not quiet)


def _run_script(
    file: str,
    ms: str | None,
    option: list[str] | None,
    selection: dict[str, str],
    solutions: str | None,
    overwrite: bool,
    memory: str | None,
    ref_antenna: str | None,
    dry_run: bool,
    quiet: bool,
) -> Any:
    seconds: dict[str, float] = {}
    path = _checked(file, ms)
    with _clock(seconds, "import"):
        for module in ("batch.run", "io.ms", "io.table"):  # or later stages would do it
            import_module(f"rimetree.{module}")
    with _clock(seconds, "open"):
        opened = _opened(path, selection)
    with opened as data:
        with _clock(seconds, "script"):
            forest = _forest(file, data, option)
        if dry_run:
            from .batch.script import check

            print("\n".join(check(forest, data, solutions, overwrite)))
            return None
        size = _memory(memory)
        report = forest.run(
            data, solutions, overwrite=overwrite, memory=size, progress=not quiet, ref_antenna=ref_antenna
        )
    total = sum(seconds.values()) + report.seconds.pop("total")
    report.seconds = {**seconds, **report.seconds, "total": total}
    return report


@contextmanager
def _clock(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began


def _checked(file: str, ms: str | None) -> str:
    """The Measurement Set, after a look at the script."""
    if Path(file).suffix != ".py":
        raise ConfigError(f"{file}: expected a script (.py) or a configuration (.yaml)")
    if not Path(file).is_file():
        raise ConfigError(f"{file}: there is no such file")
    if ms is None:
        raise ConfigError(f"{file}: say which Measurement Set: --ms x.ms")
    return ms


def _measurement_set(file: str, ms: str | None, selection: dict[str, str]) -> Any:
    return _opened(_checked(file, ms), selection)


def _opened(path: str, selection: dict[str, str]) -> Any:
    options: dict[str, Any] = {**selection}
    if "," in path or "combine" in selection:
        from .io.sets import MeasurementSets

        return MeasurementSets([part.strip() for part in path.split(",")], **options)
    from .io.ms import MeasurementSet

    return MeasurementSet(path, **options)


def _forest(file: str, data: Any, option: list[str] | None) -> Any:
    from .batch.script import build, parse_options

    options = parse_options(option or ())
    forest = build(file, data, options)
    for line in options.unused:
        print(f"rimetree: {line}", file=sys.stderr)
    return forest


@app.command()
def explain(
    file: Annotated[str, typer.Argument(help="SCRIPT.py that defines define_forest(ns, ms, options).")],
    ms: Ms = None,
    node: Annotated[str | None, typer.Option(help="Only what this node needs.")] = None,
    option: Chosen = None,
    field: Field = None,
    spw: Spw = None,
    scans: Scans = None,
    channels: Channels = None,
    antennas: Antennas = None,
    taql: Taql = None,
    intent: Intent = None,
    combine: Combine = None,
    memory: Memory = None,
) -> None:
    """What will be computed, when, and of which size; how every Solver will fit, on which cells, in which tiles."""
    selection = _selection(
        field=field, spw=spw, scans=scans, channels=channels, antennas=antennas, taql=taql, intent=intent, combine=combine
    )  # fmt: skip
    with _measurement_set(file, ms, selection) as data:
        print(_forest(file, data, option).explain(node, data=data, memory=_memory(memory)))


@app.command()
def config(
    template: Annotated[
        str | None, typer.Option("--template", help="Which example; without it: a list of all.")
    ] = None,
) -> None:
    """Print a commented configuration to start from, or list them."""
    from importlib.resources import files

    from .errors import nearest

    examples = {path.name[:-5]: path for path in files("rimetree.trees").joinpath("examples").iterdir()}
    if template is None:
        for name in sorted(examples):
            first = examples[name].read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
            print(f"{name:20}  {first}")
        return
    if template not in examples:
        raise ConfigError(
            f"there is no example {template!r}{nearest(template, examples)}; there are {', '.join(sorted(examples))}"
        )
    print(examples[template].read_text(encoding="utf-8"), end="")


@app.command()
def terms() -> None:
    """List the Jones terms that a configuration can name."""
    from .trees.terms import kinds

    for name, cls in kinds().items():
        print(f"{name:4} {cls.summary()}")


def _of_script(file: str) -> bool:
    """Whether a solution file was made by a script rather than a configuration."""
    import h5py

    return bool(Path(file).is_file() and h5py.is_hdf5(file) and "format" in h5py.File(file, "r").attrs)


@app.command()
def info(file: Annotated[str, typer.Argument(help="HDF5 solution file.")]) -> None:
    """Summarise a solution file."""
    if _of_script(file):
        from .io.solutions import info as describe
    else:
        from .pipeline.show import info as describe

    print(describe(file))


@app.command(name="fluxscale-info")
def fluxscale_info(file: Annotated[str, typer.Argument(help="HDF5 solution file.")]) -> None:
    """Print the flux scales in a solution file."""
    from .pipeline.show import fluxscale_info as describe

    print(describe(file))


@app.command()
def plot(
    file: Annotated[str, typer.Argument(help="HDF5 solution file.")],
    folder: Annotated[str, typer.Option("-o", "--output", help="Folder for the plots.")] = "plots",
) -> None:
    """Plot the solutions in a file."""
    if _of_script(file):
        from .io.plots import plot as draw
        from .io.solutions import Solutions

        paths = draw(Solutions.load(file), folder)
    else:
        from .pipeline.show import plot as draw_tables

        paths = draw_tables(file, folder)
    print(
        "\n".join(map(str, paths))
        or f"{file}: nothing to plot: no term that was solved for, no Solver with several intervals"
    )


@app.command()
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
    from .io.simulate import simulate as make

    count = int(antennas) if antennas.isdecimal() else antennas
    axes: dict[str, Any] = {
        "times": (_quantity("--start", start, "s"), times, _quantity("--interval", interval, "s")),
        "freqs": (_quantity("--freq", freq, "Hz"), chans, _quantity("--width", width, "Hz")),
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


@app.command()
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
    with _opened(ms, {}) as data:
        for name in remove or ():
            data.remove_flagset(name)
        if restore:
            data.restore_flags()
    with _opened(ms, {}) as data:
        bits = {"FLAG": "", **{name: f"bit {bit}" for name, bit in data.flagsets.items()}}
        width = max(map(len, bits))
        for name, part in data.flagged().items():
            print(f"{name:{width}}  {bits[name]:14} {100 * part:.4g} % flagged")


def _memory(text: str | None) -> float | None:
    """Bytes of "2GB"."""
    from .quantity import memory

    try:
        return memory(text) if text is not None else None
    except ValueError as error:
        raise ConfigError(f"--memory: {error}") from error


def _quantity(name: str, text: str, unit: str) -> float:
    """SI number of "8s" or "1.4GHz"; a bare number is in SI already."""
    from .quantity import hertz, seconds

    try:
        return (seconds if unit == "s" else hertz)(text if text[-1:].isalpha() else float(text))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


@app.command()
def nodes(
    name: Annotated[str | None, typer.Argument(help="A node class.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", help="Also the classes of this Python file, or module, of your own; repeat."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON Schema: what a call may be made of.")] = False,
    html: Annotated[str | None, typer.Option(help="Write a page with a form for every class.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page of --html in a browser.")] = False,
) -> None:
    """List the node classes, or describe one: what it computes, its children and options."""
    from .catalogue import schema, text
    from .graph import registry

    registry.load()
    if source:
        from .batch.script import load

        for each in source:
            load(each)
    classes = [registry.get(name)] if name is not None else list(map(registry.get, registry.names()))
    if html is not None:
        from .catalogue.page import write

        write(html, schema.catalogue(classes), show, name or "")
        print(html)
    elif show:
        raise ConfigError("--open opens what --html FILE writes: give both")
    elif json:
        from json import dumps

        print(dumps(schema.schema_of(classes[0]) if name is not None else schema.catalogue(classes), indent=2))
    else:
        print(text.described(classes[0]) if name is not None else text.listing(classes))
