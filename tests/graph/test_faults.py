"""Every mistake in a tree is reported, all at once, with node and script line; none gives a traceback of ours."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from rimetree.errors import ForestError, Issue
from rimetree.graph.registry import Meq
from rimetree.graph.scope import Scope


def faults(ns: Scope) -> list[Issue]:
    with pytest.raises(ForestError) as caught:
        ns.forest()
    return list(caught.value.issues)


def here() -> str:
    """The script line before that of the caller, as the messages have it."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno - 1}"


def test_all_faults_at_once_with_their_lines() -> None:
    ns = Scope()
    ns.x << Meq.Time()
    expected = {}
    ns.a << Meq.Sin(ns.xx)
    expected["xx"] = here(), "did you mean 'x'"
    ns.b << Meq.Sin()
    expected["b"] = here(), "takes 1 child"
    ns.c << Meq.Sinn(ns.x)
    expected["c"] = here(), "did you mean 'Sin'"
    ns.d << Meq.Sin(ns.x, colour=1)
    expected["d"] = here(), "no option 'colour'"
    ns.e << Meq.Sin(None)
    expected["e"] = here(), "not None"
    ns.f << Meq.Sin("x")
    expected["f"] = here(), r"write ns\['x'\]"
    ns.g << Meq.Sin(ns.h)
    line = here()
    ns.h << Meq.Cos(ns.g)
    expected["g"] = line, "g -> h -> g"
    ns.i << 3
    first = here()
    ns.i << 4
    expected["i"] = here(), "already defined differently at " + first
    found = {issue.node: issue for issue in faults(ns)}
    assert found.keys() == expected.keys()
    for node, (where, words) in expected.items():
        assert found[node].where == where, node
        assert words.replace("\\", "") in found[node].message, node


def test_one_fault_reads_well() -> None:
    ns = Scope()
    ns.gain("m001") << Meq.Parm(1)
    ns.root << Meq.Sin(ns.gian("m001"))
    (issue,) = faults(ns)
    assert issue.node == "gian:m001"
    assert issue.message == "used here but never defined (did you mean 'gain:m001'?)"


def test_a_fault_of_many_nodes_of_one_line_is_one_fault() -> None:
    ns = Scope()
    for p in range(100):
        ns.g(p) << Meq.Parm("one")
    (issue,) = faults(ns)
    assert issue.node == "g:0"
    assert "99 more from this line" in issue.message


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (lambda ns: Meq.Polar(1), "takes 2 children (amplitude, phase), got 1"),
        (lambda ns: Meq.Polar(1, 2, 3), "takes 2 children (amplitude, phase), got 3"),
        (lambda ns: Meq.Add(), "takes at least 1"),
        (lambda ns: Meq.Solver(*ns.nothing, solvable="a"), "must be bound before *ns.name"),
        (lambda ns: Meq.Time(ns.x), "takes no children"),
        (lambda ns: Meq.Spigot("a"), "needs the option q"),
        (lambda ns: Meq.Spigot("a", "b", colum="DATA"), "did you mean 'column'"),
        (lambda ns: Meq.Spigot("a", "b", column=3), "column must be the name of a column, not 3"),
        (lambda ns: Meq.Spigot("a", 1.5), "q must be a text or a whole number, not 1.5"),
        (lambda ns: Meq.Spigot("a", ns.x), "q is an option and cannot be a node"),
        (lambda ns: Meq.PointSource(1, 0, 0, 0, basis="linaer"), "did you mean 'linear'"),
        (lambda ns: Meq.Parm(1, solint=(1, 2, 3)), "solint"),
        (lambda ns: Meq.Parm(1, tags=3), "tags must be"),
        (lambda ns: Meq.Parm([[1, 2], [3]]), "value"),
        (lambda ns: Meq.Sin([ns.x]), "*list passes each as a child"),
        (lambda ns: Meq.Sin([]), "the list is empty"),
        (lambda ns: Meq.Sin({}), "must be a node or a number"),
        (lambda ns: Meq.PhaseDelay([ns.x, 0, 1], [0, 0, 0]), "Meq.Composer(*list) makes one vector of its nodes"),
        (lambda ns: ns.x + "a", "must be a node or a number, not 'a'"),
        (lambda ns: Meq.Solver(ns.x, solvable="a"), "children of Solver must be equations"),
        (lambda ns: Meq.Sin(Meq.Sink(ns.x)), "not a node of role 'sink'"),
        (lambda ns: Meq.Sin(Meq.Solver(Meq.Condeq(ns.x, 1), solvable="a")), "not a node of role 'solver'"),
        (lambda ns: Meq.Sin(ns.many), "never defined"),
    ],
)
def test_each_fault(define, words) -> None:  # type: ignore[no-untyped-def]
    ns = Scope()
    ns.x << Meq.Time()
    ns.many(1) << Meq.Time()
    ns.bad << define(ns)
    (issue,) = faults(ns)
    assert words in issue.message
    assert issue.where == f"{__file__}:{define.__code__.co_firstlineno}"


