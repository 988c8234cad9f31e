"""Membrane potentials: saved for backward, as they are or as float16, and passed to observers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, Setting
from cuslayer.tape import grad_enabled

FORMATS = ("full", "float16")

_format = Setting(FORMATS[0])
_observers: Setting[tuple[Callable[[Potentials], None], ...]] = Setting(())


class Potentials(NamedTuple):
    """The potentials of one layer's neurons, in the memory layout of the forward pass.

    Attributes:
        values: (T, N, ...), or the same elements in another shape, or the blocks of a fused pass.
        from_blocks: the kernel's function that picks selected potentials out of blocks; None without blocks.
    """

    values: Array
    from_blocks: Callable[..., Array] | None = None


class Once:
    """A value that is returned once and then released, so that its memory can be reused."""

    def __init__(self, value: Array) -> None:
        self._value: Array | None = value

    @check.operation("save_for_backward")
    def __call__(self) -> Array:
        value, self._value = self._value, None
        if value is None:
            raise ValueError(
                "the potential was returned before, and its memory may have other numbers now; call "
                "the function once, and keep what it returns"
            )
        return value


def potential_format(name: str) -> AbstractContextManager[None]:
    """Save potentials for backward in one of `FORMATS`, within the block and this thread."""
    return _format.set(name)


def saves_float16() -> bool:
    """Return whether potentials are saved for backward as float16, in this thread."""
    return _format.get() == "float16"


def on_potential(callback: Callable[[Potentials], None]) -> AbstractContextManager[None]:
    """Call `callback` with the potentials of each layer of neurons that runs within the block and this thread.

    The callback must copy what it keeps: backward may overwrite the potentials.
    """
    return _observers.set((*_observers.get(), callback))


def potentials_are_observed() -> bool:
    """Return whether somebody is called with the potentials of layers, in this thread."""
    return bool(_observers.get())


def wanted_dtype(dtype: Any) -> Any:
    """Return the dtype in which a fused pass saves potentials that it computes in `dtype`; None without gradients."""
    if not grad_enabled():
        return None
    full = _format.get() == FORMATS[0] or _observers.get() or dtype != np.float32
    return dtype if full else np.dtype(np.float16)


def recomputable() -> bool:
    """Return whether backward may compute potentials again: they are wanted in full, and nobody observes them."""
    return grad_enabled() and _format.get() == FORMATS[0] and not _observers.get()


def save_for_backward(
    k: Any, u: Array, *, unit: float = 1.0, from_blocks: Callable[..., Array] | None = None
) -> Callable[[], Array]:
    """Save the potential u for backward, and return a function that returns it, once; a second call is a ValueError.

    In float16, in units of `unit`, the error of u is at most |u| / 2048, and 3e-8 below 6e-5; values beyond 65,504 are
    clipped. The relative error of the surrogate is then |u| / (2048 tau_rho theta): 5e-4 for a potential at theta and a
    tau_rho of 1. Spikes do not change. A potential that the pass saved in float16 itself (`wanted_dtype`) is returned
    in float16.
    """
    for callback in _observers.get():
        callback(Potentials(u, from_blocks))
    if _format.get() == FORMATS[0] or u.dtype == np.float16:
        return Once(u)
    dtype, half = u.dtype, Once(k.float16.store(u if unit == 1.0 else u / u.dtype.type(unit)))
    if unit == 1.0:
        return lambda: k.float16.load(half(), dtype)
    return lambda: k.float16.load(half(), dtype) * dtype.type(unit)
