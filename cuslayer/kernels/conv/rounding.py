"""Whether the gradient of an image may be computed in tiles; see `winograd.py`. This module imports no kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

tiles_allowed = ContextVar("tiles_allowed", default=True)


@contextmanager
def exact_zeros() -> Iterator[None]:
    """Keep the gradient of a pixel that no error reaches at exactly 0, where tiles have a rounding error."""
    before = tiles_allowed.set(False)
    try:
        yield
    finally:
        tiles_allowed.reset(before)
