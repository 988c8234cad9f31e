"""Neurons of the spike response model on the CPU that keep their state from one chunk of time to the next.

Their spikes are those of `neuron`, to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, columns, compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy
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
                copy(ring[(t + k) % len(ring), low : low + width], x[k, low : low + width])
            own = state[4 * low : 4 * (low + width)]
            forward_block(t + begin, t + end, own, ring, low, u, low, fired, low, width, c)
            for k in range(begin, end):
                copy(out[k, low : low + width], fired[(t + k) % len(fired), low : low + width])


class _State:
    """The state of neurons, (columns,): recurrences, and the inputs and spikes within the filters."""

    def __init__(self, response: Alpha, spiking: Spiking, size: int, dtype: np.dtype[Any]) -> None:
        self.constants = forward_constants(dtype, _ENDLESS, response, spiking)
        _, f, nu = self.constants
        # What lies before the first step is not read.
        self.ring, self.fired = empty((f.cut + _CHUNK, size), dtype), empty((nu.cut + _CHUNK, size), np.uint8)
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