def test_an_anonymous_node_is_named_by_its_parent() -> None:
    ns = Scope()
    ns.root << Meq.Sin(Meq.Cos(Meq.Polar(1)))
    (issue,) = faults(ns)
    assert "root" in issue.node
    assert "Polar" in issue.message


def test_binding_nonsense_is_collected() -> None:
    ns = Scope()
    ns.a << None
    ns.b << "text"
    ns.c << {}
    assert [issue.node for issue in faults(ns)] == ["a", "b", "c"]


def test_binding_the_same_again_is_silent() -> None:
    ns = Scope()
    for _ in range(2):
        ns.x << Meq.Time()
        ns.a << Meq.Parm(1, tags="a")
        ns.b(1) << Meq.Sin(ns.x) + 3
        ns.c << ns.b(1)
        ns.d.over([1, 2]) << Meq.Parm(np.array([1.0, 2.0]))
    assert len(ns.forest()) == 7


def test_binding_a_different_parm_again_is_not() -> None:
    ns = Scope()
    ns.a << Meq.Parm(1)
    ns.a << Meq.Parm(2)
    (issue,) = faults(ns)
    assert issue.node == "a"
    assert "already defined differently" in issue.message


def test_arrays_and_loops_must_agree() -> None:
    ns = Scope()
    ns.a.over([1, 2, 3]) << Meq.Constant(np.arange(3.0))
    ns.a(2) << Meq.Constant(1.0)
    ns.forest()
    ns.a(3) << Meq.Constant(5.0)
    (issue,) = faults(ns)
    assert issue.node == "a:3"


@pytest.mark.parametrize("length", [1, 2, 3, 1000])
def test_cycles_of_any_length_and_depth(length: int) -> None:
    ns = Scope()
    for i in range(length):
        ns.a(i) << Meq.Sin(Meq.Cos(ns.a((i + 1) % length)))
    ns.user << Meq.Sin(ns.a(0))
    (issue,) = faults(ns)
    assert issue.message.count(" -> ") == length


def test_aliases_of_each_other_are_a_cycle() -> None:
    ns = Scope()
    ns.a << ns.b
    ns.b << ns.c
    ns.c << ns.a
    ns.d << Meq.Sin(ns.c)
    (issue,) = faults(ns)
    assert "a -> b -> c -> a" in issue.message
    ns = Scope()
    ns.a << ns.a
    (issue,) = faults(ns)
    assert issue.message == "needs itself: a -> a"


def test_several_cycles() -> None:
    ns = Scope()
    for name in "ab":
        ns[name](0) << Meq.Sin(ns[name](1))
        ns[name](1) << Meq.Sin(ns[name](0))
    assert len(faults(ns)) == 2


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (lambda ns, P: Meq.Sin(ns.x.at([*P, "q"])), "does not fit the shape (3,)"),
        (lambda ns, P: Meq.Sin(ns.x.at(P[:2])), "does not fit the shape (3,)"),
        (lambda ns, P: Meq.Sin(ns.y.at(P)), "did you mean 'x:a'"),
        (lambda ns, P: Meq.Constant(np.arange(2.0)), "does not fit the shape (3,)"),
        (lambda ns, P: Meq.Parm(np.arange(2.0)), "nested list"),
        (lambda ns, P: Meq.Polar(ns.x.at(P), ns.x.at(P[:2])), "do not broadcast"),
        (lambda ns, P: Meq.Polar(ns.x.at(P)), "takes 2 children"),
        (lambda ns, P: Meq.Sin(ns.x), "never defined"),
        (lambda ns, P: Meq.Spigot(P, [1.5, 2.5, 3.5]), "q must be a text or a whole number, not 1.5"),
        (lambda ns, P: Meq.Sinn(ns.x.at(P)), "did you mean 'Sin'"),
        (lambda ns, P: Meq.Add(ns.nothing.all()), "never defined"),
    ],
)
def test_faults_of_arrays(define, words) -> None:  # type: ignore[no-untyped-def]
    ns = Scope()
    P = ["a", "b", "c"]
    ns.x.over([*P, "q"]) << Meq.Time()
    ns.bad.over(P) << define(ns, P)
    found = faults(ns)
    assert any(words in issue.message for issue in found), found
    assert {issue.where for issue in found} == {f"{__file__}:{define.__code__.co_firstlineno}"}


def test_a_single_node_cannot_be_many() -> None:
    ns = Scope()
    ns.x.over(list("abc")) << Meq.Time()
    ns.y << Meq.Sin(ns.x.at(list("abc")))
    (issue,) = faults(ns)
    assert "has shape (3,)" in issue.message
    assert ".over" in issue.message


def test_thousands_of_undefined_nodes_are_summed_up() -> None:
    ns = Scope()
    for i in range(3000):
        ns.a(i) << Meq.Sin(ns.b(i))
    found = faults(ns)
    assert len(found) < 100
    assert "more from this line" in found[-1].message
