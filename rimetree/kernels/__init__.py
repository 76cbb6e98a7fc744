"""Kernels: functions that numba compiles once per installation; later processes load the machine code with LLVM alone.

numba itself takes 0.7 s of a processor to be imported and to load code of its own cache, three times what calibrating 10^7
visibilities takes. So nothing in rimetree imports it before something must be compiled: `kernel` marks functions, `Intrinsic`
stands for LLVM instructions (in modules that only the compiler imports), `objects` keeps object files and loads them. Only they are
imported then; `build` makes object files, with `entry` and `runtime`.
"""

from .kernel import Intrinsic, kernel

__all__ = ["Intrinsic", "kernel"]
