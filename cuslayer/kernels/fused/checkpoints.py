"""States of neurons at the first step of each chunk of time, from which backward computes their potentials again.

A potential that is saved takes 4 bytes a step, of every neuron. A checkpoint takes 16 bytes for `CHUNK` steps, and the
spikes that the refractory filter still needs a byte each. The potentials have the same bits, and are read where they
were just written, in the cache. Spikes are weighed twice for that: where many bins have one, potentials are saved.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled
from cuslayer.kernels.conv.spikes import CHUNK, Maps
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy
from cuslayer.kernels.neuron.blocks import Block
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import padded

# The share of bins with a spike from which on potentials are saved.
_BUSY = 0.05


class Checkpoints(NamedTuple):
    """What backward needs to compute potentials again. Chunks of time end at the last step: only the first is shorter.

    Attributes:
        states: (blocks, chunks, states x distance), the states of a block before each chunk.
        fired: (blocks, chunks, rows, distance), the spikes of the last steps of each chunk.
        taps: the weights, as the convolution reads them.
        neurons: of the forward pass.
    """

    states: Array
    fired: Array
    taps: Array
    neurons: Block


def saved_type(x: SpikeList) -> type[Checkpoints] | None:
    """Return the type of what a pass of spikes saves instead of potentials, None if it saves those."""
    return Checkpoints if x.activity < _BUSY else None


def new_checkpoints(m: Maps, used: bool, taps: Array, neurons: Block) -> Checkpoints:
    """Return arrays for checkpoints, without elements unless they are used."""
    blocks, chunks, distance = m.blocks if used else 0, -(-m.steps // CHUNK), padded(m.together * m.width)
    states = empty((blocks, chunks, neurons.states * distance), taps.dtype)
    return Checkpoints(states, empty((blocks, chunks, min(neurons.spikes, CHUNK), distance), np.uint8), taps, neurons)


@compiled
def chunk(number: int, steps: int) -> tuple[int, int]:
    """Return the first step of a chunk, and the end of its steps."""
    end = steps - (-(-steps // CHUNK) - 1 - number) * CHUNK
    return max(end - CHUNK, 0), end


@compiled
def store_spikes(first: int, last: int, fired: Any, saved: Any) -> None:
    """Save the last spikes of the chunk [first, last), from a ring buffer; the last row is the last step."""
    for t in range(max(first, last - len(saved)), last):
        copy(saved[t - last + len(saved)], fired[t % len(fired)])


@compiled
def load_spikes(first: int, last: int, steps: int, saved: Any, fired: Any) -> None:
    """Write the saved spikes of the steps [first, last), which are in earlier chunks, into a ring buffer."""
    for t in range(max(first, 0), last):
        number = -(-steps // CHUNK) - 1 - (steps - 1 - t) // CHUNK
        _, end = chunk(number, steps)
        copy(fired[t % len(fired)], saved[number, t - end + saved.shape[1]])
