"""Commands that solve, or say how they would: run, explain."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from .exits import fail
from .options import (
    Antennas,
    Channels,
    Chosen,
    Combine,
    Field,
    Intent,
    Memory,
    Ms,
    Reference,
    Scans,
    Spw,
    Taql,
    opened,
    selection,
    size,
)


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
    chosen = selection(
        field=field, spw=spw, scans=scans, channels=channels, antennas=antennas, taql=taql, intent=intent, combine=combine
    )  # fmt: skip
    if Path(file).suffix in (".yaml", ".yml"):
        own = {"ms": ms, "option": option, "solutions": solutions, "memory": memory, "ref-antenna": ref_antenna}
        given = [f"--{name}" for name, value in (own | chosen).items() if value]
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
        done = _run_script(file, ms, option, chosen, solutions, overwrite, memory, ref_antenna, dry_run, quiet)
    if done is None:
        return 0
    if not quiet:
        print(done.full() if timings else done)
    if done.converged:
        return 0
    return fail("some solution intervals did not converge (--timings lists all); the rest was done", 3)


def _run_config(file: str, changes: list[str], overwrite: bool, resume: bool, dry_run: bool, quiet: bool) -> Any:
    from ..pipeline.load import load
    from ..pipeline.run import run as run_blocks

    config = load(file, changes)
    return run_blocks(config, overwrite=overwrite, resume=resume, dry_run=dry_run, progress=not quiet)


def _run_script(
    file: str,
    ms: str | None,
    option: list[str] | None,
    chosen: dict[str, str],
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
        source = opened(path, chosen)
    with source as data:
        with _clock(seconds, "script"):
            forest = _forest(file, data, option)
        if dry_run:
            from ..batch.script import check

            print("\n".join(check(forest, data, solutions, overwrite)))
            return None
        most = size(memory)
        report = forest.run(
            data, solutions, overwrite=overwrite, memory=most, progress=not quiet, ref_antenna=ref_antenna
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


def _measurement_set(file: str, ms: str | None, chosen: dict[str, str]) -> Any:
    return opened(_checked(file, ms), chosen)


def _forest(file: str, data: Any, option: list[str] | None) -> Any:
    from ..batch.script import build, parse_options

    options = parse_options(option or ())
    forest = build(file, data, options)
    for line in options.unused:
        print(f"rimetree: {line}", file=sys.stderr)
    return forest


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
    chosen = selection(
        field=field, spw=spw, scans=scans, channels=channels, antennas=antennas, taql=taql, intent=intent, combine=combine
    )  # fmt: skip
    with _measurement_set(file, ms, chosen) as data:
        print(_forest(file, data, option).explain(node, data=data, memory=size(memory)))
