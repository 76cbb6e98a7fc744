"""Gains from the leading eigenvector of the data: a start for real gains, whose signs no small step can change.

Where every term of the equations is a product of two unknowns, chi2 of small gains x falls by x^T A x, A being the data times
the model, weighted: x is best along the eigenvector of the largest eigenvalue of D^-1/2 A D^-1/2, where D is what the data's
weights and the model say of each gain alone (Gauss-Newton's diagonal). For complex gains this is the spectral start of phase
synchronisation (Singer 2011, Appl. Comput. Harmon. Anal. 30, 20); for real ones it is that of signs.
"""

from __future__ import annotations

import numpy as np

from ..settings import Settings
from .block import Block
from .fit import Fit
from .problem import Problem

STEPS = 60
"""Steps of the power iteration: signs need no more than its direction."""

SMALL = 1e-12
"""Of gains, in units of their errors: so small that they explain nothing, and their gradient is what the data say alone."""


def leading(problem: Problem, theta: np.ndarray, settings: Settings) -> np.ndarray:
    """(n, S): the eigenvector at the size at which chi2 is least, from the size of `theta` (all unknowns, S)."""
    fit, mine = Fit(problem, theta.copy(), settings), problem.unknowns
    blocks = [Block(fit, s0) for s0 in fit.starts]
    place = np.arange(problem.count)

    def slopes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Diagonal of the normal matrix and gradient (n, S)."""
        fit.theta[mine] = x
        atoms, H, g = problem.atoms(fit.theta), np.empty_like(x), np.empty_like(x)
        for block in blocks:
            found = block.evaluate(block.lanes(atoms), 0)
            H[:, block.where] = found[0][place * (place + 3) // 2, : block.count]
            g[:, block.where] = found[1][:, : block.count]
        return H, g

    size = np.abs(theta[mine]).max(0)
    x = np.where(fit.seen, np.where(size > 0, size, 1.0), 0.0)
    diagonal = slopes(x)[0]
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1)), 0)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(problem.count, 1)) * (scale > 0)
    for _ in range(STEPS):
        z /= np.maximum(np.sqrt((z * z).sum(0)), 1e-300)
        pull = -scale * slopes(SMALL * scale * z)[1] / SMALL
        z = pull + np.sqrt((pull * pull).sum(0)) * z  # the largest eigenvalue, not that of the largest modulus
    return np.asarray(scale * z)
