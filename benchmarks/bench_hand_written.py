"""The compiled tree's solve against a Levenberg-Marquardt fit written by hand for the same equation, on the same sums.

Both start from the pseudo-visibilities of g28 (28 antennas x 120 intervals, a complex gain per antenna and polarisation) and do the
same number of steps: alternating ones, then LM with multiplicative updates and Cholesky. The hand-written one is scalar code that
knows its equation: two gains per visibility, R real. Target: at most 1.3.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from common import best, gain_forest, gains_set, options, table, verdict

import rimetree as rt
import rimetree.batch.following as engine
from rimetree.solve.settings import Settings
from rimetree.solve.single.fit import ALTERNATIONS
from rimetree.solve.single.lm import solve
from rimetree.solve.single.steps import FOUND, LEAST_DAMPING, NEAR, SLOW

FAST = {"fastmath": True, "nogil": True}


@nb.njit(**FAST)
def alternate(g, amp, data, first, second, steps, constant, power):
    """StefCal: every gain from all others, with factors 1, 1, 1/2, 1, 1/2 ..., old and new ones brought to the size between both,
    until little of the power is left, or some and two steps do not halve chi2 (+ constant). Residual = data + amp * g_first *
    conj(g_second). Returns the number of steps that led to the g that is kept."""
    n, m = g.shape[0], amp.shape[0]
    up, down, kept, least = np.empty(n, np.complex128), np.empty(n), g.copy(), np.inf
    for step in range(steps):
        up[:] = 0
        down[:] = 0
        chi2 = constant
        for k in range(m):
            p, q = first[k], second[k]
            left = data[k] + amp[k] * g[p] * g[q].conjugate()
            chi2 += left.real**2 + left.imag**2
            y, r = -data[k] * amp[k], amp[k] * amp[k]
            up[p] += y * g[q]
            up[q] += y.conjugate() * g[p]
            down[p] += r * (g[q].real ** 2 + g[q].imag ** 2)
            down[q] += r * (g[p].real ** 2 + g[p].imag ** 2)
        slow = step == 0 or (step % 2 == 0 and chi2 > SLOW * least)
        found = chi2 <= FOUND * power
        if step == 0 or found or (step % 2 == 0 and chi2 < least):
            least = chi2
            kept[:] = g
        if found or (slow and least <= NEAR * power):
            g[:] = kept
            return step
        old = new = 0.0
        for p in range(n):
            if down[p] > 0:
                up[p] /= down[p]
                old += g[p].real ** 2 + g[p].imag ** 2
                new += up[p].real ** 2 + up[p].imag ** 2
        scale = (old / new) ** 0.25 if old > 0 and new > 0 else 1.0
        factor = 1.0 if step % 2 or step == 0 else 0.5
        for p in range(n):
            if down[p] > 0:
                g[p] = g[p] / scale * (1 - factor) + up[p] * scale * factor
    return steps


@nb.njit(**FAST)
def normal_equations(g, amp, data, first, second, H, b):
    """Lower triangle of J^H J and J^H r, real and imaginary parts side by side; returns chi2."""
    H[:] = 0
    b[:] = 0
    chi2 = 0.0
    for k in range(amp.shape[0]):
        p, q = first[k], second[k]
        dp, dq = amp[k] * g[q].conjugate(), amp[k] * g[p]
        r = data[k] + dp * g[p]
        chi2 += r.real**2 + r.imag**2
        i, j = 2 * p, 2 * q
        b[i] += dp.real * r.real + dp.imag * r.imag
        b[i + 1] += dp.real * r.imag - dp.imag * r.real
        b[j] += dq.real * r.real + dq.imag * r.imag
        b[j + 1] -= dq.real * r.imag - dq.imag * r.real
        pp, qq = dp.real**2 + dp.imag**2, dq.real**2 + dq.imag**2
        H[i, i] += pp
        H[i + 1, i + 1] += pp
        H[j, j] += qq
        H[j + 1, j + 1] += qq
        c = dp.conjugate() * dq
        if i < j:  # the conjugated gain's imaginary part has derivative -i dq
            H[j, i] += c.real
            H[j, i + 1] += c.imag
            H[j + 1, i] += c.imag
            H[j + 1, i + 1] -= c.real
        else:
            H[i, j] += c.real
            H[i, j + 1] += c.imag
            H[i + 1, j] += c.imag
            H[i + 1, j + 1] -= c.real
    return chi2


@nb.njit(**FAST)
def cholesky(a):
    for j in range(a.shape[0]):
        for i in range(j, a.shape[0]):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total
        root = np.sqrt(a[j, j])
        for i in range(j, a.shape[0]):
            a[i, j] /= root


@nb.njit(**FAST)
def step(H, b, damping, x):
    """x = -(H + damping * diag H)^-1 b; H is overwritten."""
    n = b.shape[0]
    for i in range(n):
        H[i, i] *= 1 + damping
    cholesky(H)
    for i in range(n):
        total = -b[i]
        for k in range(i):
            total -= H[i, k] * x[k]
        x[i] = total / H[i, i]
    for i in range(n - 1, -1, -1):
        x[i] /= H[i, i]
        for k in range(i):
            x[k] -= H[i, k] * x[i]


@nb.njit(**FAST)
def variances(g, amp, data, first, second, H, b, out):
    """Diagonal of the inverse, with a little damping against the free phase."""
    normal_equations(g, amp, data, first, second, H, b)
    n = b.shape[0]
    for i in range(n):
        H[i, i] *= 1 + 1e-9
    cholesky(H)
    column = np.empty(n)
    for j in range(n):
        column[j] = 1 / H[j, j]
        out[j] = column[j] ** 2
        for i in range(j + 1, n):
            total = 0.0
            for k in range(j, i):
                total += H[i, k] * column[k]
            column[i] = -total / H[i, i]
            out[j] += column[i] ** 2


@nb.njit(parallel=True, **FAST)
def fit(gains, amp, data, first, second, iterations, constant, power, errors, variance, chi2):
    """All intervals: gains (S, n), amp and data (S, m); `iterations` (S) steps each."""
    for s in nb.prange(gains.shape[0]):
        g, n = gains[s], 2 * gains.shape[1]
        done = alternate(g, amp[s], data[s], first, second, ALTERNATIONS, constant[s], power[s])
        H, b, x = np.empty((n, n)), np.empty(n), np.empty(n)
        new_H, new_b, damping = np.empty((n, n)), np.empty(n), 1e-5
        chi2[s] = normal_equations(g, amp[s], data[s], first, second, H, b)
        for _ in range(max(iterations[s] - done, 1)):
            new_H[:], new_b[:] = H, b
            step(new_H, new_b, damping, x)
            trial = g.copy()
            for p in range(len(g)):
                trial[p] *= np.exp(complex(x[2 * p], x[2 * p + 1]) / g[p])
            value = normal_equations(trial, amp[s], data[s], first, second, new_H, new_b)
            if value <= chi2[s]:
                g[:], chi2[s], damping = trial, value, max(damping * 0.1, LEAST_DAMPING)
                H, new_H, b, new_b = new_H, H, new_b, b
            else:
                damping *= 10
        if errors:
            variances(g, amp[s], data[s], first, second, H, b, variance[s])


def captured(forest: Any, ms: rt.MeasurementSet) -> list[tuple[Any, np.ndarray]]:
    """The problems of a run and their starts."""
    found = []

    def keep(problem: Any, theta: np.ndarray, settings: Settings) -> Any:
        found.append((problem, theta.copy()))
        return solve(problem, theta, settings)

    engine.solve = keep
    try:
        forest.run(ms, memory=4e9, progress=False)
    finally:
        engine.solve = solve
    return found


def by_hand(problem: Any) -> tuple[np.ndarray, ...]:
    """(amp, data, first, second) of all equations, as the hand-written fit wants them: interval first."""
    parts = []
    for eq in problem.equations:
        unknown = problem.atom_unknown[eq.form.factor_atom, 0] // 2
        order = np.argsort(eq.form.factor_conj, kind="stable")  # the conjugated factor second
        data = (eq.y[0] + 1j * eq.y[1])[:, 0, 0].T
        parts.append(
            (eq.R[0][:, 0, 0, 0].T * eq.form.term_coef[0].real, data, unknown[:, order[0]], unknown[:, order[1]])
        )
    amp, data = (np.ascontiguousarray(np.concatenate([p[i] for p in parts], 1)) for i in (0, 1))
    return amp, data, *(np.ascontiguousarray(np.concatenate([p[i] for p in parts]), np.int64) for i in (2, 3))


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        path = gains_set(given.folder, *((8, 20, 16) if given.smoke else (28, 120, 64)))
        ms = rt.MeasurementSet(path)
        problems = captured(gain_forest(ms), ms)
        sums = [by_hand(problem) for problem, _ in problems]
        results = [solve(problem, theta.copy(), Settings()) for problem, theta in problems]
        constant = [sum(eq.constant.sum(0) for eq in problem.equations) for problem, _ in problems]
        chi2 = [np.empty(problem.intervals) for problem, _ in problems]

        def hand(errors: bool) -> None:
            for (problem, theta), own, result, rest, value in zip(problems, sums, results, constant, chi2, strict=True):
                start = np.ascontiguousarray((theta[0::2] + 1j * theta[1::2]).T)
                variance = np.empty((problem.intervals, problem.count))
                fit(start, *own, result.iterations, rest, problem.power(), errors, variance, value)

        def tree() -> None:
            for problem, theta in problems:
                solve(problem, theta.copy(), Settings())

        hand(True)
        for rest, result, value in zip(constant, results, chi2, strict=True):
            np.testing.assert_allclose(value + rest, result.chi2, rtol=1e-5)
        ours, plain, full = [], [], []
        for _ in range(3 if given.smoke else 15):
            ours.append(best(tree, 1))
            plain.append(best(lambda: hand(False), 1))
            full.append(best(lambda: hand(True), 1))
        steps = sum(int(result.iterations.sum()) for result in results)
        rows = [
            ["by hand, gains only", min(plain), 1e6 * min(plain) / steps, 1.0, ""],
            ["by hand, with error bars", min(full), 1e6 * min(full) / steps, min(full) / min(plain), ""],
            [
                "compiled tree",
                min(ours),
                1e6 * min(ours) / steps,
                min(ours) / min(plain),
                verdict(min(ours) / min(plain), 1.3),
            ],
        ]
        title = (
            f"fit of {path.stem} from sums on, {nb.get_num_threads()} threads, best of {len(ours)}; same chi2 to 1e-5"
        )
        table(title, ["", "s", "us per step and interval", "x hand", ""], rows)


if __name__ == "__main__":
    main()
