"""Names for null directions: what the data leave free, said in words such as "phase of all gx".

A null direction is compared with moves that a person has a name for: the phase, the scale or the common value of all Parms
of one label (or of those with one qualifier in common, such as a direction), and for Jones matrices the generators of
G -> G U. What remains is described by the Parms that take part. Nothing here knows of a particular equation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, takewhile

import numpy as np

from ...blas import alone

ALIKE = 1e-3
"""Two unit directions are the same where they differ by less."""

NUMBERED, SAID = re.compile(r" \(coefficient \d+\)"), 4
"""What is said of a coefficient other than the first, and of how many in words of their own."""

_UNITARY = (
    ("phase of all {}", 1j * np.eye(2)),
    ("x-y phase of {}", 1j * np.diag([1, -1])),
    ("x-y rotation of {}", np.array([[0, 1], [-1, 0]])),
    ("x-y ellipticity of {}", np.array([[0, 1j], [1j, 0]])),
)
_HERMITIAN = (
    ("scale of all {}", np.eye(2)),
    ("x-y scale of {}", np.diag([1, -1])),
    ("x-y shear of {}", np.array([[0, 1], [1, 0]])),
    ("x-y elliptic shear of {}", np.array([[0, 1j], [-1j, 0]])),
)


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What each unknown (n,) is: its Parm, which coefficient of it, and 0 for a real one, 1 and 2 for the parts of a
    complex one (the imaginary part follows the real one)."""

    node: np.ndarray
    coefficient: np.ndarray
    part: np.ndarray

    def of(self, unknowns: np.ndarray) -> Meaning:
        """Some unknowns only."""
        return Meaning(self.node[unknowns], self.coefficient[unknowns], self.part[unknowns])


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """Unknowns whose phases, or values, a null direction changes alike: kind "phase", "common value", or "x-y phase" for
    opposite phases of the columns of matrices."""

    kind: str
    unknowns: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Free:
    """What is free in some intervals: in words, and what of it a reference antenna can fix."""

    words: tuple[str, ...]
    turns: tuple[Turn, ...]

    def __str__(self) -> str:
        return "; ".join(self.words)


@dataclass(frozen=True, slots=True)
class _Move:
    """A direction with a name: kind "phase", "scale", "common value" or "" (then `who` is the whole name). `turns`: the
    kind of `Turn` that it is."""

    kind: str
    who: str
    direction: np.ndarray
    turns: str = ""

    def over(self, unit: np.ndarray) -> _Move:
        """The same in units (n,)."""
        return replace(self, direction=self.direction / unit)

    def __str__(self) -> str:
        return f"{self.kind} of {self.who}" if self.kind else self.who


def freedoms(
    meaning: Meaning | None,
    matrices: np.ndarray,
    theta: np.ndarray,
    null: np.ndarray,
    known: dict[bytes, Free] | None = None,
    variance: np.ndarray | None = None,
) -> tuple[np.ndarray, list[Free]]:
    """What is free in each interval: (S,) numbers into a list.

    matrices (k, 4): see `Retraction`; theta (n, S) the solution; null (n, m, S) null directions, zero where there are
    fewer. Intervals in which the same unknowns take part in the same number of directions are looked at once; what was
    found is kept in `known` for the next intervals of the same problem. Without `meaning` nothing has a name. `variance` (n, S)
    of each unknown if the others were known makes those of different units comparable (a delay of 1 s is no smaller than
    a phase of 1 rad).
    """
    if meaning is None or not null.any():
        return np.zeros(theta.shape[1], int), [Free((), ())]
    unit = _units(meaning, variance)
    null = null / unit[:, None, None]
    size = np.linalg.norm(null, axis=0)
    null /= np.where(size > 0, size, 1)
    count = null.any(0).sum(0)
    part = (np.abs(null).max(1) > ALIKE * np.abs(null).max((0, 1))[None]) & (count > 0)
    pair = np.flatnonzero(meaning.part == 1)  # the two parts of a complex unknown count as one
    part[pair] = part[pair + 1] = part[pair] | part[pair + 1]
    key = np.concatenate([np.packbits(part, axis=0), count[None].astype(np.uint8)]).T
    _, first, number = np.unique(np.ascontiguousarray(key), axis=0, return_index=True, return_inverse=True)
    known = {} if known is None else known
    found = []
    for s in first.tolist():
        name = key[s].tobytes()
        if name not in known:
            known[name] = _describe(meaning, matrices, theta[:, s], null[:, :, s], unit)
        found.append(known[name])
    return number.reshape(-1), found


def in_words(number: np.ndarray, free: Sequence[Free]) -> tuple[np.ndarray, list[str]]:
    """The same as numbers into a list of distinct texts, "" where all is determined."""
    texts = [str(f) for f in free]
    distinct = list(dict.fromkeys(texts))
    return np.array([distinct.index(text) for text in texts])[number], distinct


