"""Sums over the data against sums in plain numpy: chi-squared must be the same for every phi, whatever the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rimetree.solve.reduce.sources import Sources
from rimetree.solve.reduce.sums import accumulate, direct, empty_gram, factors

OPTIONS = {
    "bad_values": st.booleans(),
    "collapsed_weights": st.booleans(),
    "equal_weights": st.booleans(),
    "shared_planes": st.booleans(),
    "corrs": st.sampled_from([1, 2, 3, 4]),
}


def chi2(result: Any, m: int, j: int, s: int, phi: np.ndarray) -> float:
    """Chi-squared of one joint cell from its pseudo-visibilities, without the constant."""
    Rr, Ri, yr, yi, _, _ = result
    r = (Rr[m, :, :, j, s] + 1j * Ri[m, :, :, j, s]) @ phi + yr[m, :, j, s] + 1j * yi[m, :, j, s]
    return float((abs(r) ** 2).sum())


def expected(case: Any, samples: Any, e: int, m: int, tc: int, fc: int, phi: np.ndarray) -> tuple[float, float, int]:
    """Chi-squared of one cell from the data, the power that went into it, and the number of samples."""
    values, w, _ = samples
    where = (case.tcell == tc)[:, None] & (case.fcell == fc)[None]
    weight = w[e, m][where]
    terms = np.array([f * values[p, m][where] for f, p in zip(phi, case.planes[e], strict=True)])
    const = values[case.const[e], m][where] if case.const[e] >= 0 else 0 * weight
    residual = terms.sum(0) + const
    power = (weight * ((abs(terms) ** 2).sum(0) + abs(const) ** 2)).sum()
    return float((weight * abs(residual) ** 2).sum()), float(power), int((weight > 0).sum())


def tile(case: Any) -> tuple[Any, ...]:
    return case.table, case.memory.sources, case.rows, case.elements


def summed(case: Any) -> tuple[Any, Any, int]:
    gram, count = empty_gram(case.elements, case.members, *case.grid())
    lost = accumulate(gram, count, *tile(case), case.tcell, case.fcell, case.flags, case.weights)
    return gram, count, lost


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), options=st.fixed_dictionaries(OPTIONS))
def test_chi_squared_is_that_of_the_data(make_case: Any, seed: int, options: dict[str, Any]) -> None:
    case = make_case(seed, **options)
    samples = case.samples()
    gram, count, lost = summed(case)
    assert lost == samples[2].sum()
    nt, nf = case.grid()
    for e, planes in enumerate(case.planes):
        result = factors([gram[e]], count[[e]], nt, 1, nf, 1)[0]
        assert all(np.isfinite(a).all() for a in result)
        assert (result[4] >= 0).all()
        assert not np.tril(result[0].transpose(0, 3, 4, 1, 2), -1).any()
        assert not np.tril(result[1].transpose(0, 3, 4, 1, 2), -1).any()
        phi = case.rng.standard_normal(len(planes)) + 1j * case.rng.standard_normal(len(planes))
        for m, tc, fc in np.ndindex(case.members, nt, nf):
            s = tc * nf + fc
            value, power, used = expected(case, samples, e, m, tc, fc, phi)
            assert abs(chi2(result, m, 0, s, phi) + result[4][m, s] - value) <= 1e-10 * power
            assert result[5][m, s] == used


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), options=st.fixed_dictionaries(OPTIONS))
def test_direct_is_factor_where_cells_hold_one_datum(make_case: Any, seed: int, options: dict[str, Any]) -> None:
    case = make_case(seed, **options)
    case.tcell = np.where(case.tcell < 0, -1, np.arange(case.nslot)).astype(np.int32)
    case.fcell = np.where(case.fcell < 0, -1, np.arange(case.nchan)).astype(np.int32)
    samples = case.samples()
    # one interval of all slots by intervals of one channel, hence every slot a joint cell
    shape = 1, case.nslot, case.nchan, 1
    for e, planes in enumerate(case.planes):
        result, lost = direct(*tile(case), e, case.tcell, case.fcell, case.flags, case.weights, *shape)
        assert all(np.isfinite(a).all() for a in result)
        assert result[0].shape == (case.members, 1, len(planes), case.nslot, case.nchan)
        assert not result[4].any()
        phi = case.rng.standard_normal(len(planes)) + 1j * case.rng.standard_normal(len(planes))
        for m, t, c in np.ndindex(case.members, case.nslot, case.nchan):
            value, power, _ = expected(case, samples, e, m, t, c, phi)
            assert abs(chi2(result, m, t, c, phi) - value) <= 1e-12 * power
        assert (result[5] == (samples[1][e] > 0).sum(1)).all()
        assert lost == samples[2][e]


@pytest.mark.parametrize("field", [0.3, 1.0], ids=["unresolved", "barely resolved"])
def test_forty_planes_that_hardly_differ(field: float) -> None:
    """Sources so close that few of their fringes are independent: chi-squared is that of the data at fluxes that explain them."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        place, u = rng.uniform(-field, field, 40), rng.uniform(-1, 1, 300)
        planes = np.exp(2j * np.pi * u[:, None] * place).astype(np.complex64).astype(complex)
        data = planes @ rng.uniform(0, 1, 40) + np.array([1, 1j]) @ rng.normal(size=(2, 300))
        both = np.concatenate([planes, -data[:, None]], 1)
        power = both.conj().T @ both
        gram = np.where(np.tri(41, k=-1, dtype=bool).T | np.eye(41, dtype=bool), power.real, power.imag.T)
        rr, ri, yr, yi, constant, _ = factors([gram[None, None, :, :, None]], np.full((1, 1, 1, 1), 300), 1, 1, 1, 1)[0]
        factor, rest = (rr + 1j * ri)[0, :, :, 0, 0], (yr + 1j * yi)[0, :, 0, 0]
        flux = np.linalg.lstsq(
            np.concatenate([planes.real, planes.imag]), np.concatenate([data.real, data.imag]), 1e-6
        )[0]
        ours = (abs(factor @ flux + rest) ** 2).sum() + constant[0, 0]
        np.testing.assert_allclose(ours, (abs(planes @ flux - data) ** 2).sum(), rtol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_two_tiles_are_one_span(make_case: Any, seed: int) -> None:
    case = make_case(seed)
    case.nslot, case.tcell = case.rows.shape[1], np.zeros(case.rows.shape[1], np.int32)
    gram, count, lost = summed(case)
    half = case.nslot // 2
    twice, counted = empty_gram(case.elements, case.members, *case.grid())
    dropped = 0
    for hole in (slice(0, half), slice(half, None)):
        tcell = case.tcell.copy()
        tcell[hole] = -1
        dropped += accumulate(twice, counted, *tile(case), tcell, case.fcell, case.flags, case.weights)
    assert dropped == lost
    for a, b, m, n in zip(gram, twice, count, counted, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12 * abs(a).max())
        np.testing.assert_array_equal(m, n)


def test_direct_fills_a_span_from_tiles(make_case: Any) -> None:
    case = make_case(3)
    nt, nf = case.nslot, case.nchan
    fcell, every = np.arange(nf, dtype=np.int32), np.arange(nt, dtype=np.int32)
    arguments = *tile(case), 0
    whole, _ = direct(*arguments, every, fcell, case.flags, case.weights, nt, 1, 1, nf)
    out = None
    for first in range(nt):
        tcell = np.where(every == first, every, -1).astype(np.int32)
        out, _ = direct(*arguments, tcell, fcell, case.flags, case.weights, nt, 1, 1, nf, out=out)
    for a, b in zip(whole, out, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dependent_planes_give_zero_rows(tables: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 8)) + 1j * rng.standard_normal((2, 3, 8))
    memory, member = tables.Memory(), np.arange(2)
    s, d = memory.plane(x), memory.plane(rng.standard_normal((2, 3, 8)) + 0j)
    one = [[(1, [(s, False, member)])], [(2j, [(s, False, member)])], [(-1, [(d, False, member)])]]
    table = tables.table_of(one, 2)
    elements = tables.element_table([[0, 1]], [2], [[]], 2)
    gram, count = empty_gram(elements, 2, 3, 2)
    rows = np.empty((0, 3), np.int32)
    fcell = np.arange(8) // 4
    accumulate(gram, count, table, memory.sources, rows, elements, np.arange(3), fcell, None, None)
    Rr, Ri, yr, yi, constant, used = result = factors([gram[0]], count[[0]], 3, 1, 2, 1)[0]
    assert not Rr[:, 1].any() and not Ri[:, 1].any() and not yr[:, 1].any() and not yi[:, 1].any()
    assert (used == 4).all()
    phi = np.array([0.3 - 1j, 2 + 0.5j])
    for m, t, f in np.ndindex(2, 3, 2):
        part = slice(4 * f, 4 * f + 4)
        residual = (phi[0] + 2j * phi[1]) * x[m, t, part] - memory.twins[d][1][m, t, part]
        value = (abs(residual) ** 2).sum()
        assert chi2(result, m, 0, 2 * t + f, phi) + constant[m, 2 * t + f] == pytest.approx(value, rel=1e-10)


def test_joint_cells_lie_before_intervals(tables: Any) -> None:
    """tcell = st * Jt + jt and fcell = sf * Jf + jf become s = st * Sf + sf and j = jt * Jf + jf."""
    value = np.arange(1.0, 25).reshape(1, 4, 6) + 0j
    memory = tables.Memory()
    source = memory.plane(value)
    table = tables.table_of([[(1, [(source, False, np.zeros(1, int))])]], 1)
    elements = tables.element_table([[0]], [-1], [[]], 1)
    rows, tcell, fcell = np.empty((0, 4), np.int32), np.arange(4), np.arange(6)
    St, Jt, Sf, Jf = 2, 2, 3, 2
    gram, count = empty_gram(elements, 1, 4, 6)
    accumulate(gram, count, table, memory.sources, rows, elements, tcell, fcell, None, None)
    single, _ = direct(table, memory.sources, rows, elements, 0, tcell, fcell, None, None, St, Jt, Sf, Jf)
    for result in (factors([gram[0]], count[[0]], St, Jt, Sf, Jf)[0], single):
        for t, f in np.ndindex(4, 6):
            j, s = (t % Jt) * Jf + f % Jf, (t // Jt) * Sf + f // Jf
            assert result[0][0, 0, 0, j, s] == pytest.approx(value[0, t, f].real)
        assert (result[5] == Jt * Jf).all()


def test_cells_without_data_are_empty(make_case: Any) -> None:
    case = make_case(11)
    case.data = [[(0, np.zeros(case.members, int))] for _ in case.planes]
    case.elements = replace(
        case.elements,
        data_start=np.arange(len(case.planes) + 1),
        data_corr=np.zeros(len(case.planes), np.int32),
        data_index=np.zeros((len(case.planes), case.members), np.int32),
    )
    case.flags[:] = 1
    gram, count, lost = summed(case)
    assert lost == 0
    for e in range(len(case.planes)):
        nt, nf = case.grid()
        assert not any(a.any() for a in factors([gram[e]], count[[e]], nt, 1, nf, 1)[0])


def test_weights_of_one_are_two_real_data(tables: Any) -> None:
    """weight = 1 / E|n|^2: chi-squared of pure noise is the number of real data."""
    rng = np.random.default_rng(5)
    sigma, shape = 0.3, (400, 50, 1)
    noise = ((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * sigma / np.sqrt(2)).astype(np.complex64)
    memory, member = tables.Memory(), np.zeros(1, int)
    column = memory.column(noise, 0)
    table = tables.table_of([[(1, [])], [(1, [(column, False, member)])]], 1)
    elements = tables.element_table([[0]], [1], [[(0, member)]], 1)
    gram, count = empty_gram(elements, 1, 1, 1)
    weights = np.full((400, 1, 1), 1 / sigma**2, np.float32)
    rows, cell = np.arange(400, dtype=np.int32)[None], np.zeros(400, int)
    flags = np.zeros(shape, np.uint8)
    accumulate(gram, count, table, memory.sources, rows, elements, cell, np.zeros(50, int), flags, weights)
    result = factors([gram[0]], count[[0]], 1, 1, 1, 1)[0]
    data = 2 * result[5][0, 0]
    assert data == 40000
    assert chi2(result, 0, 0, 0, np.zeros(1)) + result[4][0, 0] == pytest.approx(data, abs=4 * np.sqrt(2 * data))


def test_wide_bands(tables: Any) -> None:
    """More channels than are worked on at a time, with cells across the blocks."""
    rng = np.random.default_rng(2)
    nchan = 1500
    a = (rng.standard_normal((3, nchan, 2)) + 1j * rng.standard_normal((3, nchan, 2))).astype(np.complex64)
    memory, member = tables.Memory(), np.zeros(1, int)
    x, d = memory.column(a, 0), memory.column(a, 1)
    table = tables.table_of([[(1, [(x, False, member)])], [(-1, [(d, False, member)])]], 1)
    elements = tables.element_table([[0]], [1], [[(0, member)]], 1)
    fcell = np.arange(nchan) // 400
    gram, count = empty_gram(elements, 1, 1, 4)
    flags, weights = np.zeros(a.shape, np.uint8), np.ones((3, nchan, 2), np.float32)
    rows, tcell = np.arange(3, dtype=np.int32)[None], np.zeros(3, int)
    accumulate(gram, count, table, memory.sources, rows, elements, tcell, fcell, flags, weights)
    result = factors([gram[0]], count[[0]], 1, 1, 4, 1)[0]
    for f in range(4):
        part = a[:, fcell == f].astype(complex)
        value = 2 * (abs((1 + 2j) * part[..., 0] - part[..., 1]) ** 2).sum()
        assert chi2(result, 0, 0, f, np.array([1 + 2j])) + result[4][0, f] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("wrong", ["tcell", "fcell", "flags", "weights"])
def test_what_would_be_out_of_range_is_refused(make_case: Any, wrong: str) -> None:
    """The kernels check no bounds, so this must."""
    case = make_case(7, shared_planes=True)
    gram, count = empty_gram(case.elements, case.members, *case.grid())
    if wrong in ("tcell", "fcell"):
        setattr(case, wrong, getattr(case, wrong) + 2)
    else:
        setattr(case, wrong, getattr(case, wrong)[:, :, :-1].copy())
    with pytest.raises(ValueError, match="expected"):
        accumulate(gram, count, *tile(case), case.tcell, case.fcell, case.flags, case.weights)


def test_without_weights_all_are_one(make_case: Any) -> None:
    case = make_case(7, shared_planes=True)
    case.weights = np.ones_like(case.weights)
    gram, count, _ = summed(case)
    case.weights = None
    for a, b in zip((*gram, *count), (lambda s: (*s[0], *s[1]))(summed(case)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_sources_that_do_not_cover_the_tile_are_refused(make_case: Any) -> None:
    case = make_case(1)
    case.memory.sources = Sources()
    for _ in case.memory.twins:
        case.memory.sources.plane(np.ones((1, case.nslot + 2, 1)))
    with pytest.raises((ValueError, IndexError)):
        summed(case)
