"""Normal equations against sums over residuals and derivatives in plain numpy, for random forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rimetree.solve.algebra.simd import LANES
from rimetree.solve.reduce.forms import Form, form, tables
from rimetree.solve.single.normal import mark, normal, pack

ATOMS, MEMBERS, JOINT = 4, 3, 2


class Example:
    """One random form: terms of `degrees` factors, `rows` x `planes`; every atom has one complex unknown and a real one."""

    def __init__(self, degrees: list[int], rows: int, planes: int, shared: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        most = max(degrees)
        self.local = sum(degrees) if not shared else most
        factors = np.full((len(degrees), most), -1)
        start = 0
        for m, degree in enumerate(degrees):
            factors[m, :degree] = np.arange(degree) + (0 if shared else start)
            start += degree
        conj = rng.random(self.local) < 0.5
        atom = rng.integers(0, ATOMS, (MEMBERS, self.local))
        coef = rng.normal(size=len(degrees)) + 1j * rng.normal(size=len(degrees))
        plane = np.arange(len(degrees)) % planes
        units = [(f, 0, 2) for f in range(self.local)] + [(f, 2, 1) for f in range(self.local)]
        self.form: Form = form(plane, coef, factors, conj, atom, np.array(units))
        shape = (MEMBERS, rows, planes, JOINT, LANES)
        self.R = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        for k in range(rows if rows > 1 else 0):
            self.R[:, k, :k] = 0  # upper triangular
        self.y = rng.normal(size=(MEMBERS, rows, JOINT, LANES)) + 1j * rng.normal(size=(MEMBERS, rows, JOINT, LANES))
        self.u = rng.normal(size=(ATOMS, JOINT, LANES)) + 1j * rng.normal(size=(ATOMS, JOINT, LANES))
        t = rng.normal(size=(ATOMS, 3, JOINT, LANES)) + 1j * rng.normal(size=(ATOMS, 3, JOINT, LANES))
        t[:, 1] = 1j * t[:, 0]  # holomorphic
        self.t, self.unknown = t, np.arange(3 * ATOMS).reshape(ATOMS, 3)

    def expected(self, v: int) -> tuple[np.ndarray, np.ndarray, float]:
        """H, g and chi2 of one lane, residual by residual."""
        n = 3 * ATOMS
        H, g, chi2 = np.zeros((n, n)), np.zeros(n), 0.0
        for member in range(MEMBERS):
            for j in range(JOINT):
                phi, jac = self._phi(member, j, v)
                for k in range(self.R.shape[1]):
                    R = self.R[member, k, :, j, v]
                    r, J = self.y[member, k, j, v] + R @ phi, R @ jac
                    chi2 += abs(r) ** 2
                    g += (J.conj() * r).real
                    H += np.outer(J.conj(), J).real
        return H, g, chi2

    def _phi(self, member: int, j: int, v: int) -> tuple[np.ndarray, np.ndarray]:
        f = self.form
        phi, jac = np.zeros(self.R.shape[2], complex), np.zeros((self.R.shape[2], 3 * ATOMS), complex)
        for plane, coef, row in zip(f.term_plane, f.term_coef, f.term_factor, strict=True):
            used = [int(i) for i in row if i >= 0]
            atoms = [int(f.factor_atom[member, i]) for i in used]
            value = [
                np.conj(self.u[a, j, v]) if f.factor_conj[i] else self.u[a, j, v]
                for i, a in zip(used, atoms, strict=True)
            ]
            phi[plane] += coef * np.prod(value)
            for at, (i, a) in enumerate(zip(used, atoms, strict=True)):
                rest = coef * np.prod(value[:at] + value[at + 1 :])
                slope = self.t[a, :, j, v]
                jac[plane, self.unknown[a]] += rest * (slope.conj() if f.factor_conj[i] else slope)
        return phi, jac

    def run(self, blocks: np.ndarray, blocks_only: bool = False, chunks: int = 1) -> tuple[np.ndarray, ...]:
        n = 3 * ATOMS
        t = tables([self.form], np.array([self.R.shape[:4]]), self.unknown.astype(np.int32), blocks)
        data = np.zeros((int(t.first[-1, 6]), LANES))
        parts = [np.ascontiguousarray(a) for a in (self.R.real, self.R.imag, self.y.real, self.y.imag)]
        pack(*parts, 0, data, 0)
        atoms = [np.ascontiguousarray(a) for a in (self.u.real, self.u.imag, self.t.real, self.t.imag)]
        total: list[Any] = [0, 0, 0]
        for chunk in range(chunks):
            out = np.full((n * (n + 1) // 2, LANES), np.inf), np.empty((n, LANES)), np.empty((1, LANES))
            normal(t, data, *atoms, *out, blocks_only, chunk, chunks)
            total = [a + b for a, b in zip(total, out, strict=True)]
        return tuple(total)


FORMS = [
    ([2], 1, 1, False),  # a baseline, but with unknowns of two kinds
    ([1], 1, 1, False),
    ([3], 1, 1, False),
    ([2, 2, 1], 3, 3, False),
    ([2, 2, 2, 2], 4, 4, False),
    ([2, 2], 2, 2, True),
    ([1, 2, 3], 1, 3, True),
]


@pytest.mark.parametrize(("degrees", "rows", "planes", "shared"), FORMS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_normal_equations_are_those_of_numpy(
    degrees: list[int], rows: int, planes: int, shared: bool, seed: int
) -> None:
    example = Example(degrees, rows, planes, shared, seed)
    n = 3 * ATOMS
    H, g, chi2 = example.run(np.zeros(n, np.int32), chunks=1 + seed)
    low = np.tril_indices(n)
    for v in (0, LANES - 1):
        expected = example.expected(v)
        np.testing.assert_allclose(H[:, v], expected[0][low], rtol=1e-10, atol=1e-10 * abs(expected[0]).max())
        np.testing.assert_allclose(g[:, v], expected[1], rtol=1e-10, atol=1e-10 * abs(expected[1]).max())
        assert chi2[0, v] == pytest.approx(expected[2])


def test_two_gains_are_summed_in_registers_as_any_other_form(monkeypatch: pytest.MonkeyPatch) -> None:
    example = Example([2], 1, 1, False, 5)
    gains = example.form.units[[0, 1]]
    example.form = form(
        example.form.term_plane, example.form.term_coef, example.form.term_factor, example.form.factor_conj,
        example.form.factor_atom, gains,
    )  # fmt: skip
    example.t[:, 2] = 0
    H, g, chi2 = example.run(np.zeros(3 * ATOMS, np.int32))
    expected = example.expected(3)
    np.testing.assert_allclose(H[:, 3], expected[0][np.tril_indices(3 * ATOMS)], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(g[:, 3], expected[1], rtol=1e-10, atol=1e-12)
    assert chi2[0, 3] == pytest.approx(expected[2])


def test_blocks_only_leaves_the_rest_of_the_matrix_alone() -> None:
    example = Example([2, 2], 2, 2, False, 1)
    blocks = np.repeat(np.arange(ATOMS), 3).astype(np.int32)
    whole, part = (example.run(blocks, blocks_only=only)[0] for only in (False, True))
    rows, cols = np.tril_indices(3 * ATOMS)
    same = blocks[rows] == blocks[cols]
    np.testing.assert_allclose(part[same], whole[same])
    assert (part[~same] == np.inf).all()


def test_unknowns_are_marked_where_some_member_has_data() -> None:
    seen = np.zeros((4, 2), bool)
    mark(np.array([[0, 1], [2, 2]], np.int32), np.array([[0, 3], [1, 0]]), seen)
    assert seen.tolist() == [[False, True], [False, True], [True, False], [False, False]]
