"""Parameters, equations, solvers, and the order of work."""
