"""Batches for a GPU as they leave the host: packed events, or bits where recordings are dense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer import backend, kernels
from cuslayer.kernels.spikes.packed import WORD, DeferredSpikes, PackedSpikes, event_fields, lines_of, words_of

Words = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]


class PackedEvents(NamedTuple):
    """The events of recordings, four bytes each (eight in a window of more than 2**32 neurons and steps).

    Attributes:
        events: the events of one recording after another, (events, words of an event), as `event_fields` describes.
        begin: the first event of each recording, and the number of events, (recordings + 1,).
    """

    events: Words
    begin: Ints

    def send(self, steps: int, shape: tuple[int, ...]) -> PackedSpikes:
        """Return the spikes (steps, recordings, *shape) on the GPU; events and their places are one copy to it.

        The bits are set when they are needed.
        """
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
        """Return the spikes (steps, recordings, *shape) for the GPU, to which they are sent when they are needed."""
        recordings = self.words.shape[1]
        return DeferredSpikes(backend.cupy(), (steps, recordings, *shape), False, self._send)

    def _send(self, to: PackedSpikes) -> None:
        backend.check_upload()
        to.words.set(self.words.reshape(to.words.shape))  # type: ignore[attr-defined]


def begins(lengths: Any) -> Ints:
    """Return the first place of each of several parts that follow one another, and the end of the last.

    >>> begins([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64, copy=False)


def pack_bins(binned: Sequence[tuple[Ints, Ints]], steps: int, features: int) -> PackedEvents:
    """Pack the bins of recordings, each given as the step and the neuron of its events.

    >>> pack_bins([(np.array([2]), np.array([3])), (np.array([0, 1]), np.array([5, 6]))], steps=4, features=8)
    PackedEvents(events=array([[19],
           [ 5],
           [14]], dtype=uint32), begin=array([0, 1, 3]))
    """
    words, bits = event_fields(steps, features)
    begin = begins([len(step) for step, _ in binned])
    events = np.empty((int(begin[-1]), words), np.uint32)
    for i, (step, feature) in enumerate(binned):
        part = events[begin[i] : begin[i + 1]]
        part[:, 0] = feature if words > 1 else step << bits | feature
        part[:, 1:] = step[:, None]
    return PackedEvents(events, begin)


def pack_frames(x: npt.NDArray[np.bool_]) -> PackedBits:
    """Pack a boolean array (steps, recordings, ...).

    >>> pack_frames(np.array([[[True, False, True]]])).words.tolist()
    [[[[5]]]]
    """
    lines, line = lines_of(x.shape[2:])
    packed = np.packbits(x.reshape(*x.shape[:2], lines, line), axis=-1, bitorder="little")
    filled = np.zeros((*packed.shape[:-1], words_of(line) * WORD // 8), np.uint8)
    filled[..., : packed.shape[-1]] = packed
    return PackedBits(filled.view("<u4").astype(np.uint32, copy=False))
