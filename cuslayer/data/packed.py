"""Recordings for a GPU: packed events, or bits where they are dense; `Resident`, a whole data set in its memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer import backend, kernels
from cuslayer.backend import Array
from cuslayer.kernels.spikes.packed import WORD, DeferredSpikes, PackedSpikes, event_fields, lines_of, words_of

Words = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]


class PackedEvents(NamedTuple):
    """The events of recordings, four bytes each (eight in a window of more than 2**32 neurons and steps)."""

    events: Words  # the events of one recording after another, (events, words of an event); see `event_fields`
    begin: Ints  # the first event of each recording, and the number of events, (recordings + 1,)

    def send(self, steps: int, shape: tuple[int, ...]) -> PackedSpikes:
        """Return the spikes (steps, recordings, *shape) on the GPU; one copy sends the events and their indices."""
        count = len(self.begin) - 1
        places = np.concatenate([self.begin, np.arange(count)]).view(np.uint32)
        sent = backend.cupy().asarray(np.concatenate([places, self.events.reshape(-1)]))
        events, numbers = sent[places.size :].reshape(self.events.shape), sent[: places.size].view(np.int64)
        begin, recordings = numbers[: count + 1], numbers[count + 1 :]
        found: PackedSpikes = kernels.gpu.spikes.from_events(events, begin, recordings, (steps, count, *shape))
        return found


class PackedBits(NamedTuple):
    """Spikes as bits: `words` (steps, recordings, lines, words of a line), in the layout of `PackedSpikes`."""

    words: Words

    def send(self, steps: int, shape: tuple[int, ...]) -> PackedSpikes:
        """Return the spikes (steps, recordings, *shape) for the GPU, which are sent there when needed."""
        recordings = self.words.shape[1]
        return DeferredSpikes(backend.cupy(), (steps, recordings, *shape), False, self._send)

    def _send(self, to: PackedSpikes) -> None:
        backend.check_upload()
        to.words.set(self.words.reshape(to.words.shape))  # type: ignore[attr-defined]


def begins(lengths: npt.ArrayLike) -> Ints:
    """Return the first index of each of several consecutive parts, and the end of the last."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64, copy=False)


def pack_bins(binned: Sequence[tuple[Ints, Ints]], steps: int, features: int) -> PackedEvents:
    """Pack the bins of recordings, each given as the step and the neuron of its events."""
    words, bits = event_fields(steps, features)
    begin = begins([len(step) for step, _ in binned])
    events = np.empty((int(begin[-1]), words), np.uint32)
    for i, (step, feature) in enumerate(binned):
        part = events[begin[i] : begin[i + 1]]
        part[:, 0] = feature if words > 1 else step << bits | feature
        part[:, 1:] = step[:, None]
    return PackedEvents(events, begin)


def pack_frames(x: npt.NDArray[np.bool_]) -> PackedBits:
    """Pack a boolean array (steps, recordings, ...)."""
    lines, line = lines_of(x.shape[2:])
    packed = np.packbits(x.reshape(*x.shape[:2], lines, line), axis=-1, bitorder="little")
    filled = np.zeros((*packed.shape[:-1], words_of(line) * WORD // 8), np.uint8)
    filled[..., : packed.shape[-1]] = packed
    return PackedBits(filled.view("<u4").astype(np.uint32, copy=False))


class Resident:
    """The recordings of a data set on the GPU, as packed events or as bits; the labels on the host."""

    def __init__(self, parts: Iterable[tuple[Any, Array]], steps: int, shape: tuple[int, ...]) -> None:
        self._steps, self._shape = steps, shape
        free, needed = backend.free_memory(), 0
        found: list[Any] = []
        labels = []
        for x, y in parts:
            if not isinstance(x, (PackedEvents, PackedBits)):
                raise TypeError(f"resident recordings must be events or spikes, got {x.dtype}")
            if found and type(x) is not type(found[0]):
                raise ValueError("resident recordings must be Events or arrays throughout, got both")
            needed += sum(array.nbytes for array in x)
            if needed > free:
                have, want = (f"{count / 1e6:.1f} MB" for count in (free, needed))
                raise ValueError(f"resident recordings must fit into the GPU's {have} free, got {want} or more")
            found.append(x)
            labels.append(y)
        # Target spike trains are (steps, recordings, outputs), labels at each step (steps, recordings).
        self._along = int(labels[0].ndim > 2 or (labels[0].ndim == 2 and labels[0].dtype.kind in "iu"))
        self._labels = np.concatenate(labels, axis=self._along)
        self._begin: Any = None
        if isinstance(found[0], PackedEvents):
            lengths = np.concatenate([np.diff(x.begin) for x in found])
            self._begin = backend.cupy().asarray(begins(lengths))
            self._held = _joined([x.events for x in found], axis=0)
        else:
            self._held = _joined([x.words for x in found], axis=1)

    def batch(self, samples: npt.NDArray[np.int64]) -> tuple[PackedSpikes, Array]:
        """Return the spikes of some recordings, whose numbers it sends to the GPU, and their labels."""
        labels = self._labels.take(samples, axis=self._along)
        return self.spikes(backend.cupy().asarray(samples)), labels

    def spikes(self, samples: Array) -> PackedSpikes:
        """Return the spikes (steps, samples, ...) of the recordings with numbers in an int64 array on the GPU."""
        shape = (self._steps, len(samples), *self._shape)
        if self._begin is None:
            return DeferredSpikes(backend.cupy(), shape, False, partial(self._take, samples))
        found: PackedSpikes = kernels.gpu.spikes.from_events(self._held, self._begin, samples, shape)
        return found

    def _take(self, samples: Array, to: PackedSpikes) -> None:
        """Write the bits of some recordings to packed spikes."""
        frames = len(self._held), len(samples), *self._held.shape[2:]
        self._held.take(samples, axis=1, out=to.words.reshape(frames))


def _joined(arrays: list[Array], axis: int) -> Array:
    """Return arrays joined on the GPU."""
    shape = list(arrays[0].shape)
    shape[axis] = sum(array.shape[axis] for array in arrays)
    joined = backend.cupy().empty(tuple(shape), arrays[0].dtype)
    first = 0
    for array in arrays:
        last = first + array.shape[axis]
        joined[(slice(None),) * axis + (slice(first, last),)] = backend.cupy().asarray(array)
        first = last
    return joined
