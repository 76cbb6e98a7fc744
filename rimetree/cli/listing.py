"""Commands that say what there is to write: configurations, Jones terms, node classes."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import ConfigError


def config(
    template: Annotated[
        str | None, typer.Option("--template", help="Which example; without it: a list of all.")
    ] = None,
) -> None:
    """Print a commented configuration to start from, or list them."""
    from importlib.resources import files

    from ..errors import nearest

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


def terms() -> None:
    """List the Jones terms that a configuration can name."""
    from ..trees.terms import kinds

    for name, cls in kinds().items():
        print(f"{name:4} {cls.summary()}")


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
    from ..catalogue import schema, text
    from ..graph import registry

    registry.load()
    if source:
        from ..batch.script import load

        for each in source:
            load(each)
    classes = [registry.get(name)] if name is not None else list(map(registry.get, registry.names()))
    if html is not None:
        from ..catalogue.page import write

        write(html, schema.catalogue(classes), show, name or "")
        print(html)
    elif show:
        raise ConfigError("--open opens what --html FILE writes: give both")
    elif json:
        from json import dumps

        print(dumps(schema.schema_of(classes[0]) if name is not None else schema.catalogue(classes), indent=2))
    else:
        print(text.described(classes[0]) if name is not None else text.listing(classes))
