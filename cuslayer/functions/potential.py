"""How the membrane potential is kept for backward: as it is, or as float16 at half the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cuslayer.backend import Array

STORES = ("full", "half")

_state = threading.local()


@contextmanager
def storing(store: str) -> Iterator[None]:
    """Keep the potentials of neurons that fire within this block (of this thread) as one of `STORES`."""
    before = getattr(_state, "store", STORES[0])
    _state.store = store
    try:
        yield
    finally:
        _state.store = before


def kept(k: Any, u: Array) -> Callable[[], Array]:
    """Keep the potential u, and return what brings it back; k are the kernels of its device.

    As float16, u errs by |u| / 2048 at most, and by 3e-8 where it is under 6e-5; beyond 65,504 it is cut. The surrogate
    then errs by the share |u| / (2048 tau_rho theta): 5e-4 for a potential at theta, where tau_rho is 1. Spikes are
    not touched.
    """
    if getattr(_state, "store", STORES[0]) == "full":
        return lambda: u
    dtype, half = u.dtype, k.halved(u)
    return lambda: k.restored(half, dtype)
