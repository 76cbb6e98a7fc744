"""Joint fits of any class structure against Gauss and Newton in numpy: minima, who has a solution, errors of what is determined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

STATIONS, SLOTS, CHANS, NOISE = 4, 7, 5, 0.3
SOURCES = np.array([[[5.4, 0.7 + 0.2j], [0.7 - 0.2j, 4.6]], [[2.2, 0.4j], [-0.4j, 1.8]], [[1.5, -0.5], [-0.5, 2.5]]])
PARMS = {"gain": ("x", "y"), "amplitude": ("x", "y"), "phase": ("x", "y"), "leak": ("xy", "yx")}


@dataclass(frozen=True)
class Term:
    """One Jones matrix per station, with its solution intervals."""

    kind: str
    solint: tuple[int | None, int | None]

    @property
    def parts(self) -> int:
        """Real numbers per Parm."""
        return 2 if self.kind in ("gain", "leak") else 1

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """The interval of every slot and of every channel."""
        t, f = ((np.arange(n) // (own or n)) for n, own in zip((SLOTS, CHANS), self.solint, strict=True))
        return t, f

    @property
    def shape(self) -> tuple[int, ...]:
        """(Parm, station, time, frequency, part) of its unknowns."""
        t, f = self.cells()
        return 2, STATIONS, t[-1] + 1, f[-1] + 1, self.parts

    def jones(self, values: np.ndarray) -> np.ndarray:
        """(station, slot, channel, 2, 2)."""
        t, f = self.cells()
        own = (values @ (1, 1j)[: self.parts])[:, :, t][..., f]
        if self.kind == "phase":
            own = np.exp(1j * own)
        made = np.zeros((*own.shape[1:], 2, 2), complex)
        made[..., [0, 1], [0, 1]] = 1
        places = ((0, 1), (1, 0)) if self.kind == "leak" else ((0, 0), (1, 1))
        for place, element in zip(places, own, strict=True):
            made[(..., *place)] = element
        return made

    def nodes(self, ns: Any, name: str, p: str) -> Any:
        """The matrix of a station."""
        start = {"gain": 1 + 0j, "amplitude": 1.0, "phase": 0.0, "leak": 0j}[self.kind]
        x, y = (ns[name + h](p) << Meq.Parm(start, tags="joint", solint=self.solint) for h in PARMS[self.kind])
        if self.kind == "leak":
            return Meq.Matrix22(1, x, y, 1)
        return Meq.Matrix22(*((Meq.Polar(1, x), 0, 0, Meq.Polar(1, y)) if self.kind == "phase" else (x, 0, 0, y)))


class Case:
    """An observation of a chain of terms, with flags, and its residuals by numpy."""

    def __init__(self, path: Path, terms: list[Term], seed: int, dead: bool) -> None:
        from casacore.tables import table

        self.terms, self.path, rng = terms, path, np.random.default_rng(seed)
        rt.simulate(
            path, antennas=STATIONS, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6), noise=NOISE, overwrite=True
        )
        with table(str(path), readonly=False, ack=False) as main:
            self.p, self.q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
            self.slot = np.unique(main.getcol("TIME"), return_inverse=True)[1]
            fringe = np.exp(1j * rng.uniform(-3, 3, (2, len(self.p), CHANS)))
            self.model = (SOURCES[0] + np.einsum("srf,sij->rfij", fringe, SOURCES[1:])).astype(np.complex64)
            self.truth = np.concatenate([self._draw(rng, term) for term in terms])
            clean = self.predicted(self.truth)
            noise = rng.normal(size=(2, *clean.shape)) * NOISE / np.sqrt(2)
            self.data = (clean + noise[0] + 1j * noise[1]).astype(np.complex64)
            flags = rng.random(clean.shape) < 0.3
            if dead:
                flags |= ((self.p == 1) | (self.q == 1))[:, None, None, None]
            self.good = ~flags
            for name, values in (("DATA", self.data), ("FLAG", flags)):
                main.putcol(name, values.reshape(len(self.p), CHANS, 4))
        with rt.MeasurementSet(path) as ms:
            ms.ensure_column("MODEL_DATA")
        with table(str(path), readonly=False, ack=False) as main:
            main.putcol("MODEL_DATA", self.model.reshape(len(self.p), CHANS, 4))

    def _draw(self, rng: np.random.Generator, term: Term) -> np.ndarray:
        away = {"gain": 0.2, "amplitude": 0.2, "phase": 0.4, "leak": 0.05}[term.kind] * rng.normal(size=term.shape)
        away[..., 0] += term.kind in ("gain", "amplitude")
        return away.ravel()

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """The unknowns of each term."""
        ends = np.cumsum([np.prod(term.shape) for term in self.terms])[:-1]
        return [part.reshape(term.shape) for term, part in zip(self.terms, np.split(x, ends), strict=True)]

    def predicted(self, x: np.ndarray) -> np.ndarray:
        jones = np.broadcast_to(np.eye(2, dtype=complex), (STATIONS, SLOTS, CHANS, 2, 2))
        for term, values in zip(self.terms, self.split(x), strict=True):
            jones = jones @ term.jones(values)
        return np.asarray(jones[self.p, self.slot] @ self.model @ jones[self.q, self.slot].conj().swapaxes(-1, -2))

    def residuals(self, x: np.ndarray) -> np.ndarray:
        r = (self.data - self.predicted(x))[self.good] * np.sqrt(2) / NOISE
        return np.concatenate([r.real, r.imag])

    def normal(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """J^T J and J^T r, by differences."""
        J = np.stack([(self.residuals(x + d) - self.residuals(x - d)) / 2e-6 for d in 1e-6 * np.eye(len(x))], 1)
        return J.T @ J, J.T @ self.residuals(x)

    def forest(self, ms: Any) -> Any:
        ns = rt.Scope()
        for p in ms.antennas:
            ns.J(p) << Meq.MatrixMultiply(*(t.nodes(ns, f"t{i}", p) for i, t in enumerate(self.terms)))
        for p, q in ms.baselines:
            model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="joint")
        return ns.forest()

    def found(self, report: Any, field: str) -> np.ndarray:
        """What a report says of all unknowns, errors and statuses once for each part."""
        tables, parts = {t.label: getattr(t, field) for t in report.tables.groups[0].parms}, []
        for i, term in enumerate(self.terms):
            own = np.stack([tables[f"t{i}{h}"] for h in PARMS[term.kind]])
            own = own[..., 0, 0] if field != "status" else own
            both = np.stack([own.real, own.imag], -1)[..., : term.parts] if np.iscomplexobj(own) else None
            parts.append((np.repeat(own[..., None], term.parts, -1) if both is None else both).ravel())
        return np.concatenate(parts)


def solved(path: Path, terms: list[Term], seed: int, dead: bool, **options: Any) -> tuple[Case, Any]:
    case = Case(path, terms, seed, dead)
    ms = rt.MeasurementSet(path)
    return case, case.forest(ms).run(ms, progress=False, **options)


CASES = [
    ([Term("gain", (1, None)), Term("leak", (None, 4)), Term("amplitude", (None, 1))], 1, False),
    ([Term("phase", (3, None)), Term("leak", (7, None)), Term("gain", (None, 4))], 2, False),
    ([Term("leak", (7, None)), Term("phase", (7, 4)), Term("gain", (3, None))], 847, True),
    ([Term("phase", (7, None)), Term("amplitude", (None, 1))], 778, True),
    ([Term("leak", (1, None)), Term("leak", (7, 1))], 967, False),
]


@pytest.mark.parametrize(("terms", "seed", "dead"), CASES)
def test_joint_fits_are_those_of_dense_least_squares(tmp_path: Path, terms: list[Term], seed: int, dead: bool) -> None:
    case, report = solved(tmp_path / "x.ms", terms, seed, dead)
    x = case.found(report, "values")
    H, slope = case.normal(x)
    live = np.diag(H) > 0
    status = case.found(report, "status")
    assert (status[live] == Status.CONVERGED).all() and (status[~live] == Status.NO_DATA).all(), str(report)
    chi2 = (case.residuals(x) ** 2).sum()
    np.testing.assert_allclose(np.nansum(report.solvers[0].chi2), chi2, rtol=1e-5)

    size = np.sqrt(np.diag(H)[live])
    value, vector = np.linalg.eigh(H[np.ix_(live, live)] / size / size[:, None])
    null, weak = value < 1e-7, value < 1e-4
    inverse = (vector[:, ~null] / value[~null]) @ vector[:, ~null].T
    downhill = slope[live] / size
    assert downhill @ inverse @ downhill < 0.01, "chi2 falls along some direction"
    best = case.truth
    for _ in range(8):
        H0, g = case.normal(best)
        best = best - np.linalg.pinv(H0, rcond=1e-9, hermitian=True) @ g
    assert chi2 < (case.residuals(best) ** 2).sum() + 0.01

    error, variance = case.found(report, "errors"), np.full(len(x), np.nan)
    variance[live] = np.diag(inverse) / size**2
    free = np.zeros(len(x), bool)
    free[live] = ((vector[:, weak]) ** 2).sum(1) > 1e-10
    parts = np.concatenate([np.repeat(term.parts, np.prod(term.shape)) for term in terms])
    pair = parts == 2
    variance[pair] = variance[pair].reshape(-1, 2).mean(1).repeat(2)
    free[pair] = free[pair].reshape(-1, 2).any(1).repeat(2)
    known = live & ~free
    np.testing.assert_allclose(error[known], np.sqrt(variance[known]), rtol=0.01)
    alone = 1 / size
    assert np.isnan(error[~live]).all() and (error[live] > 0.5 * alone).all()


def test_intervals_of_joint_fits_cross_tiles(tmp_path: Path) -> None:
    """Sums over several tiles are those over one."""
    terms = [Term("gain", (1, None)), Term("leak", (3, 4)), Term("amplitude", (None, 1))]
    case, whole = solved(tmp_path / "x.ms", terms, 3, False)
    tiles = case.forest(rt.MeasurementSet(case.path)).run(rt.MeasurementSet(case.path), progress=False, memory=2.5e5)
    assert tiles.plan != whole.plan
    for field in ("values", "errors"):
        one, other = (case.found(r, field) for r in (whole, tiles))
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
