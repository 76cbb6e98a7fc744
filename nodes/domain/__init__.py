"""Where on the axes of the grid a tree is evaluated, and how finely.

Every value is one of the cells that were asked for: a tree is moved to other coordinates by CoordTransform, and averaged or
interpolated over cells by Resampler, whose result is on these cells again.
"""
