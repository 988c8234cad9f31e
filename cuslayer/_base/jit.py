"""Compilation of CPU kernels. It imports Numba, so import it on first use.

A kernel is a plain loop ``kernel(first, last, *arguments)`` over the part [first, last) of its range. Numba compiles it
without the GIL and caches it on disk. `parallel_for` in `parallel.py` runs the parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from cuslayer._base.compiling import compilers, notice
from cuslayer._base.kernel_cache import check_files
from cuslayer._base.threads import thread_count

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def _compiler() -> Iterator[None]:
    """Have Numba compile within the block, even under NUMBA_DISABLE_JIT: Python cannot run LLVM instructions."""
    settings: Any = numba.config
    with global_compiler_lock:
        disabled = settings.DISABLE_JIT
        settings.DISABLE_JIT = 0
        try:
            yield
        finally:
            settings.DISABLE_JIT = disabled


def _njit(function: Callable[P, R], **options: Any) -> Any:
    """Compile a function at its first call."""
    with _compiler():
        dispatcher: Any = numba.njit(**options)(function)
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        # Types are inferred at the first call: functions within the kernel are then decorated.
        dispatcher.compile = _compiler()(dispatcher.compile)
    return dispatcher


def compiled(function: Callable[P, R], fuses: bool = False, counts: bool = True) -> Callable[P, R]:
    """Compile a kernel at its first call, without the GIL, with strict arithmetic, cached on disk if possible.

    A sum of gradients may fuse multiplication and addition, which is as exact, if the machine has such an instruction.
    For ``counts=False`` see `uncounted`.
    """
    # Left out, `_nrt` would be that of the first caller that Numba compiles.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": counts}
    if fuses:
        options["fastmath"] = {"contract"}
    try:
        dispatcher = _njit(function, cache=True, **options)
    except RuntimeError:  # no folder for the cache is writable
        return cast("Callable[P, R]", _njit(function, **options))
    # Numba recompiles a kernel if its own file has changed, but not if the file of an inlined function has changed.
    check_files(dispatcher, _stamp())
    _load_or_wait(dispatcher)
    return cast("Callable[P, R]", dispatcher)


def _load_or_wait(dispatcher: Any) -> None:
    """Let a function that is missing in the cache wait for another process that compiles it."""
    load = dispatcher._cache.load_overload

    def load_overload(arguments: tuple[Any, ...], context: object) -> Any:
        found = load(arguments, context)
        if found is None:
            with notice.waiting():
                compilers.wait_for(dispatcher, arguments, thread_count() - 1)
            found = load(arguments, context)
        return found

    dispatcher._cache.load_overload = load_overload


def uncounted(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that makes and returns no array, without counting the references to its arguments.

    All threads change the count of an array, and each waits for the others: a call for a few rows would cost as much.
    """
    return compiled(function, counts=False)


# Compiled functions whose addresses are in use.
_addressed: list[Any] = []


def address_of(function: Callable[..., object], signature: Any) -> int:
    """Return the address of a function compiled for C types, cached on disk if possible."""
    made: Any = CFunc(function, (signature.args, signature.return_type), {}, {"error_model": "numpy"})
    with suppress(RuntimeError):  # no folder for the cache is writable
        made.enable_caching()
        check_files(made, _stamp())
    with _compiler():
        made.compile()
    _addressed.append(made)
    return cast(int, made.address)


def native_address(function: Any, *examples: object) -> int:
    """Return the address of a compiled function without a result, for arguments of the examples' types.

    `llvm.run` calls it. In this way, large functions of several kernels are compiled only once.
    """
    kinds = tuple(map(numba.typeof, examples))
    function.compile(kinds)
    found = function.overloads[kinds]
    return cast(int, found.library.get_pointer_to_function(found.fndesc.llvm_func_name))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function into each kernel that calls it: for little work, passing arrays takes longer."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "inline": "always"}
    return cast("Callable[P, R]", _njit(function, **options))


def _sources() -> list[Path]:
    """Return the files of the package that may have compiled functions."""
    patterns = "_base/jit.py", "_base/parallel.py", "data/**/*.py", "kernels/**/*.py"
    return sorted(file for pattern in patterns for file in Path(__file__).parents[1].glob(pattern))


@cache
def _stamp() -> str:
    """Return a digest of the content of all files that may have compiled functions."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in _sources())).hexdigest()
