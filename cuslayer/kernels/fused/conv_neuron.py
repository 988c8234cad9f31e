"""A convolution of spikes and its neurons in one pass on the CPU, and the way back.

A few rows of a map, a block, are brought through all time before the next: their weighted input is made, filtered and
forgotten while it is in the cache, and so are its gradients on the way back. One after the other, they would travel to
memory. The results are those of `conv` and `neuron` to the bit. `conv_pool.py` goes on through a pooling layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking, Window
from cuslayer.kernels.conv.spikes import (
    CHUNK,
    PARTS,
    Maps,
    Where,
    bounds,
    maps,
    of_runs,
    taps_in_runs,
    weigh,
    weigh_adjoint,
    where,
)
from cuslayer.kernels.float16.cpu import decode_bits, encode_bits
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import backward_block, forward_block, forward_constants


def kept_in(shape: tuple[int, int, int], keep: Any, dtype: Any) -> tuple[Array, Array, Array]:
    """Return an array for potentials, and it twice as kernels take it: as numbers, and as the bits of float16.

    One of the two is empty; both are where nothing shall be kept.

    Args:
        shape: of the array.
        keep: the type to keep potentials in: dtype, float16, or None for nothing.
        dtype: the type of the potentials.
    """
    u = empty((0, 0, 0) if keep is None else shape, keep or dtype)
    return u, *as_kept(u, dtype)


def as_kept(u: Array, dtype: Any) -> tuple[Array, Array]:
    """Return potentials that `kept_in` has kept as kernels take them."""
    if u.dtype == np.float16:
        return np.empty((0, 0, 0), dtype), u.view(np.uint16)
    return u, np.empty((0, 0, 0), np.uint16)


@compiled
def put_away(first: int, last: int, width: int, potential: Any, half: Any) -> None:
    """Keep the potentials of some steps, a ring over time, as float16."""
    for t in range(first, last):
        encode_bits(0, width, potential[t % len(potential)], half[t])


@compiled
def bring_back(first: int, last: int, width: int, half: Any, potential: Any) -> None:
    """Write the potentials that were kept of some steps into a ring over time."""
    for t in range(first, last):
        decode_bits(0, width, half[t], potential[t % len(potential)])


@compiled
def _forward(
    first: int,
    last: int,
    m: Maps,
    spikes: Where,
    taps: Any,
    u: Any,
    half: Any,
    s: Any,
    theta: Any,
    f: Recurrence,
    nu: Recurrence,
) -> None:
    width = m.columns * m.outputs
    blocks = -(-m.rows // m.together)
    x = np.empty((f.cut + CHUNK, m.together * width), taps.dtype)
    passing = np.empty((CHUNK, 0 if u.size else m.together * width), taps.dtype)
    state = np.empty(4 * m.together * width, taps.dtype)
    for block in range(first, last):
        sample, low = block // blocks, block % blocks * m.together
        high = min(low + m.together, m.rows)
        at, size = (sample * m.rows + low) * width, (high - low) * width
        potential = u[block] if u.size else passing
        state[:] = 0
        for t in range(0, m.steps, CHUNK):
            end = min(t + CHUNK, m.steps)
            weigh(t, end, x, sample, low, high, m, spikes, taps)
            forward_block(t, end, state, x, 0, potential, 0, s, at, size, theta, f, nu)
            if half.size:
                put_away(t, end, size, potential, half[block])


@compiled
def _backward(
    first: int,
    last: int,
    parts_at: Any,
    m: Maps,
    spikes: Where,
    taps: Any,
    g: Any,
    u: Any,
    half: Any,
    y: Any,
    theta: Any,
    steep: Any,
    height: Any,
    f: Recurrence,
) -> None:
    width = m.columns * m.outputs
    blocks = -(-m.rows // m.together)
    restored = np.empty((CHUNK, m.together * width if half.size else 0), g.dtype)
    passing = np.empty((CHUNK, 0 if y.size else m.together * width), g.dtype)
    state = np.empty(2 * m.together * width, g.dtype)
    ring = np.empty((max(f.cut, 1), m.together * width), g.dtype)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low = block // blocks, block % blocks * m.together
            high = min(low + m.together, m.rows)
            at, size = (sample * m.rows + low) * width, (high - low) * width
            errors, y_at = (y, at) if y.size else (passing, 0)
            potential = restored if half.size else u[block]
            state[:] = 0
            ring[:] = 0
            for end in range(m.steps, 0, -CHUNK):
                t = max(end - CHUNK, 0)
                if half.size:
                    bring_back(t, end, size, half[block], restored)
                backward_block(t, end, state, ring, g, at, potential, 0, errors, y_at, size, theta, steep, height, f)
                weigh_adjoint(t, end, errors, y_at, sample, low, high, m, spikes, taps[part])


def conv_neuron(
    x: SpikeList, steps: int, w: Array, window: Window, response: Alpha, spiking: Spiking, keep: Any
) -> tuple[Array, Array]:
    """Return the potential u and the spikes s (frames, rows, columns, outputs).

    u is for the way back alone, block by block: (blocks, steps, numbers of a block), nothing if it shall not be kept.
    Row by row, as s is, the pieces of a block would lie at distances of a power of two, where caches and memory are
    slow.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step lying together.
        steps: how many steps the frames make.
        w: (kh, kw, C, outputs).
        window: steps of one, no gaps.
        response: the spike response.
        spiking: threshold and refraction.
        keep: the type that u shall be kept in, w's or float16, or None.
    """
    m = maps(x, steps, w.shape[3], window)
    u, *both = kept_in(m.kept, keep, w.dtype)
    s = empty((steps, m.neurons), bool)
    constants = forward_constants(w.dtype, steps, response, spiking)
    parallel_for(_forward, m.blocks, m, where(x, window), taps_in_runs(w), *both, s.view(np.uint8), *constants, grain=1)
    return u, s.reshape(x.shape[0], m.rows, m.columns, m.outputs)


def conv_neuron_adjoint(
    x: SpikeList, steps: int, g: Array, u: Array, window: Window, response: Alpha, spiking: Spiking, keep: bool
) -> tuple[Array | None, Array]:
    """Return the gradients of the weighted input, where they shall be kept, and of the weights.

    Args:
        x: (frames, H, W, C).
        steps: how many steps the frames make.
        g: (frames, rows, columns, outputs), the gradient of the spikes.
        u: as conv_neuron returns it.
        window: steps of one, no gaps.
        response: the spike response.
        spiking: threshold and surrogate.
        keep: whether the gradient of the weighted input is wanted.
    """
    m = maps(x, steps, g.shape[3], window)
    y = empty((steps, m.neurons) if keep else (0, 0), g.dtype)
    parts = np.zeros((PARTS, window.kernel[0], x.shape[3], window.kernel[1] * m.outputs), g.dtype)
    constants = *spiking.surrogate(g.dtype), response.recurrence(g.dtype, steps)
    flat = (parts, g.reshape(steps, m.neurons), *as_kept(u, g.dtype), y)
    parallel_for(_backward, PARTS, bounds(m.blocks), m, where(x, window), *flat, *constants, grain=1)
    return y.reshape(g.shape) if keep else None, of_runs(parts.sum(axis=0), window, m.outputs)
