"""Sky models: read from files, and predicted into visibilities by a kernel of their own.

Trees of sources (`Meq.PointSource`, `Meq.PhaseDelay`, ...) can have anything solvable in them. This is for the many sources that
are known: a `Meq.SkyModel` is read like a column of the Measurement Set, and computed where a column would be read.
"""
