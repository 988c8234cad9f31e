"""How a loop for the CPU is compiled and how it is spread over the cores. Imports Numba, so it is imported late.

A kernel is a plain loop ``kernel(first, last, *arguments)`` over the part [first, last) of its range, compiled by
Numba without the GIL and kept in Numba's cache on disk. `spread` runs the parts on a thread pool of our own: Numba's
own parallel loops compile several times slower, and one of its threading layers aborts when two threads meet in it,
as a loader's and a trainer's may.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ParamSpec, TypeVar, cast

import numba

from cuslayer.backend import cores

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel at its first call, without the GIL, with strict arithmetic, cached on disk where that can be."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast("Callable[P, R]", numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither beside the file nor in the user's folders is there a place for the cache
        return cast("Callable[P, R]", numba.njit(**options)(function))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="cuslayer")


if hasattr(os, "register_at_fork"):
    # A child of fork has none of its parent's threads: a pool kept from before would wait for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def spread(kernel: Callable[..., None], size: int, *arguments: Any, grain: int) -> None:
    """Run ``kernel(first, last, *arguments)`` over [0, size) in parts of whole grains, on every core.

    The parts must be independent, so that the result does not depend on how many there are.
    """
    threads = cores()
    grains = -(-size // grain)
    if threads == 1 or grains <= 1:
        kernel(0, size, *arguments)
        return
    # A few parts for each thread: whoever is done early, or was not disturbed, takes the next.
    step = -(-grains // (4 * threads)) * grain
    parts = iter([(first, min(first + step, size)) for first in range(0, size, step)])

    def work() -> None:
        for first, last in parts:
            kernel(first, last, *arguments)

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()
