"""Vectors and matrices: composing, selecting, multiplying, inverting."""
