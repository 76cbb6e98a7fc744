"""Run a user's script: a Python file that defines `define_forest(ns, ms, options)`."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DataError, ForestError, RimetreeError, nearest
from ..graph.scope import Scope

if TYPE_CHECKING:
    from ..graph.forest import Forest

ENTRY = "define_forest"


class Options(dict[str, Any]):
    """The options given with `-o key=value`: a script reads them by `options.get("key", default)` or `options["key"]`.

    Which were read is remembered, so that a misspelt one can be reported: see `unused`.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        if key not in self.keys():
            raise ConfigError(f"this script needs the option {key!r}: give -o {key}=VALUE")
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of an option, or `default` where it was not given."""
        self.asked.add(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """As `get`, and forget it."""
        self.asked.add(key)
        return super().pop(key, *default)

    @property
    def unused(self) -> list[str]:
        """A line for each option that the script never asked for."""
        hint = self.asked
        return [f"option {k!r} was given but the script does not use it{nearest(k, hint)}" for k in set(self) - hint]


def parse_options(texts: Sequence[str]) -> Options:
    """`["solint=10", "name=x"]` as options; values are read as YAML, so 10 is a number and [1, 2] a list.

    Raises ConfigError naming each that is not key=value.
    """
    found: dict[str, Any] = {}
    if texts:
        import yaml
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark or not key.strip().isidentifier():
            raise ConfigError(f"-o {text!r}: expected key=value, such as -o solint=10")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[key.strip()] = value
    return Options(found)


def build(path: str | Path, ms: Any, options: Options) -> Forest:
    """The forest that a script defines on a Measurement Set.

    Raises ConfigError naming the file and line where the script does not compile, fails, or has no `define_forest`;
    ForestError with every fault of the forest.
    """
    source, ns = Path(path), Scope()
    with _placed(source):
        namespace = _executed(source)
        entry = namespace.get(ENTRY)
        if not callable(entry):
            names = [name for name, value in namespace.items() if callable(value)]
            raise ConfigError(f"{source}: expected a function {ENTRY}(ns, ms, options){nearest(ENTRY, names)}")
        entry(ns, ms, options)
        return ns.forest()


def load(source: str) -> None:
    """Run a Python file, or import a module, for the node classes that it registers. Raises ConfigError where that fails."""
    path = Path(source)
    if path.suffix == ".py" or path.exists():
        with _placed(path):
            _executed(path)
        return
    try:
        importlib.import_module(source)
    except RimetreeError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"{source}: neither a Python file (.py) nor a module that can be imported: {why}") from error


def _executed(source: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": source.stem, "__file__": str(source)}
    exec(_compiled(source), namespace)
    return namespace


@contextmanager
def _placed(source: Path) -> Iterator[None]:
    """Say where in a script an error came about."""
    try:
        yield
    except (ForestError, DataError):
        raise
    except RimetreeError as error:
        place = _place(error, source)
        raise type(error)(f"{place}: {error}" if place and str(source) not in str(error) else str(error)) from error
    except Exception as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"{_place(error, source) or source}: {type(error).__name__}: {message}") from error


def _compiled(source: Path) -> CodeType:
    try:
        return compile(source.read_bytes(), str(source), "exec")
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise ConfigError(f"{source}{line}: {type(error).__name__}: {error.msg}") from error
    except ValueError as error:
        raise ConfigError(f"{source}: is not a Python file: {error}") from error


def _place(error: BaseException, source: Path) -> str:
    """`script.py:12`: the innermost line of the script on the way to an error."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(source)]
    return f"{source}:{lines[-1]}" if lines else ""


def check(forest: Forest, ms: Any, solutions: str | None, overwrite: bool) -> Iterator[str]:
    """Lines on what a run would do, after all checks that a run makes before it begins. Raises as `forest.run`."""
    from ..io.solutions import check_writable
    from .baselines import Baselines
    from .layout import layout
    from .skies import Skies

    found = layout(forest, Baselines.of(ms))
    obstacles = found.obstacles(ms)
    if obstacles:
        raise DataError("\n".join(obstacles))
    Skies(found.skies, ms)
    if solutions is not None:
        check_writable(solutions, overwrite)
    yield str(ms)
    yield f"{len(forest):,} nodes in {len(forest.families)} families; all checks passed"
    reads, writes = (", ".join(sorted(names)) or "no columns" for names in (found.reads, found.writes))
    flags = ["FLAG"] * any(sink.flag for sink in found.sinks) + [f"flagset {name}" for name in sorted(found.marks)]
    yield f"reads {reads}; writes {', '.join([writes, *flags])}"
    for solver in found.solvers:
        parms = sum(int(chosen.sum()) for chosen in solver.parms.values())
        equations = sum(members.size for members in solver.condeqs.values())
        yield f"{solver.name}: {parms:,} Parms, {equations:,} equations"