def _units(meaning: Meaning, variance: np.ndarray | None) -> np.ndarray:
    """(n,) a typical error of the unknowns of one label and coefficient, 1 where none is known."""
    unit = np.ones(len(meaning.node))
    if variance is None:
        return unit
    kinds = np.stack([np.unique(_labels(meaning), return_inverse=True)[1], meaning.coefficient])
    distinct, kind = np.unique(kinds, axis=1, return_inverse=True)
    for k in range(distinct.shape[1]):
        own = variance[kind.ravel() == k]
        own = own[np.isfinite(own) & (own > 0)]
        if own.size:
            unit[kind.ravel() == k] = np.sqrt(np.median(own))
    return unit


@alone()
def _describe(meaning: Meaning, matrices: np.ndarray, theta: np.ndarray, null: np.ndarray, unit: np.ndarray) -> Free:
    """The null directions (n, m) of one interval, in units (n,), one word for each or for several alike."""
    space, strength, _ = np.linalg.svd(null, full_matrices=False)
    space = space[:, strength > ALIKE]
    if not space.shape[1]:
        return Free((), ())
    alive = np.abs(space).max(1) > 1e-9
    first = np.flatnonzero(meaning.part == 1)  # the two parts of a complex one together: a real gain turns in one alone
    alive[first] = alive[first + 1] = alive[first] | alive[first + 1]
    words: list[str] = []
    turns: list[Turn] = []
    whole = space
    for text, directions in _products(meaning, matrices, theta, alive, space.shape[1]):
        inside = [d / unit for d in directions]
        if all(_inside(d, space) for d in inside):
            words.append(text)
            space = _without(space, inside)
    for moves in _partitions(meaning, matrices, theta, alive, space.shape[1]):
        group = [m.over(unit) for m in moves]
        if all(_inside(m.direction, space) for m in group):
            words += [str(m) for m in group]
            turns += [t for m in group if (t := _turn([m]))]
            space = _without(space, [m.direction for m in group])
    moves = [*_matrix_moves(meaning, matrices, theta, alive), *_label_moves(meaning, matrices, theta, alive)]
    moves = [m.over(unit) for m in moves]
    # Beside factors of a product, what is left is no move of its own any more: the sum of both is.
    for move in moves if words else ():
        if _inside(move.direction, whole) and not _outside(move.direction, space):
            words.append(str(move))
            turns += [t] if (t := _turn([move])) else []
            space = _without(space, [move.direction])
    combined, more, space = _combined(moves, space)
    words += combined
    if space.shape[1]:
        words.append(_rest(meaning, theta / unit, space))
    return Free(_gathered(words), (*turns, *more))


def _gathered(words: Sequence[str]) -> tuple[str, ...]:
    """Words in one for all coefficients, where more than SAID differ in the number of the coefficient only."""
    of = [NUMBERED.sub("", word) if len(set(NUMBERED.findall(word))) == 1 else word for word in words]
    count = Counter(of)
    return tuple(
        dict.fromkeys(
            f"{own} (of each of {count[own]} coefficients)" if count[own] > SAID else word
            for own, word in zip(of, words, strict=True)
        )
    )


def _turn(moves: Sequence[_Move]) -> Turn | None:
    (kind,) = {m.turns for m in moves}
    return Turn(kind, np.flatnonzero(np.any([m.direction != 0 for m in moves], axis=0))) if kind else None


def _labels(meaning: Meaning) -> np.ndarray:
    return np.array([node.split(":")[0] for node in meaning.node.tolist()])


def _moves(meaning: Meaning, theta: np.ndarray, chosen: np.ndarray, who: str) -> Iterator[_Move]:
    """Phase and scale of the chosen unknowns, and for real ones a common value (of each coefficient)."""
    real, first, second = (chosen & (meaning.part == p) for p in range(3))
    if first.any():
        turned = np.zeros(len(theta))
        turned[first], turned[second] = -theta[second], theta[first]
        yield _Move("phase", who, turned, "phase")
    yield _Move("scale", who, np.where(chosen, theta, 0))
    for coefficient in np.unique(meaning.coefficient[real]):
        which = f" (coefficient {coefficient})" if coefficient else ""
        direction = (real & (meaning.coefficient == coefficient)) * 1.0
        yield _Move("common value", f"{who}{which}", direction, "common value")


def _of_matrix(matrices: np.ndarray, count: int) -> np.ndarray:
    found = np.zeros(count, bool)
    found[matrices.ravel()] = found[matrices.ravel() + 1] = True
    return found


