"""Spike response neurons with a sampled refractory response on the CPU: twins of `sampled_srm.cu`.

The loops run over blocks of columns; see `cuslayer/_base/parallel.py`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from cuslayer._base.jit import compiled, inlined
from cuslayer._base.parallel import BLOCK, GRAIN, columns, parallel_for
from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import ScaledShape, flushed_taps, surrogate_numbers
from cuslayer.kernels.host.llvm import VECTOR_BYTES, call
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, scratch
from cuslayer.kernels.host.spike_words import WORD, load_bits, whole_words
from cuslayer.kernels.host.states import flushed
from cuslayer.kernels.scan.blocks import addresses_of
from cuslayer.kernels.step import print_numba
from cuslayer.kernels.step.kind import Curve
from cuslayer.kernels.time.sampled_srm.constants import SampledSpiking
from cuslayer.kernels.time.sampled_srm.refraction import PAIR, refract_row, signs_of_zero


class Surrogate(NamedTuple):
    """The surrogate of neurons for a pass."""

    address: int  # the function of a row
    numbers: Array  # its constants


@lru_cache(256)
def surrogate_of(spiking: ScaledShape, dtype: DType) -> Surrogate:
    """Return the surrogate of neurons in a number type."""
    numbers = np.array([*surrogate_numbers(spiking, dtype).values()], dtype)
    return Surrogate(_address(spiking.shape.curve, dtype), numbers)


@cache
def _address(curve: Curve, dtype: DType) -> int:
    pointer: Any = types.CPointer
    real = pointer(numba.from_dtype(dtype))
    return addresses_of(print_numba.slopes(curve), dtype, {"slopes": types.void(real, real, types.int64, real)})[0]


@inlined
def slopes(out: Any, u: Any, rho: Surrogate) -> None:
    """Write ``dt rho(u)`` of a row of potentials; NaN where u is not finite."""
    call(rho.address, (out, u, u.size, rho.numbers))


@compiled
def _surrogate_adjoint(first: int, last: int, g: Array, u: Array, y: Array, rho: Surrogate) -> None:
    slope = np.empty(min(BLOCK, last - first), g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for t in range(g.shape[0]):
            slopes(slope, u[t, low:high], rho)
            grad = g[t, low:high]
            out = y[t, low:high]
            for j in range(high - low):
                out[j] = flushed(slope[j] * grad[j])


def surrogate_adjoint(g: Array, u: Array, spiking: ScaledShape) -> Array:
    """Return the gradient of the potential, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    rho = surrogate_of(spiking, g.dtype)
    parallel_for(_surrogate_adjoint, flat.shape[1], flat, columns(u), columns(y), rho, grain=GRAIN)
    return y


@compiled
def _add_four(sums: Array, taps: Array, k: int, a: Array, b: Array, c: Array, d: Array) -> None:
    """Add to a row the products of four taps, from k on, with rows, in this order, with one load and store."""
    h0 = taps[k]
    h1 = taps[k + 1]
    h2 = taps[k + 2]
    h3 = taps[k + 3]
    for j in range(sums.size):
        sums[j] = (((sums[j] + h0 * a[j]) + h1 * b[j]) + h2 * c[j]) + h3 * d[j]


@compiled
def _add_one(sums: Array, tap: float, row: Array) -> None:
    for j in range(sums.size):
        sums[j] += tap * row[j]


