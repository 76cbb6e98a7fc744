"""Calls of every registered class, from its schema."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import rimetree as rt
from rimetree import Meq
from rimetree.graph import registry
from rimetree.graph.node import NodeClass


class Calls:
    """Nodes to be children, by name, in a scope of their own; `build` makes nodes of a class on them."""

    def __init__(self, cls: type[NodeClass]) -> None:
        self.cls, self.ns = cls, rt.Scope()
        for name, child in cls.children.items():
            self.ns[name] << self._node(child.dims)

    def _node(self, dims: tuple[int, ...] | None) -> Any:
        if self.cls.role == "solver":
            return Meq.Condeq(Meq.Parm(1.0, tags="gain"), 2.0)
        if self.cls.__name__ == "VisDataMux":
            return Meq.Sink(Meq.Constant(np.ones((2, 2))), "a", "b")
        return Meq.Constant(np.full(dims, 0.5)) if dims else Meq.Multiply(Meq.Time(), Meq.Freq())

    def child(self, name: str) -> Any:
        return self.ns[name]

    def evaluate(self, line: str) -> Any:
        """What a line of Python defines, under the name `ns.node`."""
        exec(line, {"ns": self.ns, "Meq": Meq, "rt": rt, "np": np})
        return self.built()

    def built(self) -> tuple[type[NodeClass], dict[str, Any]]:
        """Class and options of the node called `node`."""
        forest = self.ns.forest()
        family, member = forest.names["node"]
        found = forest.families[family]
        return found.cls, {**found.options, **{name: values[member] for name, values in found.members.items()}}


@pytest.fixture(params=registry.names())
def cls(request: pytest.FixtureRequest) -> type[NodeClass]:
    return registry.get(request.param)


@pytest.fixture(autouse=True, scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The files that examples name, in the working folder."""
    folder = tmp_path_factory.mktemp("files")
    header = fits.Header({"CTYPE1": "L", "CTYPE2": "M", "CDELT1": 0.1, "CDELT2": 0.1})
    fits.PrimaryHDU(np.ones((2, 3)), header).writeto(folder / "image.fits")
    with contextlib.chdir(folder):
        yield


@pytest.fixture
def calls() -> Callable[[type[NodeClass]], Calls]:
    return Calls
