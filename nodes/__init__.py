"""The node classes, grouped by subject.

`math` functions and arithmetic, `tensor` matrices and their pieces, `jones` propagation terms, `sky` sources and their
coherencies, `data` constants, coordinates and columns of a Measurement Set, `flags` what makes flags and acts on them,
`solving` parameters and equations.
A class goes into one module of its own, or into one with its closest relatives; nothing else needs to be edited.
"""
