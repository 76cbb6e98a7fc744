"""Parameters over domains: polynomial coefficients and solution intervals."""
