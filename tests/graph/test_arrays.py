"""Array-wise definitions make the same forests as loops; families do not depend on how many antennas there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rimetree.errors import RimetreeError
from rimetree.graph.forest import Forest
from rimetree.graph.registry import Meq
from rimetree.graph.scope import Scope

WAYS = ("loops", "arrays")


def calibration(antennas: list[str], directions: list[int], ways: dict[str, str]) -> Scope:
    """sum_d G_pd X_pqd G_qd^H = D_pq, each name defined in one of two ways."""
    ns = Scope()
    pairs = list(combinations(antennas, 2))
    P, Q = (np.array(c) for c in zip(*pairs, strict=True))
    A, D = np.array(antennas), np.array(directions)
    p, q, a = P[:, None], Q[:, None], A[:, None]
    if ways["G"] == "arrays":
        ns.gx.over(a, D) << Meq.Parm(1 + 0j, tags="gain", solint=(10, None))
        ns.gy.over(a, D) << Meq.Parm(np.arange(len(D)) + 1j, tags="gain")
        ns.G.over(a, D) << Meq.Matrix22(ns.gx.at(a, D), 0, 0, ns.gy.at(a, D))
    else:
        for n in antennas:
            for i, d in enumerate(directions):
                ns.gx(n, d) << Meq.Parm(1 + 0j, tags="gain", solint=(10, None))
                ns.gy(n, d) << Meq.Parm(i + 1j, tags="gain")
                ns.G(n, d) << Meq.Matrix22(ns.gx(n, d), 0, 0, ns.gy(n, d))
    if ways["V"] == "arrays":
        for d in directions:
            ns.X.over(P, Q, d) << Meq.Spigot(P, Q, column=f"D{d}")
        ns.V.over(p, q, D) << Meq.MatrixMultiply(ns.G.at(p, D), ns.X.at(p, q, D), Meq.ConjTranspose(ns.G.at(q, D)))
    else:
        for m, n in pairs:
            for d in directions:
                ns.X(m, n, d) << Meq.Spigot(m, n, column=f"D{d}")
                ns.V(m, n, d) << Meq.MatrixMultiply(ns.G(m, d), ns.X(m, n, d), Meq.ConjTranspose(ns.G(n, d)))
    if ways["eq"] == "arrays":
        ns.model.over(P, Q) << Meq.Add(ns.V.at(p, q, D))
        ns.eq.over(P, Q) << Meq.Condeq(ns.model.at(P, Q), Meq.Spigot(P.tolist(), Q.tolist()))
        ns.solve << Meq.Solver(ns.eq, solvable="gain")
    else:
        for m, n in pairs:
            ns.model(m, n) << Meq.Add(*[ns.V(m, n, d) for d in directions])
            ns.eq(m, n) << Meq.Condeq(ns.model(m, n), Meq.Spigot(m, n))
        ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    return ns


def edges(forest: Forest) -> set[tuple[str, str, str]]:
    """Class and name of each node with each child's name, from the browsing graph, not from Forest's equality."""
    graph = forest.to_networkx()
    data = graph.nodes
    return {(data[a]["cls"], data[a]["name"], data[b]["name"]) for a, b in graph.edges()}


@settings(max_examples=40, deadline=None)
@given(
    antennas=st.lists(st.sampled_from([f"m{i:03d}" for i in range(12)]), min_size=2, max_size=5, unique=True),
    directions=st.lists(st.integers(0, 20), min_size=1, max_size=3, unique=True),
    ways=st.fixed_dictionaries({name: st.sampled_from(WAYS) for name in ("G", "V", "eq")}),
)
def test_loops_and_arrays_make_the_same_forest(antennas, directions, ways) -> None:  # type: ignore[no-untyped-def]
    mixed = calibration(antennas, directions, ways).forest()
    loops = calibration(antennas, directions, dict.fromkeys(ways, "loops")).forest()
    assert mixed == loops
    assert set(mixed.names) == set(loops.names)
    assert edges(mixed) == edges(loops)


@pytest.mark.parametrize("way", WAYS)
def test_families_do_not_depend_on_the_number_of_antennas(way: str) -> None:
    def count(antennas: int) -> int:
        names = [f"m{i}" for i in range(antennas)]
        return len(calibration(names, [1, 2], dict.fromkeys(("G", "V", "eq"), way)).forest().families)

    assert count(4) == count(12)


def test_nodes_are_counted_once() -> None:
    n, d = 6, 3
    baselines = n * (n - 1) // 2
    forest = calibration([str(i) for i in range(n)], list(range(d)), dict.fromkeys(("G", "V", "eq"), "loops")).forest()
    adjoints = (n - 1) * d  # the first antenna is never second
    constants = 1  # 0
    assert len(forest) == constants + 3 * n * d + adjoints + 2 * baselines * d + 3 * baselines + 1
    sums = next(f for f in forest.families if f.cls.__name__ == "Add")
    assert sums.size == baselines
    assert sum(kid.index.shape[1] for kid in sums.kids) == d


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda ns: ns.extra << Meq.Time(), False),
        (lambda ns: ns.alias << ns.x(1), False),
        (lambda ns: ns.y << Meq.Cos(ns.x(1)) - ns.x(1), True),
        (lambda ns: ns.y << ns.x(1) - Meq.Cos(ns.x(1)), False),
        (lambda ns: ns.y << Meq.Cos(ns.x(1)) - ns.x(2), False),
    ],
)
def test_equality_of_forests(change, same) -> None:  # type: ignore[no-untyped-def]
    forests = []
    for altered in (False, True):
        ns = Scope()
        if altered:
            change(ns)
        ns.x.over([1, 2]) << Meq.Parm(1.0)
        if "y" not in {name for name, table in ns._root.names.items() if table.bound}:
            ns.y << Meq.Cos(ns.x(1)) - ns.x(1)
        forests.append(ns.forest())
    assert (forests[0] == forests[1]) is same
    assert forests[0] != "something else"


def test_values_per_member_and_one_for_all() -> None:
    ns = Scope()
    P = ["a", "b", "c"]
    ns.one.over(P) << Meq.Parm([[1, 2], [3, 4]])
    ns.each.over(P) << Meq.Parm(np.array([1.0, 2.0, 3.0]))
    ns.matrix.over(P) << Meq.Parm(np.arange(12.0).reshape(3, 2, 2))
    ns.product.over(P) << ns.each.at(P) * np.array([10.0, 20.0, 30.0])
    ns.constant.over(P) << Meq.Constant(np.array([7.0, 8.0, 7.0]))
    forest = ns.forest()

    def value(name: str) -> object:
        family, member = forest.find(name)
        return np.asarray(forest.families[family].members["value"][member]).tolist()

    assert [value(f"one:{p}") for p in P] == [[[1, 2], [3, 4]]] * 3
    assert [value(f"each:{p}") for p in P] == [1, 2, 3]
    assert value("matrix:b") == [[4, 5], [6, 7]]
    assert forest.find("constant:a") == forest.find("constant:c") != forest.find("constant:b")
    loops = Scope()
    for i, p in enumerate(P):
        loops.one(p) << Meq.Parm([[1, 2], [3, 4]])
        loops.each(p) << Meq.Parm(i + 1.0)
        loops.matrix(p) << Meq.Parm(np.arange(12.0).reshape(3, 2, 2)[i])
        loops.product(p) << loops.each(p) * (10.0 * (i + 1))
        loops.constant(p) << Meq.Constant([7.0, 8.0, 7.0][i])
    assert forest == loops.forest()


def test_what_a_class_with_many_children_spreads_over() -> None:
    ns = Scope()
    P, D = np.array(["a", "b"]), np.array([1, 2, 3])
    ns.x.over(P[:, None], D) << Meq.Parm(1.0)
    ns.y.over(P) << Meq.Parm(1.0)
    ns.sum.over(P) << Meq.Add(ns.x.at(P[:, None], D))
    ns.scaled.over(P) << Meq.Add(ns.x.at(P[:, None], D)) * ns.y.at(P)
    ns.squares.over(P) << Meq.Add(ns.x.at(P[:, None], D) * ns.x.at(P[:, None], D))
    ns.chain.over(P) << Meq.MatrixMultiply(ns.x.at(P[:, None], D))
    ns.total << Meq.Add(ns.x.all())
    ns.again << Meq.Add(ns.x)
    ns.both.over(P[:, None], D) << ns.x.at(P[:, None], D) * ns.y.at(P[:, None])
    loops = Scope()
    for p in P:
        loops.y(p) << Meq.Parm(1.0)
        for d in D:
            loops.x(p, d) << Meq.Parm(1.0)
            loops.both(p, d) << loops.x(p, d) * loops.y(p)
        terms = [loops.x(p, d) for d in D]
        loops.sum(p) << Meq.Add(*terms)
        loops.scaled(p) << Meq.Add(*terms) * loops.y(p)
        loops.squares(p) << Meq.Add(*[t * t for t in terms])
        loops.chain(p) << Meq.MatrixMultiply(*terms)
    loops.total << Meq.Add(*loops.x)
    loops.again << Meq.Add(loops.x)
    assert ns.forest() == loops.forest()


def test_members_and_loop_made_nodes_refer_to_each_other() -> None:
    ns = Scope()
    P = ["a", "b", "c"]
    for p in P:
        ns.loop(p) << Meq.Sin(ns.member(p))
    ns.member.over(P) << Meq.Parm(1.0)
    ns.user.over(P[:2]) << Meq.Cos(ns.loop.at(P[:2]))
    ns.alias.over(P) << ns.user.at("a")
    forest = ns.forest()
    assert forest.find("alias:c") == forest.find("user:a")
    assert {"Cos(loop:a)"} == {"Cos(" + forest.name_of(*_child(forest, "user:a")) + ")"}
    assert forest.name_of(*_child(forest, "loop:c")) == "member:c"


def _child(forest: Forest, name: str) -> tuple[int, int]:
    family, member = forest.find(name)
    kid = forest.families[family].kids[0]
    return kid.family, int(kid.index[member])


def test_over_returns_a_reference_and_stub_qualifiers_come_first() -> None:
    ns = Scope()
    x = ns.x("fixed").over([1, 2], k=["u", "v"]) << Meq.Parm(1.0)
    ns.y.over([1, 2]) << Meq.Sin(x)
    forest = ns.forest()
    assert set(forest.names) == {"x:fixed:1:k=u", "x:fixed:2:k=v", "y:1", "y:2"}
    assert [str(s) for s in ns.x] == ["x:fixed:1:k=u", "x:fixed:2:k=v"]
    assert len(ns.x) == 2


def test_script_lines_of_members() -> None:
    ns = Scope()
    ns.x.over([1, 2, 3]) << Meq.Sin(np.arange(3.0))
    forest = ns.forest()
    line = test_script_lines_of_members.__code__.co_firstlineno + 2
    assert all(forest.where(*forest.find(f"x:{i}")).endswith(f"test_arrays.py:{line}") for i in (1, 2, 3))


def test_shapes_of_qualifiers_must_broadcast() -> None:
    with pytest.raises(RimetreeError, match="do not broadcast"):
        Scope().x.over([1, 2], [1, 2, 3])


def test_qualifiers_with_huge_products_of_distinct_values() -> None:
    ns = Scope()
    n = 3000
    rows = [np.random.default_rng(i).permutation(n) for i in range(6)]
    ns.x.over(*rows) << Meq.Constant(np.arange(float(n)))
    ns.y.over(np.arange(n)) << Meq.Sin(ns.x.at(*[r[::-1] for r in rows]))
    forest = ns.forest()
    family, member = _child(forest, "y:5")
    assert forest.families[family].members["value"][member] == n - 1 - 5
