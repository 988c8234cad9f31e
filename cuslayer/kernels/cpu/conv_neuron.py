"""A convolution of spikes and its neurons in one pass on the CPU, and the way back to the weights.

A few rows of a map are brought through all time before the next: their weighted input is made, filtered and forgotten
while it is in the cache, and so are its gradients on the way back. One after the other, they would travel to memory.
The results are those of `conv` and `neuron` to the bit, but for the order in which a weight's gradient is summed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, spread
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking
from cuslayer.kernels.cpu.conv_spikes import PARTS, bounds, of_runs, places, taps_in_runs, walk_row
from cuslayer.kernels.cpu.events import SpikeList
from cuslayer.kernels.cpu.memory import empty
from cuslayer.kernels.cpu.neuron import advance, forward_constants, retreat
from cuslayer.kernels.geometry import Window

# Neurons that are brought through time together: 300 steps of them are about as much as the second cache holds.
_TOGETHER = 1024


@compiled
def _forward(
    first: int,
    last: int,
    where: Any,
    taps: Any,
    u: Any,
    s: Any,
    shape: Any,
    theta: Any,
    f: Recurrence,
    nu: Recurrence,
) -> None:
    start, index, place, height, window = where
    samples, rows, width, together = shape
    blocks = -(-rows // together)
    x = np.empty((len(u), together * width), u.dtype)
    for block in range(first, last):
        sample, low = block // blocks, block % blocks * together
        high = min(low + together, rows)
        for t in range(len(u)):
            for y in range(low, high):
                line = x[t, (y - low) * width : (y - low + 1) * width]
                line[:] = 0
                walk_row(line, y, t * samples + sample, start, index, place, height, window, taps, True)
        at = (sample * rows + low) * width
        advance(x, 0, u, s, at, at + (high - low) * width, theta, f, nu)


@compiled
def _backward(
    first: int,
    last: int,
    parts_at: Any,
    where: Any,
    taps: Any,
    g: Any,
    u: Any,
    shape: Any,
    theta: Any,
    steep: Any,
    height: Any,
    f: Recurrence,
) -> None:
    start, index, place, image_height, window = where
    samples, rows, width, together = shape
    blocks = -(-rows // together)
    errors = np.empty((len(g), together * width), g.dtype)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low = block // blocks, block % blocks * together
            high = min(low + together, rows)
            at = (sample * rows + low) * width
            retreat(g, u, at, at + (high - low) * width, errors, 0, theta, steep, height, f)
            for t in range(len(g)):
                for y in range(low, high):
                    line = errors[t, (y - low) * width : (y - low + 1) * width]
                    walk_row(
                        line, y, t * samples + sample, start, index, place, image_height, window, taps[part], False
                    )


def conv_neuron(
    x: SpikeList, steps: int, w: Array, window: Window, response: Alpha, spiking: Spiking
) -> tuple[Array, Array]:
    """Return the potential u and the spikes s (frames, rows, columns, outputs) of neurons behind a convolution.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step lying together.
        steps: how many steps the frames make.
        w: (kh, kw, C, outputs).
        window: steps of one, no gaps.
        response: the spike response.
        spiking: threshold and refraction.
    """
    shape = _shape(x, steps, w, window)
    columns = shape[0] * shape[1] * shape[2]
    u, s = empty((steps, columns), w.dtype), empty((steps, columns), bool)
    constants = forward_constants(w.dtype, steps, response, spiking)
    spread(
        _forward, _blocks(shape), _where(x, window), taps_in_runs(w), u, s.view(np.uint8), shape, *constants, grain=1
    )
    maps = (x.shape[0], shape[1], shape[2] // w.shape[3], w.shape[3])
    return u.reshape(maps), s.reshape(maps)


def conv_neuron_weight_adjoint(
    x: SpikeList, steps: int, g: Array, u: Array, window: Window, response: Alpha, spiking: Spiking
) -> Array:
    """Return the gradient (kh, kw, C, outputs) of the weights, of g and u as conv_neuron returns u."""
    shape = _shape(x, steps, g, window)
    columns = shape[0] * shape[1] * shape[2]
    g, u = g.reshape(steps, columns), u.reshape(steps, columns)
    outputs = shape[2] // window.outputs("conv", x.shape[1:3], ceil=False)[1]
    parts = np.zeros((PARTS, window.kernel[0], x.shape[3], window.kernel[1] * outputs), g.dtype)
    constants = *spiking.surrogate(g.dtype), response.recurrence(g.dtype, steps)
    spread(_backward, PARTS, bounds(_blocks(shape)), _where(x, window), parts, g, u, shape, *constants, grain=1)
    return of_runs(parts.sum(axis=0), window, outputs)


def _where(x: SpikeList, window: Window) -> tuple[Any, ...]:
    return x.start, x.index, places(x), x.shape[1], window


def _shape(x: SpikeList, steps: int, like: Array, window: Window) -> tuple[int, int, int, int]:
    """Return samples, rows of a map, numbers in a row, rows of a block."""
    rows, columns = window.outputs("conv", x.shape[1:3], ceil=False)
    width = columns * like.shape[3]
    return x.shape[0] // max(steps, 1), rows, width, min(max(1, _TOGETHER // width), rows)


def _blocks(shape: tuple[int, int, int, int]) -> int:
    samples, rows, _, together = shape
    return samples * -(-rows // together)
