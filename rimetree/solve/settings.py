"""What is asked of a fit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """`max_iter`: LM iterations. `tol`: an interval has converged when the next step would lower chi2 by less than
    `tol` times chi2 per degree of freedom, that is, when parameters are within about sqrt(tol) of their standard
    errors of the minimum."""

    max_iter: int = 60
    tol: float = 1e-6
    damping: float = 1e-5
    """Of the first step, relative to the diagonal of the normal matrix."""
    min_snr: float = 3.0
    """Gains below this many standard errors are lost in the noise (see `significance`)."""
    reference: str = ""
    """Qualifier (an antenna) whose free phases are made zero (see `referring`)."""
    algorithm: str = "lm"
    """"lm", "newton" (the same with second derivatives), or that of a package: see `outside.PACKAGES`."""
    backend: str = "numba"
    """Who makes the normal equations: see `backends.BACKENDS`."""
