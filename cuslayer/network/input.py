"""Checks of a network's input: its shape, and for numbers, that they are finite and not pixels from 0 to 255."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import numpy as np

from cuslayer import check
from cuslayer.backend import Setting
from cuslayer.data.events import Events
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.tape import Tensor, as_tensor

# What to do about an input without spikes.
SILENT_INPUT = "check the recordings, and the duration, the region and the time step with which they are read"

_inside = Setting(False)
_warned: WeakSet[Any] = WeakSet()


@check.operation("network")
def as_input(x: Any) -> Tensor:
    """Return the input of a network as a tensor."""
    if isinstance(x, (Tensor, np.ndarray, PackedSpikes)) and x.dtype.kind in "biuf":
        return as_tensor(x)
    got = _not_an_array(x)
    if got:
        raise TypeError(f"x must be an array (T, N, ...), got {got}")
    try:
        return as_tensor(x)
    except ValueError:
        raise ValueError("x must be an array (T, N, ...), got rows of unequal length") from None


def _not_an_array(x: Any) -> str:
    """Return what x is instead of an array, and what to do; '' if it may become one."""
    if isinstance(x, (str, os.PathLike)):
        return f"the path {os.fspath(x)!r}; read the file first"
    if isinstance(x, Events) or (isinstance(x, (list, tuple)) and len(x) and isinstance(x[0], Events)):
        return "Events; events.to_spikes(shape, steps)[:, None] is a batch of one"
    if isinstance(x, tuple) and len(x) == 2 and len({getattr(each, "ndim", 0) for each in x}) == 2:
        return "a pair; a batch of a Loader is unpacked, as in for x, labels in loader"
    if isinstance(x, (list, tuple, int, float)) or hasattr(x, "dtype") or hasattr(x, "__array__"):
        return ""
    more = "; iterate over its batches, as in for x, labels in loader" if hasattr(x, "__iter__") else ""
    return f"{'None' if x is None else type(x).__name__}{more}"


def check_stage(container: str, name: str, stage: Any) -> None:
    """Raise TypeError unless a stage of a network, such as "layer 0", can be called on a tensor."""
    check.instance(name, stage)
    if not callable(stage):
        hint = f"; write {container}(*stages)" if isinstance(stage, (list, tuple)) else ""
        raise TypeError(f"{name} must be callable, got {type(stage).__name__}{hint}")


@contextmanager
@check.operation("network")
def checked_input(net: Any, x: Tensor) -> Iterator[None]:
    """Check the numbers of a network's input, and within the block those of no network, which is part of this one.

    The smallest and the largest number are looked at, and all others where these are those of pixels. Spikes need no
    check.

    Warns:
        UserWarning: the numbers look like pixels from 0 to 255; once for a network.
    """
    ends = None if _inside.get() else _range("x", x)
    if ends:
        found = check.pixels("x", *ends, lambda: bool((x.data % 1 == 0).all()))
        if found and net not in _warned:
            _warned.add(net)
            check.warn(found)
    with _inside.set(True):
        yield


def finite_input(name: str, x: Any) -> Tensor:
    """Return the input of an inspection as a tensor; errors name the operation."""
    x = as_tensor(x)
    _range(name, x)
    return x


def _range(name: str, x: Tensor) -> tuple[float, float] | None:
    """Return the smallest and the largest number of x; None for spikes, and for an array without elements."""
    if x.dtype == bool or not x.size:
        return None
    low, high = float(x.data.min()), float(x.data.max())
    check.finite_range(name, low, high)
    return low, high


def shape_hint(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return what to do with an input of another shape than (T, N) and `wanted`, or '' if that is not known.

    >>> shape_hint((300, 34, 34, 2), (34, 34, 2))
    '; one sample needs a batch axis, x[:, None]'
    """
    if got[1:] == wanted:
        return "; one sample needs a batch axis, x[:, None]"
    if len(wanted) == 3 and len(got) == 5:
        rows, columns, channels = wanted
        if got[1:4] == (channels, rows, columns):
            return "; it looks like (N, C, H, W, T), which from_nchwt converts"
        if got[2:] == (channels, rows, columns):
            return "; channels come last, np.moveaxis(x, 2, -1)"
    if len(wanted) == 3 and len(got) == 4 and wanted[2] == 1 and got[2:] == wanted[:2]:
        return "; frames of one channel need its axis, x[..., None]"
    if len(got) != len(wanted) + 2 and math.prod(got[2:]) == math.prod(wanted) and len(got) > 2:
        sizes = ", ".join(map(str, wanted))
        what = "flatten it" if len(wanted) == 1 else "frames are not flat"
        return f"; {what}, x.reshape(*x.shape[:2], {sizes})"
    return ""
