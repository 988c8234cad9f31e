"""How the membrane potential is kept for backward: as it is, or as float16 at half the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.tape import grad_enabled

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


@contextmanager
def showing(show: Callable[[Array], None]) -> Iterator[None]:
    """Show the potentials of neurons that fire within this block (of this thread), before they are kept.

    They come in the layout of the pass that made them, and are to be copied at once: backward may write over them.
    """
    before = getattr(_state, "shows", ())
    _state.shows = (*before, show)
    try:
        yield
    finally:
        _state.shows = before


def _full() -> bool:
    return getattr(_state, "store", STORES[0]) == "full"


def wanted(dtype: Any) -> Any:
    """Return the type in which a pass that can shall keep potentials of a type itself, None where nothing is kept."""
    if not grad_enabled():
        return None
    shown = getattr(_state, "shows", ())
    return dtype if _full() or shown or dtype != np.float32 else np.dtype(np.float16)


def kept(k: Any, u: Array, *, unit: float = 1.0) -> Callable[[], Array]:
    """Keep the potential u, and return what brings it back, once; k are the kernels of its device.

    As float16, in units of `unit`, u errs by |u| / 2048 at most, and by 3e-8 where it is under 6e-5; beyond 65,504 it
    is cut. The surrogate then errs by the share |u| / (2048 tau_rho theta): 5e-4 for a potential at theta, where
    tau_rho is 1. Spikes are not touched. What comes as float16, as `wanted` may have asked for, comes back so.
    """
    for show in getattr(_state, "shows", ()):
        show(u)
    if _full() or u.dtype == np.float16:
        return [u].pop
    dtype, half = u.dtype, [k.float16.store(u if unit == 1.0 else u / u.dtype.type(unit))]
    if unit == 1.0:
        return lambda: k.float16.load(half.pop(), dtype)
    return lambda: k.float16.load(half.pop(), dtype) * dtype.type(unit)
