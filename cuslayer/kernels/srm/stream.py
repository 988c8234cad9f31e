"""Neurons of the spike response model on the CPU that keep their state from one chunk of time to the next.

Their spikes are those of `neuron` and of a dense layer before it, to the bit where that walks spikes. A step of one
sample takes a few microseconds: one compiled call lists the spikes, adds their rows and runs the neurons.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, columns, compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.dense.cpu import forward as dense
from cuslayer.kernels.dense.cpu import gather
from cuslayer.kernels.spikes.cpu import as_bytes, list_row
from cuslayer.kernels.srm.cpu import forward_block, forward_constants

# Steps that are run at once.
_CHUNK = 16
# More steps than any stream has: a filter is cut after its last sample.
_ENDLESS = 1 << 62


@compiled
def _run(first: int, last: int, t: int, x: Any, ring: Any, state: Any, u: Any, fired: Any, out: Any, c: Any) -> None:
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        for begin in range(0, len(x), _CHUNK):
            end = min(begin + _CHUNK, len(x))
            for k in range(begin, end):
                ring[(t + k) % len(ring), low : low + width] = x[k, low : low + width]
            own = state[4 * low : 4 * (low + width)]
            forward_block(t + begin, t + end, own, ring, low, u, low, fired, low, width, c)
            for k in range(begin, end):
                out[k, low : low + width] = fired[(t + k) % len(fired), low : low + width]


@compiled
def _run_dense(
    t: int,
    steps: int,
    x: Any,
    index: Any,
    w: Any,
    ring: Any,
    state: Any,
    u: Any,
    fired: Any,
    out: Any,
    c: Any,
) -> None:
    samples, outputs = len(x) // max(steps, 1), w.shape[1]
    for k in range(steps):
        for n in range(samples):
            row = k * samples + n
            count = list_row(row, x, index, 0)
            gather(ring[(t + k) % len(ring), n * outputs : (n + 1) * outputs], 0, count, index, w, 0)
        for low in range(0, samples * outputs, BLOCK):
            width = min(BLOCK, samples * outputs - low)
            own = state[4 * low : 4 * (low + width)]
            forward_block(t + k, t + k + 1, own, ring, low, u, low, fired, low, width, c)
        out[k] = fired[(t + k) % len(fired)]


class _State:
    """The state of neurons, (columns,): recurrences, and the inputs and spikes within the filters."""

    def __init__(self, response: Alpha, spiking: Spiking, size: int, dtype: np.dtype[Any]) -> None:
        self.constants = forward_constants(dtype, _ENDLESS, response, spiking)
        _, f, nu = self.constants
        self.ring, self.fired = np.zeros((f.cut + _CHUNK, size), dtype), np.zeros((nu.cut + _CHUNK, size), np.uint8)
        self.state, self.u = np.zeros(4 * size, dtype), np.empty((1, size), dtype)
        self.steps = 0

    @property
    def arrays(self) -> tuple[Any, Any, Any, Any]:
        return self.ring, self.state, self.u, self.fired


class StreamedNeurons:
    """Neurons that are called with one chunk (T, ...) of their weighted input after the other, and return its spikes.

    Args:
        response: the spike response.
        spiking: threshold and refractory response.
    """

    def __init__(self, response: Alpha, spiking: Spiking) -> None:
        self._constants = response, spiking
        self._held: _State | None = None

    def __call__(self, x: Array) -> Array:
        out = np.empty(x.shape, bool)
        flat, spikes = columns(np.ascontiguousarray(x)), columns(out.view(np.uint8))
        held = self._held
        if held is None:
            held = self._held = _State(*self._constants, flat.shape[1], x.dtype)
        arguments = held.steps, flat, *held.arrays, spikes, held.constants
        parallel_for(_run, flat.shape[1], *arguments, grain=BLOCK)
        held.steps += len(x)
        return out


class StreamedDense:
    """A dense layer and its neurons, called with one chunk (T, N, ...) after the other.

    Args:
        weight: (inputs, outputs).
        response: the spike response.
        spiking: threshold and refractory response.
    """

    def __init__(self, weight: Array, response: Alpha, spiking: Spiking) -> None:
        self._weight = np.ascontiguousarray(weight)
        self._index = np.empty(len(weight), np.int32)
        self._constants = response, spiking
        self._held: _State | None = None

    def __call__(self, x: Array) -> Array:
        steps, samples, outputs = len(x), x.shape[1], self._weight.shape[1]
        rows = x.reshape(steps * samples, math.prod(x.shape[2:]))
        if rows.shape[1] != len(self._weight):
            raise ValueError(f"dense: x must have {len(self._weight)} inputs, got shape {x.shape}")
        held = self._held
        if held is None:
            held = self._held = _State(*self._constants, samples * outputs, self._weight.dtype)
        out = np.empty((steps, samples, outputs), bool)
        if x.dtype == bool:
            arguments = held.steps, steps, as_bytes(rows), self._index, self._weight, *held.arrays
            _run_dense(*arguments, columns(out.view(np.uint8)), held.constants)
        else:
            weighted = columns(dense(rows, self._weight).reshape(out.shape))
            spikes = columns(out.view(np.uint8))
            _run(0, samples * outputs, held.steps, weighted, *held.arrays, spikes, held.constants)
        held.steps += steps
        return out
