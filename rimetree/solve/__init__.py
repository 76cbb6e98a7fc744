"""Least squares: sums over the data, normal equations, the Levenberg-Marquardt loop, statuses and reports."""
