"""The data, summed once: pseudo-visibilities with the same chi-squared, by numba or JAX."""
