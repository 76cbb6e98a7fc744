"""Runs: a forest on a Measurement Set, a chain from a configuration file.

`run` goes through the groups of data, `group` through the spans of one; `fit` solves one class of solution intervals, `joint` several
at once, `matrix_free` without sums, and `apply` writes. rimetree/DESIGN.md says where to begin reading.
"""
