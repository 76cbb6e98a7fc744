"""One HTML page, in need of nothing else, with a form for every node class: made from the schemas alone."""

from __future__ import annotations

import json
from importlib.resources import files

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
