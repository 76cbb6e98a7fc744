"""Runs: a forest on a Measurement Set, a chain from a configuration file."""