def _label_moves(meaning: Meaning, matrices: np.ndarray, theta: np.ndarray, alive: np.ndarray) -> Iterator[_Move]:
    label = _labels(meaning)
    alive = alive & ~_of_matrix(matrices, len(theta))
    for name in dict.fromkeys(label[alive].tolist()):
        chosen = alive & (label == name)
        nodes = np.unique(meaning.node[chosen])
        yield from _moves(meaning, theta, chosen, str(nodes[0]) if len(nodes) == 1 else f"all {name}")


def _partitions(
    meaning: Meaning, matrices: np.ndarray, theta: np.ndarray, alive: np.ndarray, most: int
) -> Iterator[list[_Move]]:
    """Moves of one kind for each of at most `most` values of a qualifier of a label, such as the phases of all gains of each
    direction."""
    label = _labels(meaning)
    alive = alive & ~_of_matrix(matrices, len(theta))
    for name in dict.fromkeys(label[alive].tolist()):
        own = np.flatnonzero(alive & (label == name))
        parts = [node.split(":")[1:] for node in meaning.node[own].tolist()]
        depth = min(map(len, parts))
        for place in range(depth if depth > 1 else 0):
            values = np.array([p[place] for p in parts])
            distinct = dict.fromkeys(values.tolist())
            if not 1 < len(distinct) <= most:
                continue
            kinds: dict[str, list[_Move]] = {}
            for value in distinct:
                chosen = np.zeros(len(theta), bool)
                chosen[own[values == value]] = True
                stars = ["*"] * depth
                stars[place] = value
                for move in _moves(meaning, theta, chosen, ":".join([name, *stars])):
                    kinds.setdefault(move.kind, []).append(move)
            yield from kinds.values()


