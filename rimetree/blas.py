"""How numpy's linear algebra waits. Imported before numpy, for OpenBLAS looks when it is loaded."""

import os

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "8")
# Its threads spin for 2^26 cycles after every call, in case there is another: a tenth of the processor time of a chain.
