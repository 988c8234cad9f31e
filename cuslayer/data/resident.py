"""`Resident`: the recordings of a whole data set in the memory of a GPU."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import backend, kernels
from cuslayer.data.packed import PackedBits, PackedEvents, begins
from cuslayer.kernels.spikes.packed import DeferredSpikes, PackedSpikes


class Resident:
    """The recordings of a data set on the GPU, as packed events or, of dense arrays, as bits; the labels on the host.

    Args:
        op: the operation named in errors.
        parts: the recordings in the order of the data set, in parts (x, labels).
        steps: the number of steps.
        shape: the shape of a recording at one time.

    Raises:
        TypeError: recordings are signals.
        ValueError: some recordings are `Events` and some arrays, or they do not fit into the GPU's free memory.
    """

    def __init__(
        self, op: str, parts: Iterable[tuple[Any, npt.NDArray[Any]]], steps: int, shape: tuple[int, ...]
    ) -> None:
        self._steps, self._shape = steps, shape
        free, needed = backend.free_memory(), 0
        found: list[Any] = []
        labels = []
        for x, y in parts:
            if not isinstance(x, (PackedEvents, PackedBits)):
                raise TypeError(f"{op}: resident recordings must be events or spikes, got {x.dtype}")
            if found and type(x) is not type(found[0]):
                raise ValueError(f"{op}: resident recordings must be Events or arrays throughout, got both")
            needed += sum(array.nbytes for array in x)
            if needed > free:
                have, want = (f"{count / 1e6:.1f} MB" for count in (free, needed))
                raise ValueError(f"{op}: resident recordings must fit into the GPU's {have} free, got {want} or more")
            found.append(x)
            labels.append(y)
        # Target spike trains are (steps, recordings, outputs).
        self._labels = np.concatenate(labels, axis=1 if labels[0].ndim > 1 else 0)
        self._begin: Any = None
        if isinstance(found[0], PackedEvents):
            lengths = np.concatenate([np.diff(x.begin) for x in found])
            self._begin = backend.cupy().asarray(begins(lengths))
            self._held = _joined([x.events for x in found], axis=0)
        else:
            self._held = _joined([x.words for x in found], axis=1)

    def batch(self, samples: npt.NDArray[np.int64]) -> tuple[PackedSpikes, npt.NDArray[Any]]:
        """Return the spikes of some recordings, whose numbers are sent to the GPU, and their labels."""
        labels = self._labels[:, samples] if self._labels.ndim > 1 else self._labels[samples]
        return self.spikes(backend.cupy().asarray(samples)), labels

    def spikes(self, samples: Any) -> PackedSpikes:
        """Return the spikes (steps, samples, ...) of the recordings whose numbers an int64 array on the GPU has."""
        shape = (self._steps, len(samples), *self._shape)
        if self._begin is None:
            return DeferredSpikes(backend.cupy(), shape, False, partial(self._take, samples))
        found: PackedSpikes = kernels.gpu.spikes.from_events(self._held, self._begin, samples, shape)
        return found

    def _take(self, samples: Any, to: PackedSpikes) -> None:
        """Write the bits of some recordings to packed spikes."""
        frames = len(self._held), len(samples), *self._held.shape[2:]
        self._held.take(samples, axis=1, out=to.words.reshape(frames))


def _joined(arrays: list[npt.NDArray[Any]], axis: int) -> Any:
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