def _products(
    meaning: Meaning, matrices: np.ndarray, theta: np.ndarray, alive: np.ndarray, most: int
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Scale and phase between two labels, or one and all others, for each of the qualifiers in common, at most `most`: factors of a
    product of which only the product is known."""
    alive = alive & ~_of_matrix(matrices, len(theta)) & (meaning.part > 0)
    parts = np.array([node.partition(":") for node in meaning.node.tolist()])
    found: dict[str, list[str]] = {}
    for label, _, qualifier in dict.fromkeys(map(tuple, parts[alive].tolist())):
        found.setdefault(label, []).append(qualifier)
    pairs: list[tuple[str, tuple[str, ...]]] = [(one, (other,)) for one, other in combinations(found, 2)]
    if len(found) > 2:
        pairs += [(one, tuple(label for label in found if label != one)) for one in found]
    for one, others in pairs:
        common = [q for q in found[one] if all(q in found[other] for other in others)]
        if len(common) < len(found[one]) or not 2 <= len(common) <= most:
            continue
        for kind in ("phase", "scale"):
            directions = []
            for qualifier in common:
                ours, theirs = (
                    alive & np.isin(parts[:, 0], names) & (parts[:, 2] == qualifier) for names in ((one,), others)
                )
                first, second = (
                    next(m for m in _moves(meaning, theta, c, "") if m.kind == kind) for c in (ours, theirs)
                )
                directions.append(first.direction - second.direction)
            yield f"{kind} between {one} and {', '.join(others)}, for each of {len(common)}", directions


def _matrix_moves(meaning: Meaning, matrices: np.ndarray, theta: np.ndarray, alive: np.ndarray) -> Iterator[_Move]:
    """G -> G (1 + e K) for all matrices of one name."""
    rows = matrices[alive[matrices].any(1)] if len(matrices) else matrices
    label = _labels(meaning)
    names = [_common([str(label[p]) for p in row]) for row in rows]
    for name in dict.fromkeys(names):
        own = rows[[n == name for n in names]]
        matrix = (theta[own] + 1j * theta[own + 1]).reshape(-1, 2, 2)
        for text, generator in (*_UNITARY, *_HERMITIAN):
            moved = (matrix @ generator).reshape(-1, 4)
            direction = np.zeros(len(theta))
            direction[own], direction[own + 1] = moved.real, moved.imag
            turns = {"phase of all {}": "phase", "x-y phase of {}": "x-y phase"}.get(text, "")
            yield _Move("", text.format(name or "Jones"), direction, turns)


def _common(words: Sequence[str]) -> str:
    """What words begin with alike: "G" for G.xx, G.xy..."""
    alike = [letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False))]
    return "".join(alike).rstrip("._")


def _inside(direction: np.ndarray, space: np.ndarray) -> bool:
    size = float(np.linalg.norm(direction))
    return size > 0 and bool(np.linalg.norm(direction - space @ (space.T @ direction)) < ALIKE * size)


def _outside(direction: np.ndarray, space: np.ndarray) -> bool:
    """Whether nothing of a direction is in a space."""
    return bool(np.linalg.norm(space.T @ direction) < ALIKE * np.linalg.norm(direction))


def _without(space: np.ndarray, directions: Sequence[np.ndarray]) -> np.ndarray:
    """What is left of a space (n, m) once some directions in it are taken out."""
    inner, _ = np.linalg.qr(space.T @ np.stack(directions, 1))
    left, strength, _ = np.linalg.svd(space - space @ (inner @ inner.T), full_matrices=False)
    return np.asarray(left[:, strength > 0.5])


def _combined(moves: Sequence[_Move], space: np.ndarray) -> tuple[list[str], list[Turn], np.ndarray]:
    """The directions of a space that are combinations of moves, in words and as turns, and what is left of it."""
    kept: list[_Move] = []
    basis: list[np.ndarray] = []
    span = np.empty((0, len(space)))
    for move in moves:  # without those that earlier ones make up
        size = np.linalg.norm(move.direction)
        if size and not _inside(move.direction, span.T):
            kept.append(move)
            basis.append(move.direction / size)
            left = basis[-1] - (span @ basis[-1]) @ span
            left -= (span @ left) @ span
            span = np.concatenate([span, left[None] / np.linalg.norm(left)])
    if not kept or not space.shape[1]:
        return [], [], space
    unit = np.stack(basis, 1)
    outside = np.linalg.qr(unit - space @ (space.T @ unit), mode="r")
    _, strength, right = np.linalg.svd(outside, full_matrices=True)
    strength = np.pad(strength, (0, len(kept) - len(strength)))
    rows = _reduced(right[strength < ALIKE])
    if not len(rows):
        return [], [], space
    sizes = np.array([np.linalg.norm(m.direction) for m in kept])
    turns = []
    for row in rows:
        used = [i for i in range(len(kept)) if abs(row[i]) > 10 * ALIKE * np.abs(row).max()]
        rate = (row / sizes)[used]
        alike = np.ptp(rate) < 10 * ALIKE * np.abs(rate).max() and len({kept[i].turns for i in used}) == 1
        if alike and (turn := _turn([kept[i] for i in used])):
            turns.append(turn)
    return [_words(kept, row) for row in rows], turns, _without(space, list(rows @ unit.T))


def _reduced(rows: np.ndarray) -> np.ndarray:
    """Reduced row echelon form: as few moves in each row as can be."""
    rows, place = rows.copy(), 0
    for column in range(rows.shape[1]):
        if place == len(rows):
            break
        best = place + int(np.abs(rows[place:, column]).argmax())
        if abs(rows[best, column]) < 10 * ALIKE:
            continue
        rows[[place, best]] = rows[[best, place]]
        rows[place] /= rows[place, column]
        others = np.arange(len(rows)) != place
        rows[others] -= rows[others, column][:, None] * rows[place]
        place += 1
    return rows[:place]


def _words(moves: Sequence[_Move], row: np.ndarray) -> str:
    used = np.flatnonzero(np.abs(row) > 10 * ALIKE * np.abs(row).max()).tolist()
    own = [moves[i] for i in used]
    if len(own) == 1:
        return str(own[0])
    kinds = {m.kind for m in own}
    if kinds == {""} or len(kinds) > 1:
        return "a combination of " + " and ".join(map(str, own))
    kind = kinds.pop().removeprefix("common ")
    opposed = any(row[i] * row[j] < 0 for i, j in pairwise(used))
    who = [m.who for m in own]
    if opposed:
        return f"{kind} between {' and '.join(who)}"
    return f"common {kind} of {' and '.join(who)}"


def _rest(meaning: Meaning, theta: np.ndarray, space: np.ndarray) -> str:
    """A text for directions that no known move explains."""
    row = (space**2).sum(1)
    taking = row > ALIKE**2 * row.max()
    nodes = list(dict.fromkeys(meaning.node[taking].tolist()))
    labels = dict.fromkeys(node.split(":")[0] for node in nodes)
    who = ", ".join(nodes) if len(nodes) <= 4 else f"{len(nodes)} Parms ({', '.join(labels)})"
    first = np.flatnonzero(taking & (meaning.part == 1))
    kind = "values"
    if first.size and not (taking & (meaning.part == 0)).any():
        power = theta[first] ** 2 + theta[first + 1] ** 2
        along = theta[first, None] * space[first] + theta[first + 1, None] * space[first + 1]
        share = (along**2 / np.maximum(power, 1e-300)[:, None]).sum() / row[taking | np.roll(taking, 1)].sum()
        kind = "phases" if share < 0.01 else "amplitudes" if share > 0.99 else "values"
    several = f"{space.shape[1]} patterns" if space.shape[1] > 1 else "a pattern"
    return f"{several} of {kind} of {who}"
