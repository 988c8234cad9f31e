"""Spike trains on a GPU, packed: one bit for each neuron and step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array, DType, namespace, to_numpy

# Bits of a word.
WORD = 32


@dataclass(frozen=True, eq=False, repr=False)
class PackedSpikes:
    """A boolean array (frames, ...) as bit masks, words of 32 bits.

    A frame is cut into lines: the rows of an image (H, W, C), or all neurons of a flat layer as one line. Each line
    begins with a new word. Bit b of word w is element ``32 w + b`` of the line; the bits past its end are 0.

    An index and NumPy's functions get the unpacked boolean array; ``len`` is its first axis.
    """

    words: Array  # (frames, lines, words of a line), uint32. Frames are ordered by step, then sample.
    shape: tuple[int, ...]  # the shape of the boolean array; the product of its first axes is the number of frames
    line: int  # the number of bits of a line
    # The same spikes with time along the bits, (lines x line, samples, words of all steps), uint32: bit b of word w is
    # step ``32 w + b``; None if no kernel wrote it.
    by_neuron: Array | None = None

    @property
    def dtype(self) -> DType:
        """The type of the unpacked array, boolean."""
        return np.dtype(bool)

    @property
    def ndim(self) -> int:
        """The number of axes of the unpacked array."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements of the unpacked array."""
        return math.prod(self.shape)

    @property
    def frames(self) -> int:
        """The number of frames."""
        return int(self.words.shape[0])

    @property
    def lines(self) -> int:
        """The number of lines of a frame."""
        return int(self.words.shape[1])

    def reshape(self, *shape: int) -> PackedSpikes:
        """Return the same spikes in another shape whose first axes still number the frames, or raise ValueError."""
        frames = {math.prod(shape[:axes]) for axes in range(1, len(shape) + 1)}
        if self.frames not in frames or math.prod(shape) != self.size:
            raise ValueError(f"packed spikes of shape {self.shape} keep {self.frames} frames, got {shape}")
        return PackedSpikes(self.words, shape, self.line, self.by_neuron)

    def has_frames(self, shape: tuple[int, ...]) -> bool:
        """Return whether the first axis of a shape numbers the frames; images also need a line for each row."""
        frames, *frame = shape
        lines, line = (self.lines, self.line) if len(frame) != 3 else lines_of(tuple(frame))
        return (frames, lines, line) == (self.frames, self.lines, self.line) and math.prod(frame) == lines * line

    @property
    def has_neurons(self) -> bool:
        """Whether there is `by_neuron`."""
        return self.by_neuron is not None

    def steps(self, place: slice) -> PackedSpikes:
        """Return the spikes of steps next to each other."""
        first, last, _ = place.indices(len(self))
        frames_per_step = self.frames // max(len(self), 1)
        return PackedSpikes(
            self.words[first * frames_per_step : last * frames_per_step], (last - first, *self.shape[1:]), self.line
        )

    def empty_like(self) -> PackedSpikes:
        """Return packed spikes of the same shape and layouts in new, unwritten memory."""
        empty = namespace(self.words).empty
        by_neuron = self.by_neuron
        words = empty(self.words.shape, np.uint32)
        neurons = None if by_neuron is None else empty(by_neuron.shape, np.uint32)
        return PackedSpikes(words, self.shape, self.line, neurons)

    def write(self, to: PackedSpikes) -> None:
        """Write the spikes to other packed spikes, made by `empty_like`."""
        to.words[...] = self.words
        if to.by_neuron is not None:
            to.by_neuron[...] = self.by_neuron

    def unpack(self) -> Array:
        """Return the boolean array on the GPU."""
        spikes: Array = kernels.gpu.spikes.unpack(self)
        return spikes

    def any(self) -> Any:
        """Return whether there is a spike, on the GPU, without unpacking."""
        return self.words.any()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(to_numpy(self.unpack()), dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return self.unpack()[index]

    def __repr__(self) -> str:
        return f"PackedSpikes(shape {self.shape})"


class DeferredSpikes(PackedSpikes):
    """Packed spikes (steps, samples, ...) that are written at the first use of `words` or `by_neuron`.

    Reading only their shape does not write them; `write` writes directly to other packed spikes.

    Args:
        module: numpy or cupy, whose arrays they are.
        shape: the shape of the boolean array.
        has_neurons: whether there is `by_neuron`.
        write: writes the spikes to the arrays of packed spikes.
    """

    def __init__(
        self, module: Any, shape: tuple[int, ...], has_neurons: bool, write: Callable[[PackedSpikes], None]
    ) -> None:
        for name, value in (("shape", shape), ("line", lines_of(shape[2:])[1])):
            object.__setattr__(self, name, value)
        self._module = module
        self._has_neurons = has_neurons
        self._write = write

    @cached_property
    def _written(self) -> PackedSpikes:
        spikes = self.empty_like()
        self._write(spikes)
        return spikes

    @property
    def words(self) -> Array:
        """As of `PackedSpikes`."""
        return self._written.words

    @property
    def by_neuron(self) -> Array | None:
        """As of `PackedSpikes`."""
        return self._written.by_neuron

    @property
    def has_neurons(self) -> bool:
        """Whether there is `by_neuron`."""
        return self._has_neurons

    def empty_like(self) -> PackedSpikes:
        """Return packed spikes of the same shape and layouts in new, unwritten memory."""
        steps, samples, *frame = self.shape
        empty = self._module.empty
        lines, line = lines_of(tuple(frame))
        words = empty((steps * samples, lines, words_of(line)), np.uint32)
        by_neuron = empty((lines * line, samples, words_of(steps)), np.uint32) if self._has_neurons else None
        return PackedSpikes(words, self.shape, line, by_neuron)

    def write(self, to: PackedSpikes) -> None:
        """Write the spikes to other packed spikes, made by `empty_like`."""
        self._write(to)


def lines_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the number of lines of a frame of a shape, and the bits of a line: rows for (H, W, C), else one line."""
    return (shape[0], shape[1] * shape[2]) if len(shape) == 3 else (1, math.prod(shape))


def words_of(bits: int) -> int:
    """Return the number of words for some bits."""
    return -(-bits // WORD)


def event_fields(steps: int, features: int) -> tuple[int, int]:
    """Return the words of an event, and the bits of its feature.

    An event is the word ``step << bits | feature`` where both fit into 32 bits, else the two words feature and step.

    >>> event_fields(300, 34 * 34 * 2)
    (1, 12)
    """
    bits = max(features - 1, 0).bit_length()
    return (1 if bits < WORD and bits + max(steps - 1, 0).bit_length() <= WORD else 2), bits
