"""A bandpass of one's own in an otherwise canned chain: smooth curves over the band, where B has a number per channel.

    python -P -m rimetree run smooth_bandpass.yaml          jones: [G, smooth_bandpass.SmoothBandpass]

The file lies beside the configuration. What changes from one experiment to the next is `CURVE`: other splines, a polynomial in log
frequency, pieces over sub-bands, or any function(time, freq, c) written with jax.numpy, such as `standing_wave` below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from rimetree import Meq
from rimetree.funklets import Function, Spline
from rimetree.trees.terms import Param, Term

CURVE = Spline(freq=4)


class SmoothBandpass(Term):
    """diag(x, y), x = amp_x exp(i phase_x): amplitudes and phases that are splines over the band."""

    name = "SB"
    params = {f"amp_{c}": Param(1.0, funklet=CURVE) for c in "xy"} | {
        f"phase_{c}": Param(0.0, funklet=CURVE, refer=c, angle=True, unit="rad") for c in "xy"
    }
    hands = "parallel"
    spectral = True

    def matrix(self, p: Mapping[str, Any], band: Any) -> Any:  # noqa: D102
        return Meq.Matrix22(Meq.Polar(p["amp_x"], p["phase_x"]), 0, 0, Meq.Polar(p["amp_y"], p["phase_y"]))


def standing_wave(time: Any, freq: Any, c: Any) -> Any:
    """1 + c0 cos(c1 freq) + c2 sin(c1 freq): between dish and feed. freq is from -1 to 1 over the band."""
    return 1 + c[0] * jnp.cos(c[1] * freq) + c[2] * jnp.sin(c[1] * freq)


class StandingWave(Term):
    """diag(x, x), x = 1 + c0 cos(c1 y) + c2 sin(c1 y), y from -1 to 1 over the band: a ripple of unknown height and length."""

    name = "SW"
    params = {"x": Param([0.1, 10.0, 0.0], funklet=Function(standing_wave, scaled=True))}  # noqa: RUF012
    hands = "parallel"
    spectral = True

    def matrix(self, p: Mapping[str, Any], band: Any) -> Any:  # noqa: D102
        return Meq.Matrix22(p["x"], 0, 0, p["x"])
