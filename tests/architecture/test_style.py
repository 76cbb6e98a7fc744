"""House rules that no linter has: import contracts run here too, sizes of files and functions, docstrings."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(f for top in ("rimetree", "nodes", "trees") for f in (ROOT / top).rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 500, 60
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

CONTRACT = {
    "compute",
    "ring",
    "reduce",
    "axes_of",
    "normalise",
    "family_key",
    "example",
    "expanded",
    "flag_rule",
    "dims",
    "observe",
    "look_up",
    "reads",
}
CONTRACT |= {"matrix", "guess", "settle", "absorb", "turned", "moved", "read", "errors"}
"""Methods of node classes and terms that are documented once, on NodeClass and Term or in the docstring of the class."""


def parsed():
    for file in SOURCES:
        yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def test_sources_are_found_once():
    assert len(SOURCES) > 20 and len({f.resolve() for f in SOURCES}) == len(SOURCES)


def test_import_contracts():
    """The layers of rimetree/DESIGN.md, section 1, as written in pyproject.toml."""
    command = [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_map_of_the_solver_is_whole():
    """Every module of a folder of `solve` stands in its row of rimetree/DESIGN.md, and in that of no other."""
    rows = re.findall(r"^\| `(\w+)/` \|(.*)", (ROOT / "rimetree" / "DESIGN.md").read_text(), re.MULTILINE)
    words = {folder: set(re.findall(r"`(\w+)`", row)) for folder, row in rows}
    modules = {
        folder: {
            f.stem for f in (ROOT / "rimetree" / "solve" / folder).glob("[a-z]*.py") if not f.stem.endswith("_code")
        }
        for folder in ("algebra", "reduce", "result", "single", "joint")
    }
    elsewhere = {f.stem for f in (ROOT / "rimetree" / "batch").glob("*.py")}
    for folder, own in modules.items():
        others = set().union(*(names for other, names in modules.items() if other != folder))
        assert not own - words[folder], f"{folder}/: not in the map"
        assert not (words[folder] - own) & (others - elsewhere), f"{folder}/: in the map, and somewhere else"


def test_files_are_short():
    long = [f"{f.relative_to(ROOT)}: {n}" for f in SOURCES if (n := len(f.read_text().splitlines())) >= FILE_LINES]
    assert not long, f"files of {FILE_LINES} lines or more: {long}"


def test_functions_are_short():
    functions = [(name, n) for name, tree in parsed() for n in ast.walk(tree) if isinstance(n, DEFINITIONS[:2])]
    sizes = [(f"{name}:{n.lineno} {n.name}", n.end_lineno - n.lineno + 1) for name, n in functions]
    long = [f"{place}: {size}" for place, size in sizes if size >= FUNCTION_LINES]
    assert not long, f"functions of {FUNCTION_LINES} lines or more: {long}"


def undocumented(body, prefix, inside_class=False):
    for node in body:
        if not isinstance(node, DEFINITIONS) or node.name.startswith("_") or (inside_class and node.name in CONTRACT):
            continue
        if ast.get_docstring(node) is None and not any("overload" in ast.unparse(d) for d in node.decorator_list):
            yield f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{prefix}{node.name}.", inside_class=True)


def test_public_names_have_docstrings():
    bare = [f"{name}: (module)" for name, tree in parsed() if tree.body and ast.get_docstring(tree) is None]
    for name, tree in parsed():
        bare.extend(undocumented(tree.body, f"{name}: "))
    assert not bare, f"without a docstring: {bare}"
