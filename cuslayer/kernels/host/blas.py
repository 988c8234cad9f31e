"""Matrix products on the threads of the library.

BLAS keeps its threads spinning for a while after each product, on the cores that the next kernel needs: a training step
takes half as long again. So BLAS is limited to one thread while the library calls it, and the rows of a product are
divided among the library's threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from cuslayer.backend import Array
from cuslayer.jit import parallel_for
from cuslayer.kernels.host.memory import empty

# Rows that are multiplied at once: fixed, so that the bits do not depend on the number of cores.
_ROWS = 256


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


class _BlasLimit:
    """The number of callers that limit BLAS to one thread; the last one restores its threads."""

    lock = threading.Lock()
    callers = 0
    limits: Any = None


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread within this block."""
    with _BlasLimit.lock:
        if _BlasLimit.callers == 0:
            _BlasLimit.limits = _controller().limit(limits=1, user_api="blas")
        _BlasLimit.callers += 1
    try:
        yield
    finally:
        with _BlasLimit.lock:
            _BlasLimit.callers -= 1
            if _BlasLimit.callers == 0:
                _BlasLimit.limits.restore_original_limits()


def _rows(first: int, last: int, a: Array, b: Array, out: Array) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # as the compiled kernels, on every thread
        for low in range(first, last, _ROWS):
            high = min(low + _ROWS, last)
            np.matmul(a[low:high], b, out=out[low:high])


def matmul(a: Array, b: Array) -> Array:
    """Return the product of the matrices a and b."""
    out = empty((a.shape[0], b.shape[1]), a.dtype)
    with single_threaded_blas():
        parallel_for(_rows, len(a), a, b, out, grain=_ROWS)
    return out
