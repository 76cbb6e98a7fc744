"""The language: names, operators, constants, subscopes, tags, search, and when two definitions are one node."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from rimetree.errors import RimetreeError
from rimetree.graph import definition
from rimetree.graph import scope as scopes
from rimetree.graph.forest import Forest
from rimetree.graph.registry import Meq, get, names, node
from rimetree.graph.scope import Scope


def tree(forest: Forest, name: str) -> object:
    """A node as nested tuples, read from the families only."""
    return _tree(forest, *forest.find(name))


def _tree(forest: Forest, family: int, member: int) -> object:
    node = forest.families[family]
    own = tuple(np.asarray(v[member]).tolist() for v in node.members.values() if v[member] is not None)
    kids = [_tree(forest, kid.family, int(i)) for kid in node.kids for i in np.atleast_1d(kid.index[member])]
    return (node.cls.__name__, *own, *(sorted(kids, key=repr) if node.cls.commutative else kids))


def test_contract_snippet() -> None:
    ns = Scope()
    ns.a << Meq.Parm([[1, 2], [3, 4]])
    ns.root << Meq.Sin(ns.a) + Meq.Cos(Meq.Freq()) * 2
    forest = ns.forest()
    parm = ("Parm", [[1, 2], [3, 4]], "a")
    expected = ("Add", ("Multiply", ("Constant", 2), ("Cos", ("Freq",))), ("Sin", parm))
    assert tree(forest, "root") == expected
    assert len(forest) == 7
    assert len(forest.families) == 7
    assert dict(forest.names).keys() == {"a", "root"}
    assert [(f, list(m)) for f, m in forest.roots] == [(forest.find("root")[0], [0])]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (lambda x, y: x + y, ("Add", "x", "y")),
        (lambda x, y: x - y, ("Subtract", "x", "y")),
        (lambda x, y: x * y, ("Multiply", "x", "y")),
        (lambda x, y: x / y, ("Divide", "x", "y")),
        (lambda x, y: x % y, ("Mod", "x", "y")),
        (lambda x, y: x**y, ("Pow", "x", "y")),
        (lambda x, y: -x, ("Negate", "x")),
        (lambda x, y: abs(x), ("Abs", "x")),
        (lambda x, y: 3 + x, ("Add", 3, "x")),
        (lambda x, y: 3 - x, ("Subtract", 3, "x")),
        (lambda x, y: x - 3, ("Subtract", "x", 3)),
        (lambda x, y: 3 * x, ("Multiply", 3, "x")),
        (lambda x, y: 3 / x, ("Divide", 3, "x")),
        (lambda x, y: 3 % x, ("Mod", 3, "x")),
        (lambda x, y: 3**x, ("Pow", 3, "x")),
        (lambda x, y: np.float64(3) - x, ("Subtract", 3, "x")),
        (lambda x, y: np.array([1.0, 2.0]) - x, ("Subtract", [1, 2], "x")),
        (lambda x, y: np.complex64(2) / x, ("Divide", 2, "x")),
        (lambda x, y: np.int64(2) % x, ("Mod", 2, "x")),
        (lambda x, y: np.arange(2.0) ** x, ("Pow", [0, 1], "x")),
        (lambda x, y: (x + y) - Meq.Sin(x), ("Subtract", ("Add", "x", "y"), ("Sin", "x"))),
    ],
)
def test_operators_define_nodes(written, expected) -> None:  # type: ignore[no-untyped-def]
    ns = Scope()
    ns.x << Meq.Time()
    ns.y << Meq.Freq()
    ns.z << written(ns.x, ns.y)

    def spelled(part: object) -> object:
        if isinstance(part, tuple):
            kids = [spelled(p) for p in part[1:]]
            return (part[0], *(sorted(kids, key=repr) if part[0] in ("Add", "Multiply") else kids))
        return (
            {"x": ("Time",), "y": ("Freq",)}.get(part, ("Constant", part))
            if isinstance(part, str)
            else ("Constant", part)
        )

    assert tree(ns.forest(), "z") == spelled(expected)


@pytest.mark.parametrize("name", sorted(definition._FUNCTIONS))
def test_functions_of_numpy_name_the_node_that_does_the_same(name: str) -> None:
    ns = Scope()
    ns.x << Meq.Time()
    function = getattr(np, name)
    with pytest.raises(TypeError, match=f"^np.{name} takes numbers, not nodes: write Meq.([A-Za-z0-9]+)$") as raised:
        function(*[ns.x] * function.nin)
    assert str(raised.value).rpartition(".")[2] in names()
    with pytest.raises(TypeError, match=r"^np.hypot takes numbers, not nodes: a function with @rt.node can use it$"):
        np.hypot(ns.x, 1.0)


def test_equal_definitions_are_one_node() -> None:
    ns = Scope()
    ns.a << Meq.Sin(Meq.Time() + 1)
    ns.b << Meq.Sin(1 + Meq.Time())
    ns.c << Meq.Cos(Meq.Sin(Meq.Time() + 1))
    forest = ns.forest()
    assert len(forest) == 5
    assert forest.find("a") == forest.find("b")
    assert forest.name_of(*forest.find("b")) == "a"


def test_order_matters_only_where_it_should() -> None:
    ns = Scope()
    ns.a << Meq.Time() - Meq.Freq()
    ns.b << Meq.Freq() - Meq.Time()
    ns.c << Meq.Time() * Meq.Freq()
    ns.d << Meq.Freq() * Meq.Time()
    forest = ns.forest()
    assert forest.find("a") != forest.find("b")
    assert forest.find("c") == forest.find("d")


def test_parms_are_one_per_name_and_anonymous_ones_coincide() -> None:
    ns = Scope()
    ns.a << Meq.Parm(1)
    ns.b << Meq.Parm(1)
    ns.c << Meq.Sin(Meq.Parm(1))
    ns.d << Meq.Cos(Meq.Parm(1))
    ns.e << Meq.Cos(Meq.Parm(1, tags="other"))
    forest = ns.forest()
    parms = [f for f in forest.families if f.cls is get("Parm")]
    assert sum(f.size for f in parms) == 4
    assert {"a", "b"} < {str(name) for f in parms for name in f.members["name"]}


def test_options_by_position_and_keyword_and_defaults() -> None:
    ns = Scope()
    ns.a << Meq.Spigot("m000", "m001")
    ns.b << Meq.Spigot(q="m001", p="m000", column="DATA")
    ns.c << Meq.Polar(phase=Meq.Time(), amplitude=2)
    ns.d << Meq.Polar(2, Meq.Time())
    forest = ns.forest()
    assert forest.find("a") == forest.find("b")
    assert forest.find("c") == forest.find("d")


def test_children_may_be_numbers_lists_arrays_and_makers() -> None:
    ns = Scope()
    ns.a << Meq.Sin(Meq.Freq)
    ns.b << Meq.Composer(1, 2.5, 3j, np.float32(1.5))
    ns.c << Meq.Sin([[1, 2], [3, 4]])
    ns.d << Meq.Sin(np.arange(3))
    ns.e << 3
    forest = ns.forest()
    assert tree(forest, "a") == ("Sin", ("Freq",))
    assert tree(forest, "b") == ("Composer", ("Constant", 1), ("Constant", 2.5), ("Constant", 3j), ("Constant", 1.5))
    assert tree(forest, "c") == ("Sin", ("Constant", [[1, 2], [3, 4]]))
    assert tree(forest, "d") == ("Sin", ("Constant", [0, 1, 2]))
    assert tree(forest, "e") == ("Constant", 3)


def test_lists_and_arrays_are_taken_as_they_are_when_defined() -> None:
    ns = Scope()
    values, rows = np.arange(2.0), [[1, 2]]
    ns.a << Meq.Constant(values)
    ns.b << Meq.Parm(rows)
    values[:] = 9
    rows[0][0] = 9
    forest = ns.forest()
    assert tree(forest, "a") == ("Constant", [0, 1])
    assert tree(forest, "b") == ("Parm", [[1, 2]], "b")


def test_names_and_qualifiers() -> None:
    ns = Scope()
    ns.G("m000", 3, x="y", a=1) << Meq.Parm(1)
    ns["odd name"](1.5) << ns.G("m000")(3, a=1, x="y")
    forest = ns.forest()
    assert set(forest.names) == {"G:m000:3:a=1:x=y", "odd name:1.5"}
    assert forest.find("odd name:1.5") == forest.find("G:m000:3:a=1:x=y")
    assert forest.qualifiers("G:m000:3:a=1:x=y") == ("m000", "3", "a=1", "x=y")
    assert ns.G(1) is ns.G("1")
    assert ns.G(np.int64(1)) is ns.G(1)
    assert ns.G(np.str_("1")) is ns.G(1)


@pytest.mark.parametrize("wrong", ["a:b", None, (1, 2), [1, 2], {}])
def test_qualifiers_must_be_texts_or_numbers_without_colons(wrong: object) -> None:
    with pytest.raises(RimetreeError, match="qualifier"):
        Scope().G(wrong)


def test_forward_references_and_aliases() -> None:
    ns = Scope()
    ns.root << Meq.Sin(ns.later)
    ns.y << ns.x
    ns.x << ns.w
    ns.later << Meq.Cos(ns.y)
    ns.w << Meq.Time()
    forest = ns.forest()
    assert tree(forest, "root") == ("Sin", ("Cos", ("Time",)))
    assert forest.find("y") == forest.find("x") == forest.find("w")


def test_subscopes_share_the_forest() -> None:
    ns = Scope()
    sub = ns.Subscope("foo", 1, x=2)
    sub.a << Meq.Time()
    ns.a << Meq.Sin(sub.a)
    sub.Subscope("bar").a(7) << Meq.Cos(ns.a)
    forest = ns.forest()
    assert set(forest.names) == {"foo:1:x=2::a", "a", "foo:1:x=2::bar::a:7"}
    assert forest.qualifiers("foo:1:x=2::bar::a:7") == ("7",)
    assert tree(forest, "foo:1:x=2::bar::a:7") == ("Cos", ("Sin", ("Time",)))
    assert sub.forest() == forest


def test_iteration_is_in_binding_order() -> None:
    ns = Scope()
    for q in (3, 1, 2):
        ns.eq("p", q) << Meq.Sin(q)
    ns.eq("r", 1) << Meq.Cos(1)
    assert [str(s) for s in ns.eq] == ["eq:p:3", "eq:p:1", "eq:p:2", "eq:r:1"]
    assert [str(s) for s in ns.eq("p")] == ["eq:p:3", "eq:p:1", "eq:p:2"]
    assert len(ns.eq) == 4
    assert len(ns.undefined) == 0
    assert bool(ns.undefined)


def test_binding_returns_the_stub_and_anonymous_binding_names() -> None:
    ns = Scope()
    stub = ns.a << Meq.Time()
    assert stub is ns.a
    other = ns << Meq.Sin(stub)
    assert tree(ns.forest(), str(other)) == ("Sin", ("Time",))


def test_tags_and_search() -> None:
    ns = Scope()
    for p in "ab":
        ns.gx(p) << Meq.Parm(1, tags="gain phase")
        ns.b(p) << Meq.Parm(1, tags=["bandpass"])
    ns.Subscope("s").gx << Meq.Sin(1, tags="gain")
    assert [str(s) for s in ns.search(tags="gain")] == ["gx:a", "gx:b", "s::gx"]
    assert [str(s) for s in ns.search(tags="phase gain")] == ["gx:a", "gx:b"]
    assert [str(s) for s in ns.search(tags="gain", cls="Sin")] == ["s::gx"]
    assert [str(s) for s in ns.search(name=":b$")] == ["gx:b", "b:b"]
    assert [str(s) for s in ns.Subscope("s").search(tags="gain")] == ["s::gx"]
    forest = ns.forest()
    found = {forest.name_of(f, int(m)) for f, members in forest.tagged("gain") for m in members}
    assert found == {"gx:a", "gx:b", "s::gx"}
    assert forest.families[forest.find("gx:a")[0]].options["tags"] == ("gain", "phase")


def test_only_what_the_wanted_roots_need() -> None:
    ns = Scope()
    ns.a << Meq.Time()
    ns.b << Meq.Sin(ns.a)
    ns.c << Meq.Cos(ns.a)
    ns.d << Meq.Sin(ns.b) + ns.c
    for forest in (ns.forest(ns.b), ns.forest("b"), ns.forest(Meq.Sin(ns.a))):
        assert set(forest.names) == {"a", "b"}
        assert len(forest) == 2
        assert [(f, m.tolist()) for f, m in forest.roots] == [(*forest.find("b")[:1], [0])]
    with pytest.raises(RimetreeError, match=r"no node 'bb'.*did you mean 'b'"):
        ns.forest("bb")


def test_find_names_the_nearest() -> None:
    ns = Scope()
    ns.gain("m001") << Meq.Parm(1)
    forest = ns.forest()
    with pytest.raises(RimetreeError, match="did you mean 'gain:m001'"):
        forest.find("gain:m01")
    with pytest.raises(RimetreeError, match="did you mean 'gain'"):
        forest.find("gian:m001")


def test_script_lines() -> None:
    ns = Scope()
    ns.a << Meq.Sin(Meq.Time())
    line = test_script_lines.__code__.co_firstlineno + 2
    forest = ns.forest()
    assert forest.where(*forest.find("a")).endswith(f"test_language.py:{line}")


def test_nameless_nodes_are_described() -> None:
    ns = Scope()
    ns.G("p") << Meq.Parm(1)
    ns.root << Meq.Sin(Meq.Cos(ns.G("p")))
    forest = ns.forest()
    texts = {forest.name_of(f.number, m) for f in forest.families for m in range(f.size)}
    assert texts == {"G:p", "Cos(G:p)", "root"}


def test_networkx() -> None:
    ns = Scope()
    ns.a << Meq.Time()
    ns.b << ns.a - ns.a
    graph = ns.forest().to_networkx()
    assert sorted(data["name"] for _, data in graph.nodes(data=True)) == ["a", "b"]
    assert graph.number_of_edges() == 2


def test_forest_can_be_extended_and_built_again() -> None:
    ns = Scope()
    ns.a << Meq.Time()
    first = ns.forest()
    ns.b << Meq.Sin(ns.a)
    second = ns.forest()
    assert len(first) == 1
    assert len(second) == 2
    assert first != second
    assert ns.forest() == second


def test_attribute_assignment_is_refused() -> None:
    with pytest.raises(RimetreeError, match=r"write ns\.x << "):
        Scope().x = 3


def test_maker_names() -> None:
    assert "Sin" in names()
    assert "Sin" in dir(Meq)
    assert not hasattr(Meq, "sin")
    with pytest.raises(RimetreeError, match=r"'Sinn'.*did you mean 'Sin'"):
        get("Sinn")


def test_a_class_name_is_taken_once() -> None:
    original = get("Sin")
    with pytest.raises(RimetreeError, match=rf"Sin is defined twice, in {original.__module__} and in elsewhere"):
        node(type("Sin", (original,), {"__module__": "elsewhere"}))
    assert get("Sin") is original
    assert node(original) is original


def test_garbage_collection_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes, "LARGE", 10)
    before = gc.get_threshold()
    ns = Scope()
    for i in range(20):
        ns.a(i) << Meq.Sin(i)
    assert gc.get_threshold()[2] > before[2]
    ns.forest()
    assert gc.get_threshold() == before
    assert gc.isenabled()
    other = Scope()
    for i in range(20):
        other.a(i) << Meq.Sin(i)
    del other
    gc.collect()
    assert gc.get_threshold() == before


def test_deep_trees_do_not_overflow() -> None:
    ns = Scope()
    total = ns.x << Meq.Time()
    for _ in range(3000):
        total = Meq.Sin(total)
    ns.total << total
    assert len(ns.forest()) == 3001
    shared = ns.x
    for _ in range(100):  # 2^100 paths, 100 nodes
        shared = shared - shared
    ns.shared << shared
    assert len(ns.forest()) == 3101
