"""The command line as a whole: its commands, `--debug`, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..errors import RimetreeError
from ..graph.relief import seldom
from ..interrupts import certain
from . import files, listing, running
from .exits import EXITS, bug, fail

app = typer.Typer(
    help="Radio-interferometric calibration: fit any parameter of any measurement equation.",
    epilog=EXITS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(epilog=EXITS)(running.run)
for _command in (
    running.explain, listing.config, listing.terms, files.info, files.fluxscale_info, files.plot, files.simulate, files.flags, listing.nodes
):  # fmt: skip
    app.command()(_command)


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
        return fail(str(error), 1)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong command line, as click and typer report it
            text = error.format_message()  # empty where the help was printed because nothing was asked
            return fail(f"{text} ({_help(error)} tells more)", 1) if text else 1
        if debug:
            raise
        return fail(bug(error), 2)
    return fail("interrupted; rerun gives the same result", 130) if code == 130 else int(code)


def _help(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'rimetree'} --help"


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
