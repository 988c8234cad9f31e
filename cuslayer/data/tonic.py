"""Data sets of tonic, or of anything that gives structured arrays of events with a class, as ours."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.datasets import position
from cuslayer.data.events import Events, sensor_shape

_US_PER_MS = 1000.0


class FromTonic:
    """A data set of the package tonic as a data set of ours.

    A sample is (events, class): events a structured array with the fields x, t in microseconds, p, and y unless the
    recording is in one dimension. tonic is not imported here: it is brought by whoever makes the data set, or by
    `pip install 'cuslayer[tonic]'`.

    Attributes:
        shape: the sensor, (H, W, C), or (C,) for recordings in one dimension.
        classes: how many classes there are.
        duration: the length of a recording in ms.
        labels: the class of each recording, int64 (samples,).

    Args:
        dataset: what has `__len__`, `__getitem__`, and `sensor_size`, (W, H, C) as tonic orders it.
        duration: the length of a recording in ms, which tonic does not say.
        classes: how many classes there are; None: one more than the highest.

    Raises:
        TypeError: dataset lacks one of them, or a class is no integer.
        ValueError: dataset is empty, or duration or classes is out of its range. Reading raises it where a sample
            is no such pair.

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
        self._flat = "y" not in _fields(dataset[0][0])
        self.shape = sensor_shape(op, (width,) if self._flat else (height, width, channels))
        self.duration = check.positive(op, "duration", duration)
        self[0]  # a sample of another kind is refused now
        targets = getattr(dataset, "targets", None)
        if targets is None or len(targets) != len(dataset):
            # Where the classes are not listed, every recording has to be read once.
            targets = [dataset[i][1] for i in range(len(dataset))]
        self.labels = np.array([_label(target) for target in targets], dtype=np.int64)
        self.labels.setflags(write=False)
        highest = int(self.labels.max())
        self.classes = highest + 1 if classes is None else check.integer(op, "classes", classes, least=highest + 1)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Events, int]:
        place = position("FromTonic", index, len(self))
        events, target = self._dataset[place]
        wanted, names = ("x", "t", "p") if self._flat else ("x", "y", "t", "p"), _fields(events)
        if not set(wanted) <= set(names):
            came = f"the fields {', '.join(names)}" if names else type(events).__name__
            raise ValueError(f"FromTonic: sample {place} must have the fields {', '.join(wanted)}, got {came}")
        t: npt.NDArray[np.float64] = events["t"] / _US_PER_MS
        return Events(t, events["x"], None if self._flat else events["y"], events["p"]), _label(target)

    def __repr__(self) -> str:
        name = type(self._dataset).__name__
        return f"FromTonic({name}, {len(self)} recordings, shape {self.shape}, {self.classes} classes)"


def _fields(events: Any) -> tuple[str, ...]:
    """Return the names of a structured array's fields, none where it is something else."""
    return getattr(getattr(events, "dtype", None), "names", None) or ()


def _label(target: Any) -> int:
    try:
        return operator.index(target)
    except TypeError:
        raise TypeError(f"FromTonic: a class must be an integer, got {type(target).__name__}") from None
