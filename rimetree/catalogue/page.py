"""One HTML page, in need of nothing else, with a form for every node class: made from the schemas alone."""

from __future__ import annotations

import json
import webbrowser
from importlib.resources import files
from pathlib import Path

from ..errors import ConfigError
from ..graph.kinds import Schema

PARTS = {"style": "page.css", "form": "form.js", "page": "page.js"}


def page(schemas: Schema) -> str:
    """The page of a `schema.catalogue`."""
    static = files(__package__).joinpath("static")
    parts = {name: static.joinpath(file).read_text(encoding="utf-8") for name, file in PARTS.items()}
    # "</script>" in a docstring would end the script that holds it.
    parts["catalogue"] = json.dumps(schemas, ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    text = static.joinpath("page.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def write(file: str, schemas: Schema, show: bool = False, name: str = "") -> None:
    """Write the page, and open it in a browser, at the form of one class. Raises ConfigError where it cannot be written."""
    path = Path(file)
    try:
        path.write_text(page(schemas), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
    if show:
        webbrowser.open(path.resolve().as_uri() + (f"#{name}" if name else ""))
