"""Helpers of the launchers: arrays on the right device, contiguous rows, constants by the names of parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from cuslayer.backend import Array, DType, namespace, numeric, numeric_type, sent_once
from cuslayer.kernels.constants import flushed_taps
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.kernels.step.filters import Alpha

# Steps of a batch: AHEAD of common.cuh. A thread of a tiled kernel computes so many; ring buffers have whole batches.
TILE = 8

# The forms of a signal: Form of spike_count.cu.
SPIKES, NUMBERS, PACKED = range(3)

# For each library of kernels, the counter of each device; see `arrived`.
_arrived: WeakKeyDictionary[source.Library, dict[int, Array]] = WeakKeyDictionary()


def sizes(x: Array) -> tuple[int, int]:
    """Return the numbers of steps and columns of x (T, ...)."""
    return x.shape[0], math.prod(x.shape[1:])


def empty(beside: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialized array on the device of another."""
    return namespace(beside).empty(shape, dtype)


def zeros(beside: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of zeros on the device of another."""
    return namespace(beside).zeros(shape, dtype)


def contiguous(x: Array) -> Array:
    """Return x as a C-contiguous array, copied if it is not, as a broadcast gradient."""
    return namespace(x).ascontiguousarray(x)


def numbers(x: Array) -> Array:
    """Return spikes as float32, and numbers unchanged, contiguous."""
    return contiguous(numeric(x))


def samples(taps: Array, beside: Array) -> Array:
    """Return the samples of a filter in the type of a signal, on its device; they are sent there once."""
    flushed = contiguous(flushed_taps(taps, beside.dtype))
    return sent_once(flushed, beside) if namespace(taps) is np else flushed


def arrived(beside: Array) -> Array:
    """Return the counter of blocks of the device in use, (1,) uint32: 0 before and after each launch with it.

    All kernels share it, since they run one after another in the current stream.
    """
    counters = _arrived.setdefault(source.library, {})
    device = source.library.driver.device()
    if device not in counters:
        counters[device] = namespace(beside).zeros((1,), np.uint32)
    return counters[device]


def train(s: Array | PackedSpikes, real: Any = np.float32) -> tuple[dict[str, Any], Array, DType]:
    """Return the arguments of a kernel that takes every form of a signal (T, N, ...), the array in it, and its `real`.

    Kernels read booleans and packed spikes directly, with a given number type. Packed spikes are unpacked unless a
    sample's step is one line.
    """
    if isinstance(s, PackedSpikes) and (s.lines != 1 or s.frames != math.prod(s.shape[:2])):
        s = s.unpack()
    if isinstance(s, PackedSpikes):
        form = PACKED
        x = s.words
    else:
        form = SPIKES if s.dtype == bool else NUMBERS
        x = contiguous(s if form == SPIKES else numeric(s))
    dtype = x.dtype if form == NUMBERS else np.dtype(real)
    return {"form": form, ("spikes", "numbers", "packed")[form]: x}, x, dtype


@lru_cache(maxsize=256)
def recurrence(alpha: Alpha, dtype: DType, steps: int) -> Mapping[str, Any]:
    """Return the constants of a filter, by their names in the kernels.

    The kernels take a cut at `steps` for a filter that is never cut.
    """
    f = alpha.recurrence(dtype, steps)
    f = f if f.cut else f._replace(cut=steps)
    return f._asdict()


def most_shared() -> int:
    """Return the largest number of bytes of shared memory that a block can have on the device in use."""
    driver = source.library.driver
    return _most_shared(driver, driver.device())


@lru_cache(maxsize=16)
def _most_shared(driver: source.Driver, device: int) -> int:
    # CuPy reads all attributes of a device to return one.
    return driver.shared_bytes()


def over_time(
    name: str, x: Array, out: str = "y", kind: str = "", /, *, tiled: bool = False, **arguments: Any
) -> Array:
    """Launch a kernel over a signal x (T, ...), for spikes its float32 version, and return its output, shaped as x.

    A thread computes TILE steps of one column if `tiled`, else all steps. See `kernel` for `kind`.
    """
    steps, columns = sizes(x)
    threads = -(-steps // TILE) * columns if tiled else columns
    y = empty(x, x.shape, x.dtype)
    arguments[out] = y
    dtype = numeric_type(x.dtype)
    kernel(name, dtype, kind)(threads, **arguments)
    return y
