"""Object files of compiled kernels: where they are kept, what they depend on, and loading them.

A name is a hash of all that decides on the code: sources of the kernel and of all that it calls, constants, signature, numba,
LLVM and the processor. A file that is damaged counts as missing.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..compiling import cache_folder

if TYPE_CHECKING:
    from .kernel import Kernel

MAGIC = b"rimetree kernel 1\n"

NOWHERE = (OSError, RuntimeError)
"""Where a folder cannot be read or written, or there is no home."""

HARMLESS = ("NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR", "NUMBA_THREADING_LAYER")
"""Variables of numba that do not change its code."""

MOST, AGE = 1000, 7 * 86400
"""So many files are kept however old, about five versions of rimetree in 50 MB; and all that were loaded in so many seconds."""


class Code(NamedTuple):
    """An object file, the format of `struct` for the arguments of its function, and what it returns (see `kernel.Results`)."""

    arguments: str
    results: str
    machine: bytes


def folder() -> Path:
    """Where object files are kept."""
    return cache_folder("kernels")


def name(kernel: Kernel, signature: tuple[Any, ...]) -> str:
    """Of the compiled function, and of its file."""
    files: set[str] = set()
    constants: list[str] = []
    _depends(kernel, files, constants, set())
    fields = [getattr(kind[0], "_fields", ()) for kind in signature if isinstance(kind, tuple)]
    parts = [kernel.path, repr((signature, fields)), _platform(), *sorted(constants)]
    parts += map(_digest, sorted(files))
    return f"{kernel.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}"


def _depends(kernel: Kernel, files: set[str], constants: list[str], seen: set[int]) -> None:
    """Collect the files that define a kernel and what it calls, and the values of other globals that it names (or that are named
    like attributes that it names: no harm). `build` refuses what is not noticed here."""
    from .kernel import Intrinsic, Kernel

    if id(kernel) in seen:
        return
    seen.add(id(kernel))
    files.add(kernel.function.__code__.co_filename)
    options = {key: sorted(value) if isinstance(value, set) else value for key, value in kernel.options.items()}
    constants.append(f"{kernel.path} {sorted(options.items())!r}")
    space = kernel.globals
    for word in _names(kernel.function.__code__) & space.keys():
        value = space[word]
        if isinstance(value, Kernel):
            _depends(value, files, constants, seen)
        elif isinstance(value, Intrinsic):
            own = str(sys.modules[value.place].__file__)
            files |= {own, f"{own.removesuffix('.py')}_code.py"}
        elif isinstance(value, (int, float, str, tuple, np.generic)):
            constants.append(f"{word} {value!r}")
        elif isinstance(value, np.ndarray):
            constants.append(f"{word} {value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}")
        elif fields := getattr(value, "_fields", ()):
            constants.append(f"{word} {fields!r}")


def _names(code: CodeType) -> set[str]:
    """All names in it."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return {*code.co_names, *code.co_freevars}.union(*inner)


@cache
def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def _platform() -> str:
    """The processor, the versions and settings of what compiles, and where numpy's arrays have their address."""
    import llvmlite
    import llvmlite.binding as ll

    numba = find_spec("numba")
    version = Path(str(numba and numba.origin)).with_name("_version.py")
    own = [_digest(str(Path(__file__).with_name(name))) for name in ("build.py", "entry.py", "runtime.py")]
    features = ll.get_host_cpu_features().flatten()
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in HARMLESS)
    return repr(
        (
            llvmlite.__version__,
            ll.get_host_cpu_name(),
            features,
            _digest(str(version)),
            own,
            object.__basicsize__,
            settings,
        )
    )


def read(name: str) -> Code | None:
    """What is kept under a name, if it is there and whole."""
    try:
        path = folder() / name
        content, used = path.read_bytes(), path.stat().st_mtime
    except NOWHERE:
        return None
    if time.time() - used > AGE / 7:
        with suppress(OSError):
            os.utime(path)
    magic, digest, rest = content[: len(MAGIC)], content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if magic != MAGIC or hashlib.sha256(rest).digest() != digest:
        return None
    arguments, results, machine = rest.split(b"\n", 2)
    return Code(arguments.decode(), results.decode(), machine)


def write(name: str, code: Code) -> None:
    """Keep it, whole or not at all; where the folder cannot be written, the next process compiles anew."""
    rest = b"\n".join((*(word.encode() for word in code[:2]), code.machine))
    with suppress(*NOWHERE):
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder(), delete=False) as file:
            try:
                file.write(MAGIC + hashlib.sha256(rest).digest() + rest)
                file.flush()
                os.replace(file.name, folder() / name)
            except OSError:
                os.unlink(file.name)
        _sweep()


def _sweep() -> None:
    """Remove files that were not loaded for long, if there are many: of other versions, and of processes that were killed."""
    now, files = time.time(), sorted((path.stat().st_mtime, path) for path in folder().iterdir() if path.is_file())
    for used, path in files[:-MOST]:
        if now - used > AGE:
            path.unlink(missing_ok=True)


def machine() -> Any:
    """LLVM's description of this processor; static addresses, as its just-in-time loader wants them on x86."""
    import llvmlite.binding as ll

    ll.initialize_native_target()
    ll.initialize_native_asmprinter()
    target = ll.Target.from_triple(ll.get_process_triple())
    return target.create_target_machine(
        ll.get_host_cpu_name(), ll.get_host_cpu_features().flatten(), 3,
        "static" if target.name.startswith("x86") else "default", "jitdefault", jit=True,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _engine() -> Any:
    array = np.empty((2, 3))
    if ctypes.c_void_p.from_address(id(array) + object.__basicsize__).value != array.ctypes.data:
        raise ImportError(f"kernels do not know where numpy {np.__version__} keeps addresses of arrays")
    ll = import_module("llvmlite.binding")
    return ll.create_mcjit_compiler(ll.parse_assembly(""), machine())


@cache
def load(name: str, code: Code) -> int:
    """The address of the function, which stays loaded as long as the process lives. Raises ImportError where the code has no such one."""
    from llvmlite.binding import ObjectFileRef

    engine = _engine()
    engine.add_object_file(ObjectFileRef.from_data(code.machine))
    engine.finalize_object()
    address = int(engine.get_function_address(name))
    if not address:
        raise ImportError(f"{folder() / name} holds another kernel than its name says; remove it")
    return address
