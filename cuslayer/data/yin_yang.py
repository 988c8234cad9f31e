"""The Yin-Yang data set: points of a picture of Yin and Yang, as times of spikes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.data.datasets import Recordings
from cuslayer.data.events import Events

# The radius of the picture, which touches the sides of the unit square, and of its dots.
_BIG, _SMALL = 0.5, 0.1
# The seed of each split and its number of points, as published.
_SPLITS = {"train": (42, 5000), "valid": (41, 1000), "test": (40, 1000)}


class YinYang(Recordings):
    """Points of a picture of Yin and Yang, drawn by the published formula: three classes that no plane separates.

    A point (x, y) is five spikes: of x, y, 1 - x and 1 - y at this share of `latest`, and a fifth at the same time for
    all points. Classes 0 and 1 are the two halves, class 2 is the dots. The points are those of the authors' generator
    with its seeds.

    Attributes:
        shape: (5,).
        classes: 3.
        duration: ms.
        dt, steps: the step, ms, by default 1, and the number of steps, for a `Loader`.
        labels: the class of each point, int64 (samples,).
        points: x, y, 1 - x and 1 - y of each point, float64 (samples, 4).

    Args:
        split: "train", "valid" or "test": 5,000, 1,000 and 1,000 points.
        latest: the time, ms, of the spike of 1.
        fifth: the time, ms, of the fifth spike.
        duration: ms, longer than these times.

    Raises:
        ValueError: split is unknown, a time is negative, or duration is not longer than both.
        TypeError: a time is not a number.

    Source: Kriener, Goeltz and Petrovici 2022, "The Yin-Yang dataset", arXiv 2102.08211; the times are those of
    Wunderlich and Pehle 2021, doi 10.1038/s41598-021-91786-z.

    >>> data = YinYang("test")
    >>> data, data[0]
    (YinYang('test', 1000 points), (Events(5 events in 1-D, 7.0229 to 22.9771 ms), 2))
    """

    shape = (5,)
    classes = 3
    dt = 1.0

    def __init__(
        self, split: str = "train", *, latest: float = 30.0, fifth: float = 20.0, duration: float = 60.0
    ) -> None:
        self.split = check.one_of("split", split, _SPLITS)
        self.latest = check.positive("latest", latest)
        self.fifth = check.not_negative("fifth", fifth)
        self.duration = check.positive("duration", duration)
        if self.duration <= max(self.latest, self.fifth):
            raise ValueError(
                f"duration must be longer than the times of spikes, {max(self.latest, self.fifth):g} ms, "
                f"got {self.duration:g}"
            )
        points, labels = _drawn(*_SPLITS[self.split])
        self.points = np.concatenate([points, 1 - points], axis=1)
        self._set_labels(labels)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return round(self.duration / self.dt)

    def _sample(self, place: int) -> tuple[Events, int]:
        times = np.append(self.points[place] * self.latest, self.fifth)
        return Events(times, np.arange(5)), int(self.labels[place])

    def __repr__(self) -> str:
        return f"YinYang({self.split!r}, {len(self)} points)"


def _drawn(seed: int, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return points (count, 2) and their classes: for each a class is drawn, then points until one is of the class."""
    generator = np.random.RandomState(seed)
    points = np.empty((count, 2))
    labels = np.empty(count, np.int64)
    for i in range(count):
        labels[i] = generator.randint(3)
        while True:
            points[i] = generator.rand(2) * (2 * _BIG)
            if _class_of(*points[i].tolist()) == labels[i]:
                break
    return points, labels


def _class_of(x: float, y: float) -> int | None:
    """Return the class of a point; None outside of the picture."""
    if math.hypot(x - _BIG, y - _BIG) > _BIG:
        return None
    left = math.hypot(x - _BIG / 2, y - _BIG)
    right = math.hypot(x - 1.5 * _BIG, y - _BIG)
    if min(left, right) < _SMALL:
        return 2
    in_left_half = _SMALL < left <= _BIG / 2
    above = y > _BIG and right > _BIG / 2
    return int(right <= _SMALL or in_left_half or above)
