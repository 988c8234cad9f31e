"""Matrix products on the library's own threads.

BLAS keeps its threads spinning for a while after each product, on the cores that the next kernel needs: a step of
training takes half as long again for it. So BLAS is held to one thread while the library calls it, and the products
are spread over the threads that run everything else.
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

# Rows of a part: fixed, so that the bits of a product do not depend on the number of cores.
_ROWS = 256


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


class _Hold:
    """How many callers want BLAS on one thread, and what ends it when the last is done."""

    lock = threading.Lock()
    callers = 0
    limits: Any = None


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread within this block."""
    with _Hold.lock:
        if _Hold.callers == 0:
            _Hold.limits = _controller().limit(limits=1, user_api="blas")
        _Hold.callers += 1
    try:
        yield
    finally:
        with _Hold.lock:
            _Hold.callers -= 1
            if _Hold.callers == 0:
                _Hold.limits.restore_original_limits()


def _rows(first: int, last: int, a: Array, b: Array, out: Array) -> None:
    for low in range(first, last, _ROWS):
        high = min(low + _ROWS, last)
        np.matmul(a[low:high], b, out=out[low:high])


def matmul(a: Array, b: Array) -> Array:
    """Return the product of the matrices a and b."""
    out = empty((a.shape[0], b.shape[1]), a.dtype)
    with single_threaded_blas():
        parallel_for(_rows, len(a), a, b, out, grain=_ROWS)
    return out
