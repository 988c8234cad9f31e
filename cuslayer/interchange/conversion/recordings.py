"""Recordings that are the same at every step, from all kinds of data, and their encoding for spiking networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.labels import class_numbers
from cuslayer._tape import as_tensor
from cuslayer.backend import Array, generator, to_numpy
from cuslayer.data.loader import Loader

# The recordings of a batch, where data is not in batches.
_BATCH = 100


class Encoded:
    """Batches of still recordings, as a converted network takes them; see `Conversion.batches`."""

    def __init__(self, encode: Callable[[Array], Array], data: Any) -> None:
        self.encode = encode
        self.data = data

    def __iter__(self) -> Iterator[tuple[Array, Array | None]]:
        for x, labels in batches(self.data):
            yield self.encode(x), labels

    def __len__(self) -> int:
        """The number of batches."""
        if isinstance(self.data, Loader) or _is_list(self.data):
            return len(self.data)
        recordings = len(self.data) if _is_set(self.data) else as_tensor(_pair(self.data)[0]).shape[1]
        return -(-recordings // _BATCH)


def encode(x: Array, steps: int, how: str) -> Array:
    """Return recordings (N, ...) as a constant current (T, N, ...), or as spikes with the probabilities x."""
    if x.dtype.kind != "f":
        x = x.astype(np.float32)
    if how == "current":
        return np.broadcast_to(x[None], (steps, *x.shape))
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"data must lie in [0, 1] for input='rate', got {x.min():g} to {x.max():g}")
    check.memory("the spikes", (steps, *x.shape))
    spikes: Array = generator().random((steps, *x.shape), np.float32) < x
    return spikes


def read(data: Any, most: int) -> tuple[Array, Array | None]:
    """Return up to `most` still recordings (N, ...) of data, and their labels (N,) or None.

    Raises:
        ValueError: a recording changes in time, or there is none.
    """
    parts = []
    labels = []
    count = 0
    for x, of_batch in batches(data):
        parts.append(x)
        if of_batch is not None:
            labels.append(of_batch)
        count += len(x)
        if count >= most:
            break
    if not count:
        raise ValueError("data must have a recording, got none")
    joined = np.concatenate(labels)[:most] if len(labels) == len(parts) else None
    return np.concatenate(parts)[:most], joined


def batches(data: Any) -> Iterator[tuple[Array, Array | None]]:
    """Yield batches of still recordings (N, ...) with their labels (N,) or None."""
    if isinstance(data, Loader) or _is_set(data):
        loader = data if isinstance(data, Loader) else Loader(data, _BATCH, shuffle=False)
        for x, target in loader:
            classes = to_numpy(target) if target.ndim == 1 and target.dtype.kind == "i" else None
            yield still(x), classes
    elif _is_list(data):
        for pair in data:
            yield _labelled(pair)
    else:
        recordings, labels = _labelled(data)
        for start in range(0, len(recordings), _BATCH):
            samples = slice(start, start + _BATCH)
            yield recordings[samples], None if labels is None else labels[samples]


def _is_set(data: Any) -> bool:
    """Return whether data is a data set, which a `Loader` reads."""
    return hasattr(data, "classes") and hasattr(data, "shape")


def _is_list(data: Any) -> bool:
    """Return whether data is a list of batches, pairs of recordings and labels."""
    if isinstance(data, Iterator):
        raise TypeError(
            f"data must be a Loader, a data set or a list of batches, got {type(data).__name__}; list(data)"
        )
    return isinstance(data, list) and bool(data) and isinstance(data[0], tuple)


def _pair(data: Any) -> tuple[Any, Any]:
    """Return a batch and its labels, which may be None."""
    x, labels = data if isinstance(data, (tuple, list)) and len(data) == 2 else (data, None)
    return x, labels


def _labelled(data: Any) -> tuple[Array, Array | None]:
    """Return the still recordings (N, ...) of a batch and its labels (N,), or None."""
    x, labels = _pair(data)
    recordings = still(x)
    if labels is None:
        return recordings, None
    classes = class_numbers("labels", labels)
    if classes.shape != recordings.shape[:1]:
        raise ValueError(f"labels must be ({len(recordings)},), got shape {classes.shape}")
    return recordings, classes


def one_step(x: Any, shape: tuple[int, ...]) -> Array:
    """Return recordings (N, *shape) from the same, or from a batch (T, N, *shape) that is the same at all steps."""
    if np.ndim(x) == len(shape) + 2:
        return still(x)
    recordings = np.asarray(x)
    if recordings.shape[1:] != shape:
        sizes = ", ".join(map(str, shape))
        raise ValueError(f"x must be (T, N, {sizes}) or (N, {sizes}), got shape {recordings.shape}")
    return recordings


def still(x: Any) -> Array:
    """Return the one step (N, ...) of a batch (T, N, ...) that is the same at all steps."""
    batch = as_tensor(x)
    check.time_first("data", batch)
    steps = to_numpy(batch.data if batch.step is None else batch.step.data)
    if not len(steps):
        raise ValueError(f"data must have a step, got shape {batch.shape}")
    if not np.isfinite(steps[0]).all():
        raise ValueError("data must be finite, got NaN or an infinity")
    if not all(np.array_equal(steps[0], later) for later in steps[1:]):
        raise ValueError(
            f"data must be the same at every step, got shape {batch.shape} that changes; "
            "write x[None] for images x (N, H, W, C)"
        )
    recordings: Array = steps[0]
    return recordings.astype(np.float32) if recordings.dtype.kind != "f" else recordings
