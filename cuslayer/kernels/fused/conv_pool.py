"""A convolution of spikes, its neurons, sum pooling and its neurons in one pass on the CPU, forward and backward.

The rows of a map that belong to the same row of pooling windows are computed for all time together, as in
`conv_neuron.py`: neither the two weighted inputs, nor the spikes between, nor their gradients except the last are ever
stored as a whole, nor, where backward may compute them again, are the potentials before pooling. The pooling windows
must tile the map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Pooling, Spiking, Window
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.conv import weight_sums
from cuslayer.kernels.conv.spikes import CHUNK, Maps, Where, rows_of, weigh, where
from cuslayer.kernels.conv.weight_sums import PARTS, Order, order_of, room
from cuslayer.kernels.fused.checkpoints import Checkpoints, chunk, load_spikes, new_checkpoints, store_spikes
from cuslayer.kernels.fused.conv_neuron import new_potentials
from cuslayer.kernels.host.llvm import VECTOR_BYTES, run
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, prefetch, scratch, scratch_rows
from cuslayer.kernels.neuron import blocks
from cuslayer.kernels.neuron.blocks import Block, backward_of, begin, forward_of
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.pool.tiles import spread_tile, sum_tile
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import padded


class Tiles(NamedTuple):
    """The pooling windows: rows and columns of a window, and the number of windows in a row of a map."""

    height: int
    width: int
    columns: int
    gain: Any


@compiled
def _pool(first: int, last: int, s: Any, x: Any, low: int, high: int, m: Maps, tiles: Tiles) -> None:
    """Sum the spikes s of the rows [low, high) tile by tile into x; both are ring buffers over time."""
    spikes, sums, down = s.reshape(s.size), x.reshape(x.size), m.columns * m.outputs
    lanes = VECTOR_BYTES // x.itemsize
    whole = m.outputs // lanes * lanes
    for t in range(first, last):
        # Divisions that the compiler would leave in the loop over tiles.
        line, spike_line = t % len(x) * x.shape[1], t % len(s) * s.shape[1]
        for row in range(-(-(high - low) // tiles.height)):
            tall = min(tiles.height, high - low - row * tiles.height)
            for column in range(tiles.columns):
                wide = min(tiles.width, m.columns - column * tiles.width)
                at = line + (row * tiles.columns + column) * m.outputs
                begin = spike_line + row * tiles.height * down + column * tiles.width * m.outputs
                for c in range(0, whole, lanes):
                    sum_tile(sums, at + c, tiles.gain, spikes, begin + c, m.outputs, wide, down, tall)
                for c in range(whole, m.outputs):
                    total = 0
                    for y in range(tall):
                        for z in range(wide):
                            total += spikes[begin + c + y * down + z * m.outputs]
                    sums[at + c] = x.dtype.type(total) * tiles.gain


@compiled
def _pool_adjoint(t: int, errors: Any, g: Any, low: int, high: int, m: Maps, tiles: Tiles) -> None:
    """Write into g, for the rows [low, high) at step t, gain times the error of their tiles; both are ring buffers."""
    found, out, down = errors.reshape(errors.size), g.reshape(g.size), m.columns * m.outputs
    lanes = VECTOR_BYTES // g.itemsize
    whole = m.outputs // lanes * lanes
    line, out_line = t % len(errors) * errors.shape[1], t % len(g) * g.shape[1]
    for row in range(-(-(high - low) // tiles.height)):
        tall = min(tiles.height, high - low - row * tiles.height)
        for column in range(tiles.columns):
            wide = min(tiles.width, m.columns - column * tiles.width)
            at = line + (row * tiles.columns + column) * m.outputs
            begin = out_line + row * tiles.height * down + column * tiles.width * m.outputs
            for c in range(0, whole, lanes):
                spread_tile(found, at + c, tiles.gain, out, begin + c, m.outputs, wide, down, tall)
            for c in range(whole, m.outputs):
                error = tiles.gain * found[at + c]
                for y in range(tall):
                    for z in range(wide):
                        out[begin + c + y * down + z * m.outputs] = error


@compiled
def _forward(
    first: int,
    last: int,
    m: Maps,
    tiles: Tiles,
    spikes: Where,
    taps: Any,
    saved: Checkpoints,
    u: Any,
    pooled_u: Any,
    s: Any,
    neurons: Block,
    after: Block,
) -> None:
    width, pooled_width, rows = m.columns * m.outputs, tiles.columns * m.outputs, -(-m.rows // tiles.height)
    distance = padded(m.together * width)
    x = scratch_rows(neurons.history + CHUNK, distance, taps)
    fired = np.empty((neurons.spikes + CHUNK, distance), np.uint8)
    pooled = scratch_rows(after.history + CHUNK, padded(m.together // tiles.height * pooled_width), taps)
    passing = scratch_rows(CHUNK, 0 if u.size else distance, taps)
    memory, pooled_memory = scratch(neurons.rows * distance, taps), scratch(after.rows * pooled.shape[1], taps)
    for block in range(first, last):
        sample, low, high = rows_of(block, m)
        size = (high - low) * width
        pooled_at = (sample * rows + low // tiles.height) * pooled_width
        pooled_size = -(-(high - low) // tiles.height) * pooled_width
        potential = u[block] if u.size else passing
        behind = pooled_u[block] if pooled_u.size else passing
        begin(memory, (sample * m.rows + low) * width, size, neurons)
        begin(pooled_memory, pooled_at, pooled_size, after)
        for number in range(-(-m.steps // CHUNK)):
            t, end = chunk(number, m.steps)
            if saved.states.size:
                copy(saved.states[block, number, : neurons.states * size], memory[: neurons.states * size])
            weigh(t, end, x, sample, low, high, m, spikes, taps)
            blocks.forward(t, end, memory, x, 0, potential, 0, fired, 0, size, neurons)
            if saved.states.size:
                store_spikes(t, end, fired, saved.fired[block, number])
            _pool(t, end, fired, pooled, low, high, m, tiles)
            blocks.forward(t, end, pooled_memory, pooled, 0, behind, 0, s, pooled_at, pooled_size, after)


@compiled
def _potentials(
    first: int,
    last: int,
    block: int,
    size: int,
    memory: Any,
    x: Any,
    fired: Any,
    potential: Any,
    steps: int,
    saved: Checkpoints,
) -> None:
    """Compute the potentials of the chunk [first, last) again, from the weighted input x in a ring buffer."""
    number, count = -(-last // CHUNK) - 1, saved.neurons.states * size
    load_spikes(first - saved.neurons.spikes, first, steps, saved.fired[block], fired)
    copy(memory[:count], saved.states[block, number, :count])
    blocks.forward(first, last, memory, x, 0, potential, 0, fired, 0, size, saved.neurons)


@compiled
def _backward(
    first: int,
    last: int,
    parts_at: Any,
    m: Maps,
    tiles: Tiles,
    spikes: Where,
    order: Order,
    taps: Any,
    pooled_g: Any,
    saved: Checkpoints,
    u: Any,
    pooled_u: Any,
    y: Any,
    neurons: Block,
    after: Block,
    with_weights: bool,
) -> None:
    width, pooled_width, rows = m.columns * m.outputs, tiles.columns * m.outputs, -(-m.rows // tiles.height)
    again, distance = saved.states.size > 0, padded(m.together * width)
    g = scratch_rows(CHUNK, distance, u)
    pooled = scratch_rows(CHUNK, padded(m.together // tiles.height * pooled_width), u)
    passing = scratch_rows(CHUNK, 0 if y.size else distance, u)
    restored = scratch_rows(CHUNK, distance if again else 0, u)
    memory, ring = scratch(neurons.rows * distance, u), scratch_rows(max(neurons.history, 1), distance, u)
    pooled_memory = scratch(after.rows * pooled.shape[1], u)
    pooled_ring = scratch_rows(max(after.history, 1), pooled.shape[1], u)
    wide, history = distance if again else 0, saved.neurons.history
    x = scratch_rows(history + CHUNK, wide, u)
    fired = np.empty((saved.neurons.spikes + CHUNK, wide), np.uint8)
    restoring = scratch(saved.neurons.rows * wide, u)
    given = room(m, spikes, order, g)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low, high = rows_of(block, m)
            at, size = (sample * m.rows + low) * width, (high - low) * width
            pooled_at = (sample * rows + low // tiles.height) * pooled_width
            pooled_size = -(-(high - low) // tiles.height) * pooled_width
            errors, y_at = (y, at) if y.size else (passing, 0)
            potential, behind = restored if again else u[block], pooled_u[block]
            weighed = m.steps
            begin(memory, at, size, neurons)
            begin(pooled_memory, pooled_at, pooled_size, after)
            ring[:] = 0
            pooled_ring[:] = 0
            if again:
                begin(restoring, at, size, saved.neurons)
            for end in range(m.steps, 0, -CHUNK):
                t = max(end - CHUNK, 0)
                if again:
                    # The filter needs inputs from before the chunk; those behind it are there from the chunk before.
                    earliest = max(t - history, 0)
                    weigh(earliest, weighed, x, sample, low, high, m, spikes, saved.taps)
                    weighed = earliest
                    _potentials(t, end, block, size, restoring, x, fired, restored, m.steps, saved)
                blocks.backward(
                    t, end, pooled_memory, pooled_ring, pooled_g, pooled_at, behind, 0, pooled, 0, pooled_size, after
                )
                for k in range(t, end):
                    _pool_adjoint(k, pooled, g, low, high, m, tiles)
                    # What the next chunk reads lies in short rows, of which no processor foresees the next one.
                    if k >= CHUNK:
                        prefetch(pooled_g[k - CHUNK, pooled_at : pooled_at + pooled_size])
                        prefetch(behind[k - CHUNK, :pooled_size])
                blocks.backward(t, end, memory, ring, g, 0, potential, 0, errors, y_at, size, neurons)
                if with_weights:
                    run(order.adding, (t, end, errors, y_at, sample, low, high, m, spikes, order, given, taps[part]))


def _tiles(m: Maps, pooling: Pooling, dtype: Any) -> Tiles:
    height, width = pooling.window.kernel
    return Tiles(height, width, -(-m.columns // width), dtype.type(pooling.gain))


def conv_pool(
    x: SpikeList,
    steps: int,
    w: Array,
    window: Window,
    groups: int,
    response: Alpha | Array,
    spiking: Spiking | StepSpiking,
    pooling: Pooling,
    keep: Any,
) -> tuple[Any, Array, Array]:
    """Return the potentials before and after pooling, and the spikes (frames, rows, columns, outputs) after it.

    The arguments and the layout of the potentials are those of `conv_neuron`. With ``keep=Checkpoints``, the first is
    the checkpoints from which `conv_pool_adjoint` computes the potential before pooling again, to the same bits.
    """
    m = conv_spikes.pooled_maps(conv_spikes.maps(x, steps, w.shape[3], window), pooling.window.kernel[0])
    tiles = _tiles(m, pooling, w.dtype)
    rows, width = -(-m.rows // tiles.height), tiles.columns * m.outputs
    again = keep is Checkpoints
    u = new_potentials(m.kept, keep is not None and not again, w.dtype)
    pooled_shape = m.blocks, steps, m.together // tiles.height * width
    pooled_u = new_potentials(pooled_shape, keep is not None, w.dtype)
    s = empty((steps, m.samples * rows * width), bool)
    neurons = forward_of(w.dtype, steps, response, spiking)
    after = forward_of(w.dtype, steps, pooling.response, pooling.spiking)
    taps = conv_spikes.taps_in_runs(w, window, groups)
    checkpoints = new_checkpoints(m, again, taps, neurons)
    arrays = (taps, checkpoints, u, pooled_u, s.view(np.uint8), neurons, after)
    parallel_for(_forward, m.blocks, m, tiles, where(x, window, m.outputs, w.dtype, groups), *arrays, grain=1)
    return checkpoints if again else u, pooled_u, s.reshape(x.shape[0], rows, tiles.columns, m.outputs)


def conv_pool_adjoint(
    x: SpikeList,
    steps: int,
    g: Array,
    u: Array | Checkpoints,
    pooled_u: Array,
    window: Window,
    groups: int,
    response: Alpha | Array,
    spiking: Spiking | StepSpiking,
    pooling: Pooling,
    keep: bool,
) -> tuple[Array | None, Array]:
    """Return the gradients of the convolution's output, None without `keep`, and of the weights.

    g is the gradient of the spikes after pooling, u and pooled_u the potentials that `conv_pool` returns; see there.
    """
    alone = conv_spikes.maps(x, steps, g.shape[3], window)
    m = conv_spikes.pooled_maps(alone, pooling.window.kernel[0])
    # Blocks of other rows would sum the weight gradient in another order: it is computed from the errors then.
    apart = m != alone
    y = empty((steps, m.neurons) if keep or apart else (0, 0), g.dtype)
    parts = weight_sums.new_parts(x, m, window, groups, g.dtype)
    forward = forward_of(g.dtype, steps, response, spiking)
    checkpoints = u if isinstance(u, Checkpoints) else new_checkpoints(m, False, parts[0], forward)
    saved = np.empty((0, 0, 0), g.dtype) if isinstance(u, Checkpoints) else u, pooled_u
    given = where(x, window, m.outputs, g.dtype, groups), order_of(x, m, window, groups, g.dtype)
    arrays = (*given, parts, np.ascontiguousarray(g).reshape(steps, g.size // max(steps, 1)), checkpoints, *saved, y)
    neurons = backward_of(g.dtype, steps, response, spiking)
    after = backward_of(g.dtype, steps, pooling.response, pooling.spiking)
    bounds, tiles = weight_sums.bounds(m.blocks), _tiles(m, pooling, g.dtype)
    parallel_for(_backward, PARTS, bounds, m, tiles, *arrays, neurons, after, not apart, grain=1)
    errors = y.reshape(len(g), m.rows, m.columns, m.outputs) if y.size or keep else None
    if apart and errors is not None:
        return errors, weight_sums.weight_adjoint(x, errors, window, groups, steps)
    return errors, weight_sums.of_runs(parts.sum(axis=0), window, m.outputs, groups)
