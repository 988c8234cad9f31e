"""A convolution of spikes, its neurons, sum pooling and the neurons of that in one pass on the CPU, and the way back.

The rows of a map that lie in the same row of pooling windows are brought through all time together, as in
`conv_neuron.py`: neither the weighted inputs of the two, nor the spikes between, nor any of their gradients but the
last is ever whole. Pooling must tile the map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Pooling, Recurrence, Spiking, Window
from cuslayer.kernels.conv.spikes import (
    CHUNK,
    PARTS,
    Maps,
    Where,
    bounds,
    maps,
    of_runs,
    pooled_maps,
    taps_in_runs,
    weigh,
    weigh_adjoint,
    where,
)
from cuslayer.kernels.conv.spikes import weight_adjoint as weight_adjoint_alone
from cuslayer.kernels.fused.conv_neuron import as_kept, bring_back, kept_in, put_away
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import backward_block, forward_block, forward_constants


class Tiles(NamedTuple):
    """The pooling windows: rows and columns of one, and how many columns of them a map has."""

    height: int
    width: int
    columns: int
    gain: Any


@compiled
def _pool(first: int, last: int, s: Any, x: Any, low: int, high: int, m: Maps, tiles: Tiles) -> None:
    """Sum the spikes s of the rows [low, high) tile by tile into x; both are rings over time."""
    for t in range(first, last):
        for row in range(-(-(high - low) // tiles.height)):
            for column in range(tiles.columns):
                at = (row * tiles.columns + column) * m.outputs
                total = x[t % len(x), at : at + m.outputs]
                total[:] = 0
                for y in range(row * tiles.height, min((row + 1) * tiles.height, high - low)):
                    for z in range(column * tiles.width, min((column + 1) * tiles.width, m.columns)):
                        pixel = s[t % len(s), (y * m.columns + z) * m.outputs : (y * m.columns + z + 1) * m.outputs]
                        for c in range(total.size):
                            total[c] += pixel[c]
                for c in range(total.size):
                    total[c] *= tiles.gain


@compiled
def _pool_adjoint(first: int, last: int, errors: Any, g: Any, low: int, high: int, m: Maps, tiles: Tiles) -> None:
    """Write into g, for each of the rows [low, high), gain times the error of its tile; both are rings over time."""
    for t in range(first, last):
        for y in range(high - low):
            for column in range(tiles.columns):
                at = (y // tiles.height * tiles.columns + column) * m.outputs
                error = errors[t % len(errors), at : at + m.outputs]
                for z in range(column * tiles.width, min((column + 1) * tiles.width, m.columns)):
                    pixel = g[t % len(g), (y * m.columns + z) * m.outputs : (y * m.columns + z + 1) * m.outputs]
                    for c in range(pixel.size):
                        pixel[c] = tiles.gain * error[c]


@compiled
def _forward(
    first: int,
    last: int,
    m: Maps,
    tiles: Tiles,
    spikes: Where,
    taps: Any,
    u: Any,
    half: Any,
    pooled_u: Any,
    pooled_half: Any,
    s: Any,
    theta: Any,
    f: Recurrence,
    nu: Recurrence,
    pooled_theta: Any,
    pooled_f: Recurrence,
    pooled_nu: Recurrence,
) -> None:
    width, pooled_width = m.columns * m.outputs, tiles.columns * m.outputs
    blocks, rows = -(-m.rows // m.together), -(-m.rows // tiles.height)
    x = np.empty((f.cut + CHUNK, m.together * width), taps.dtype)
    fired = np.empty((nu.cut + CHUNK, m.together * width), np.uint8)
    pooled = np.empty((pooled_f.cut + CHUNK, m.together // tiles.height * pooled_width), taps.dtype)
    passing = np.empty((CHUNK, 0 if u.size else m.together * width), taps.dtype)
    state, pooled_state = np.empty(4 * x.shape[1], taps.dtype), np.empty(4 * pooled.shape[1], taps.dtype)
    for block in range(first, last):
        sample, low = block // blocks, block % blocks * m.together
        high = min(low + m.together, m.rows)
        size = (high - low) * width
        pooled_at = (sample * rows + low // tiles.height) * pooled_width
        pooled_size = -(-(high - low) // tiles.height) * pooled_width
        potential, behind = (u[block], pooled_u[block]) if u.size else (passing, passing)
        state[:] = 0
        pooled_state[:] = 0
        for t in range(0, m.steps, CHUNK):
            end = min(t + CHUNK, m.steps)
            weigh(t, end, x, sample, low, high, m, spikes, taps)
            forward_block(t, end, state, x, 0, potential, 0, fired, 0, size, theta, f, nu)
            if half.size:
                put_away(t, end, size, potential, half[block])
            _pool(t, end, fired, pooled, low, high, m, tiles)
            forward_block(
                *(t, end, pooled_state, pooled, 0, behind, 0, s, pooled_at, pooled_size),
                *(pooled_theta, pooled_f, pooled_nu),
            )
            if half.size:
                put_away(t, end, pooled_size, behind, pooled_half[block])


@compiled
def _backward(
    first: int,
    last: int,
    parts_at: Any,
    m: Maps,
    tiles: Tiles,
    spikes: Where,
    taps: Any,
    pooled_g: Any,
    u: Any,
    half: Any,
    pooled_u: Any,
    pooled_half: Any,
    y: Any,
    theta: Any,
    steep: Any,
    height: Any,
    f: Recurrence,
    pooled_theta: Any,
    pooled_steep: Any,
    pooled_height: Any,
    pooled_f: Recurrence,
    with_weights: bool,
) -> None:
    width, pooled_width = m.columns * m.outputs, tiles.columns * m.outputs
    blocks, rows = -(-m.rows // m.together), -(-m.rows // tiles.height)
    g = np.empty((CHUNK, m.together * width), u.dtype)
    pooled = np.empty((CHUNK, m.together // tiles.height * pooled_width), u.dtype)
    passing = np.empty((CHUNK, 0 if y.size else m.together * width), u.dtype)
    restored = np.empty((CHUNK, m.together * width if half.size else 0), u.dtype)
    pooled_restored: Any = np.empty((CHUNK, pooled.shape[1] if half.size else 0), u.dtype)
    state, ring = np.empty(2 * g.shape[1], u.dtype), np.empty((max(f.cut, 1), g.shape[1]), u.dtype)
    pooled_state = np.empty(2 * pooled.shape[1], u.dtype)
    pooled_ring = np.empty((max(pooled_f.cut, 1), pooled.shape[1]), u.dtype)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low = block // blocks, block % blocks * m.together
            high = min(low + m.together, m.rows)
            at, size = (sample * m.rows + low) * width, (high - low) * width
            pooled_at = (sample * rows + low // tiles.height) * pooled_width
            pooled_size = -(-(high - low) // tiles.height) * pooled_width
            errors, y_at = (y, at) if y.size else (passing, 0)
            potential, behind = (restored, pooled_restored) if half.size else (u[block], pooled_u[block])
            state[:] = 0
            ring[:] = 0
            pooled_state[:] = 0
            pooled_ring[:] = 0
            for end in range(m.steps, 0, -CHUNK):
                t = max(end - CHUNK, 0)
                if half.size:
                    bring_back(t, end, size, half[block], restored)
                    bring_back(t, end, pooled_size, pooled_half[block], pooled_restored)
                backward_block(
                    *(t, end, pooled_state, pooled_ring),
                    *(pooled_g, pooled_at, behind, 0, pooled, 0, pooled_size),
                    *(pooled_theta, pooled_steep, pooled_height, pooled_f),
                )
                _pool_adjoint(t, end, pooled, g, low, high, m, tiles)
                backward_block(t, end, state, ring, g, 0, potential, 0, errors, y_at, size, theta, steep, height, f)
                if with_weights:
                    weigh_adjoint(t, end, errors, y_at, sample, low, high, m, spikes, taps[part])


def _tiles(m: Maps, pooling: Pooling, dtype: Any) -> Tiles:
    height, width = pooling.window.kernel
    return Tiles(height, width, -(-m.columns // width), dtype.type(pooling.gain))


def conv_pool(
    x: SpikeList, steps: int, w: Array, window: Window, response: Alpha, spiking: Spiking, pooling: Pooling, keep: Any
) -> tuple[Array, Array, Array]:
    """Return the potentials before and after pooling, and the spikes (frames, rows, columns, outputs) after it.

    The potentials are for the way back alone, as those of `conv_neuron` are.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step lying together.
        steps: how many steps the frames make.
        w: (kh, kw, C, outputs).
        window: steps of one, no gaps.
        response: the spike response of the neurons behind the convolution.
        spiking: their threshold and refraction.
        pooling: what follows.
        keep: the type that the potentials shall be kept in, w's or float16, or None.
    """
    m = pooled_maps(maps(x, steps, w.shape[3], window), pooling.window.kernel[0])
    tiles = _tiles(m, pooling, w.dtype)
    rows, width = -(-m.rows // tiles.height), tiles.columns * m.outputs
    u, *both = kept_in(m.kept, keep, w.dtype)
    pooled_u, *pooled_both = kept_in((m.blocks, steps, m.together // tiles.height * width), keep, w.dtype)
    s = empty((steps, m.samples * rows * width), bool)
    constants = (
        *forward_constants(w.dtype, steps, response, spiking),
        *forward_constants(w.dtype, steps, pooling.response, pooling.spiking),
    )
    arrays = (taps_in_runs(w), *both, *pooled_both, s.view(np.uint8))
    parallel_for(_forward, m.blocks, m, tiles, where(x, window), *arrays, *constants, grain=1)
    return u, pooled_u, s.reshape(x.shape[0], rows, tiles.columns, m.outputs)


def conv_pool_adjoint(
    x: SpikeList,
    steps: int,
    g: Array,
    u: Array,
    pooled_u: Array,
    window: Window,
    response: Alpha,
    spiking: Spiking,
    pooling: Pooling,
    keep: bool,
) -> tuple[Array | None, Array]:
    """Return the gradients of the convolution's output, where they shall be kept, and of the weights.

    Args:
        x: (frames, H, W, C).
        steps: how many steps the frames make.
        g: (frames, rows, columns, outputs), the gradient of the spikes after pooling.
        u: the potential before pooling, as conv_pool returns it.
        pooled_u: the potential after pooling, as conv_pool returns it.
        window: steps of one, no gaps.
        response: the spike response of the neurons behind the convolution.
        spiking: their threshold and surrogate.
        pooling: what follows.
        keep: whether the gradient of the convolution's output is wanted.
    """
    alone = maps(x, steps, g.shape[3], window)
    m = pooled_maps(alone, pooling.window.kernel[0])
    # Blocks of other rows would add the weight gradient up in another order: it is made from the errors then.
    apart = m != alone
    y = empty((steps, m.neurons) if keep or apart else (0, 0), g.dtype)
    parts = np.zeros((PARTS, window.kernel[0], x.shape[3], window.kernel[1] * m.outputs), g.dtype)
    flat = (parts, g.reshape(steps, g.size // max(steps, 1)), *as_kept(u, g.dtype), *as_kept(pooled_u, g.dtype), y)
    constants = (
        *spiking.surrogate(g.dtype),
        response.recurrence(g.dtype, steps),
        *pooling.spiking.surrogate(g.dtype),
        pooling.response.recurrence(g.dtype, steps),
    )
    tiles = _tiles(m, pooling, g.dtype)
    parallel_for(_backward, PARTS, bounds(m.blocks), m, tiles, where(x, window), *flat, *constants, not apart, grain=1)
    errors = y.reshape(len(g), m.rows, m.columns, m.outputs) if y.size or keep else None
    if apart and errors is not None:
        return errors, weight_adjoint_alone(x, errors, window, steps)
    return errors, of_runs(parts.sum(axis=0), window, m.outputs)
