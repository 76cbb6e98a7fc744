"""Typical values of children, with which the classes are checked."""

from __future__ import annotations

import numpy as np

RADEC = np.array([1.2, 0.5])
AZEL = np.array([2.1, 0.8])
VLA = np.array([-1601185.4, -5041977.5, 3554875.9])
EARTH = np.array([[0.6, -0.8, 1e-3], [0.8, 0.6, 1e-3], [-1e-3, 1e-3, 1.0], [5e-5, 8e-5, 3e-5]])
