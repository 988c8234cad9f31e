"""Adapter for data sets of tonic, or others of structured event arrays with classes."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.events import Events, sensor_shape

_US_PER_MS = 1000.0


class FromTonic:
    """A data set of the package tonic, for use with `Loader`.

    A sample is (events, class): events is a structured array with the fields x, t in microseconds, p, and y unless the
    recording is one-dimensional. tonic is not imported here; `pip install 'cuslayer[tonic]'` installs it.

    Attributes:
        shape: the sensor, (H, W, C), or (C,) for one-dimensional recordings.
        classes: the number of classes.
        duration: the duration of a recording in ms.
        labels: the class of each recording, int64 (samples,).

    Args:
        dataset: an object with `__len__`, `__getitem__` and `sensor_size`, which is (W, H, C) as in tonic.
        duration: the duration of a recording in ms, which tonic does not define.
        classes: the number of classes; None: the highest class plus one.

    Raises:
        TypeError: dataset lacks one of these, or a class is not an integer.
        ValueError: dataset is empty, duration or classes is out of range, or a sample that is read lacks a field.

    >>> from types import SimpleNamespace
    >>> class Two:
    ...     sensor_size = (34, 28, 2)
    ...     targets = [0, 1]
    ...     def __len__(self): return 2
    ...     def __getitem__(self, index):
    ...         kind = [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")]
    ...         return np.array([(3, 4, 1500, 1)], dtype=kind), index
    >>> data = FromTonic(Two(), duration=300.0)
    >>> data[1], data.shape
    ((Events(1 events in 2-D, 1.5 to 1.5 ms), 1), (28, 34, 2))
    """

    def __init__(self, dataset: Any, *, duration: float, classes: int | None = None) -> None:
        op = "FromTonic"
        for name in ("__len__", "__getitem__", "sensor_size"):
            if not hasattr(dataset, name):
                raise TypeError(f"{op}: dataset must have {name}, got {type(dataset).__name__}")
        if not len(dataset):
            raise ValueError(f"{op}: dataset must hold a recording, got none")
        width, height, channels = (int(side) for side in dataset.sensor_size)
        self._dataset = dataset
        self._one_dimensional = "y" not in _fields(dataset[0][0])
        self.shape = sensor_shape(op, (width,) if self._one_dimensional else (height, width, channels))
        self.duration = check.positive(op, "duration", duration)
        self[0]  # raises early if samples have another format
        targets = getattr(dataset, "targets", None)
        if targets is None or len(targets) != len(dataset):
            # Without a list of classes, every recording has to be read once.
            targets = [dataset[i][1] for i in range(len(dataset))]
        self.labels = np.array([_label(target) for target in targets], dtype=np.int64)
        self.labels.setflags(write=False)
        highest = int(self.labels.max())
        self.classes = highest + 1 if classes is None else check.integer(op, "classes", classes, least=highest + 1)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Events, int]:
        place = check.position("FromTonic", index, len(self))
        events, target = self._dataset[place]
        wanted, names = ("x", "t", "p") if self._one_dimensional else ("x", "y", "t", "p"), _fields(events)
        if not set(wanted) <= set(names):
            got = f"the fields {', '.join(names)}" if names else type(events).__name__
            raise ValueError(f"FromTonic: sample {place} must have the fields {', '.join(wanted)}, got {got}")
        t: npt.NDArray[np.float64] = events["t"] / _US_PER_MS
        return Events(t, events["x"], None if self._one_dimensional else events["y"], events["p"]), _label(target)

    def __repr__(self) -> str:
        name = type(self._dataset).__name__
        return f"FromTonic({name}, {len(self)} recordings, shape {self.shape}, {self.classes} classes)"


def _fields(events: Any) -> tuple[str, ...]:
    """Return the field names of a structured array, () for anything else."""
    return getattr(getattr(events, "dtype", None), "names", None) or ()


def _label(target: Any) -> int:
    try:
        return operator.index(target)
    except TypeError:
        raise TypeError(f"FromTonic: a class must be an integer, got {type(target).__name__}") from None
