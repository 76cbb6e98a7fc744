"""Leaves (constants, coordinates, columns of a Measurement Set) and the sink."""