@compiled
def _spike(
    first: int, last: int, a: Array, taps: Array, u: Array, s: Array, marks: Array, before: int, theta: float
) -> None:
    """The first `before` rows of s are the spikes of earlier steps; `marks` has the type of the bits of a vector."""
    lanes = VECTOR_BYTES // a.itemsize
    most = whole_words(min(BLOCK, last - first))
    apart = most // lanes
    ring = max(taps.size - 1, 1)
    signs = signs_of_zero(taps)
    # The spikes of the last steps, twice: from each step on, the steps before it are in order.
    earlier = scratch(2 * ring * apart, marks)
    sums = scratch(most, a)
    inputs = scratch(most, a)
    fired = scratch(most, s)
    flat = a.reshape(a.size)
    words = earlier.view(np.uint64)
    for low in range(first, last, BLOCK):
        size = min(BLOCK, last - low)
        for t in range(-min(before, ring), 0):
            copy(fired[:size], s[before + t, low : low + size])
            for n in range(0, most, WORD):
                words[(-t % ring * most + n) // WORD] = load_bits(fired, n)
            _repeat_row(earlier, -t % ring, ring, apart)
        for t in range(a.shape[0]):
            pairs = (size + PAIR * lanes - 1) // (PAIR * lanes)
            row = -t % ring
            count = min(before + t + 1, taps.size)
            if size % (PAIR * lanes):
                copy(inputs[:size], a[t, low : low + size])
                refract_row(
                    sums, fired, inputs, 0, taps, count, earlier, row * apart, apart, signs[count], theta, pairs
                )
            else:
                at = t * a.shape[1] + low
                refract_row(sums, fired, flat, at, taps, count, earlier, row * apart, apart, signs[count], theta, pairs)
            _repeat_row(earlier, row, ring, apart)
            copy(s[before + t, low : low + size], fired[:size])
            copy(u[t, low : low + size], sums[:size])


@compiled
def _repeat_row(earlier: Array, row: int, ring: int, apart: int) -> None:
    """Copy a row of spikes to its second place."""
    copy(earlier[(row + ring) * apart : (row + ring + 1) * apart], earlier[row * apart : (row + 1) * apart])


def sampled_spike(a: Array, spiking: SampledSpiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the filtered input a (T, ...).

    ``u[t] = a[t] + sum_{k>=1} nu[k] s[t-k]``, ``s[t] = (u[t] >= theta)``.
    """
    return sampled_spike_after(empty((0, *a.shape[1:]), bool), a, spiking)


def sampled_spike_after(before: Array, a: Array, spiking: SampledSpiking) -> tuple[Array, Array]:
    """Return the potential (T, ...) of the input a after earlier spikes (K, ...), and all spikes (K + T, ...)."""
    u = empty(a.shape, a.dtype)
    s = empty((len(before) + len(a), *a.shape[1:]), bool)
    s[: len(before)] = before
    flat = np.ascontiguousarray(columns(a))
    taps = flushed_taps(spiking.refractory, a.dtype)
    marks = np.empty(0, np.uint16 if a.dtype == np.float32 else np.uint8)
    theta = spiking.surrogate(a.dtype)[0]
    fired = columns(s.view(np.uint8))
    parallel_for(_spike, flat.shape[1], flat, taps, columns(u), fired, marks, len(before), theta, grain=GRAIN)
    return u, s


@compiled
def _spike_adjoint_exact(first: int, last: int, g: Array, u: Array, taps: Array, y: Array, rho: Surrogate) -> None:
    steps = g.shape[0]
    slope = np.empty(BLOCK, g.dtype)
    sums = np.empty(BLOCK, g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        total = sums[: high - low]
        for t in range(steps - 1, -1, -1):
            potential = u[t, low:high]
            out = y[t, low:high]
            count = min(steps - t, taps.size)
            k = 1
            copy(total, g[t, low:high])
            while k + 4 <= count:
                e0 = y[t + k, low:high]
                e1 = y[t + k + 1, low:high]
                e2 = y[t + k + 2, low:high]
                e3 = y[t + k + 3, low:high]
                _add_four(total, taps, k, e0, e1, e2, e3)
                k += 4
            while k < count:
                _add_one(total, taps[k], y[t + k, low:high])
                k += 1
            slopes(slope, potential, rho)
            for j in range(high - low):
                out[j] = flushed(slope[j] * total[j])


def sampled_spike_adjoint_exact(g: Array, u: Array, spiking: SampledSpiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    taps = flushed_taps(spiking.refractory, g.dtype)
    rho = surrogate_of(spiking, g.dtype)
    parallel_for(_spike_adjoint_exact, flat.shape[1], flat, columns(u), taps, columns(y), rho, grain=GRAIN)
    return y
