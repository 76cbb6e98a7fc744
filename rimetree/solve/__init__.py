"""Least squares: sums over the data, normal equations, the Levenberg-Marquardt loop, statuses and reports.

Compiled kernels are kept in a cache of their own for each version of the files that define kernels: numba notices a change only in
the file that defines a kernel, not in those that it calls into.
"""

import hashlib
import os
from pathlib import Path

from .listener import listen


def _cache_kernels() -> None:
    files = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    sources = b"".join(text for text in files if b"@nb.njit" in text or b"@intrinsic" in text)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "rimetree" / "kernels" / hashlib.sha1(sources, usedforsecurity=False).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # numba then keeps them beside the sources, or nowhere
    if os.access(folder, os.W_OK):
        from numba import config

        config.CACHE_DIR = str(folder)


if not os.environ.get("NUMBA_CACHE_DIR"):
    _cache_kernels()
listen()
