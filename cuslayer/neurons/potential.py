"""Membrane potentials: saved for backward, as they are or as float16, and passed to observers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import numpy as np

from cuslayer.backend import Array
from cuslayer.context import Setting
from cuslayer.tape import grad_enabled

FORMATS = ("full", "float16")

_format = Setting(FORMATS[0])
_observers: Setting[tuple[Callable[[Potentials], None], ...]] = Setting(())


class Potentials(NamedTuple):
    """The potentials of the neurons of one layer, in the order in which the forward pass keeps them.

    Attributes:
        values: (T, N, ...) or an array of as many rows, unless the pass keeps them in blocks.
        from_blocks: how a part is picked out of blocks, from the kernel that chose them; None of rows.
    """

    values: Array
    from_blocks: Callable[..., Array] | None = None

    def pick(self, part: Any) -> Array:
        """Return a part of the potentials at all times, (T, samples, ...) or (T, samples, k).

        Args:
            part: which samples and neurons, a `record.selection.Part`.
        """
        if self.from_blocks is None:
            return part.pick(self.values)
        return self.from_blocks(self.values, part.shape, part.samples, part.neurons)

    def own(self, part: Any) -> Array:
        """Return what `pick` does, as an array that shares no memory with the potentials."""
        return part.own(self.values) if self.from_blocks is None else self.pick(part)


class Once:
    """A value that is returned once and forgotten, so that its memory is free for other use."""

    def __init__(self, value: Array) -> None:
        self._value: Array | None = value

    def __call__(self) -> Array:
        value, self._value = self._value, None
        return cast(Array, value)


def potential_format(name: str) -> AbstractContextManager[None]:
    """Save the potentials of neurons that fire within the block (of this thread) in one of `FORMATS`."""
    return _format.set(name)


def on_potential(callback: Callable[[Potentials], None]) -> AbstractContextManager[None]:
    """Call back with the potentials of neurons that fire within the block (of this thread).

    They are to be copied at once: backward may write over them.
    """
    return _observers.set((*_observers.get(), callback))


def wanted_dtype(dtype: Any) -> Any:
    """Return the type in which a fused pass should keep potentials of a type; None where nothing needs them."""
    if not grad_enabled():
        return None
    full = _format.get() == FORMATS[0] or _observers.get() or dtype != np.float32
    return dtype if full else np.dtype(np.float16)


def save_for_backward(
    k: Any, u: Array, *, unit: float = 1.0, from_blocks: Callable[..., Array] | None = None
) -> Callable[[], Array]:
    """Keep the potential u for backward; return a function that gives it back, once.

    As float16, in units of `unit`, u errs by |u| / 2048 at most, and by 3e-8 where it is under 6e-5; beyond 65,504 it
    is clipped. The surrogate then errs by a share of |u| / (2048 tau_rho theta): 5e-4 for a potential at theta, where
    tau_rho is 1. Spikes do not change. What a pass has kept as float16 itself (`wanted_dtype`) is returned so.

    Args:
        k: the kernels of u's device.
        u: the potential.
        unit: what float16 counts in.
        from_blocks: see `Potentials`.
    """
    for callback in _observers.get():
        callback(Potentials(u, from_blocks))
    if _format.get() == FORMATS[0] or u.dtype == np.float16:
        return Once(u)
    dtype, half = u.dtype, Once(k.float16.store(u if unit == 1.0 else u / u.dtype.type(unit)))
    if unit == 1.0:
        return lambda: k.float16.load(half(), dtype)
    return lambda: k.float16.load(half(), dtype) * dtype.type(unit)
