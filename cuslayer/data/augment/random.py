"""Changes to recordings that chance makes, so that a network never sees the same one twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from cuslayer import check
from cuslayer.data.augment.base import Generator, SameSensor, Shape, changed, generator, kept, on_sensor
from cuslayer.data.events import Events


@dataclass(frozen=True)
class RandomShift(SameSensor):
    """Shift a recording in time, all of it by one duration that is uniform in -ms .. ms.

    Events that come to lie before 0 ms are left out; those after the last bin are by the binning.

    Args:
        ms: the longest shift, in ms.

    Raises:
        TypeError: ms is no number.
        ValueError: ms is negative.

    >>> import numpy as np
    >>> events = RandomShift(5.0)(Events([10.0, 20.0], [0, 1], [0, 0], [1, 1]), (2, 2, 2), np.random.default_rng(0))
    >>> events.t
    array([11.36961687, 21.36961687])
    """

    ms: float

    def __post_init__(self) -> None:
        check.not_negative("RandomShift", "ms", self.ms)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        moved = events.t + generator(rng).uniform(-self.ms, self.ms)
        return kept(changed(events, t=moved), moved >= 0)


@dataclass(frozen=True)
class Jitter(SameSensor):
    """Move each event by whole pixels, uniform in -pixels .. pixels, in x and in y; neurons have but x.

    Events that leave the sensor are left out.

    Args:
        pixels: the furthest that an event moves in either direction.

    Raises:
        TypeError: pixels is no integer.
        ValueError: pixels is negative. A call: the events do not lie on the sensor.

    >>> import numpy as np
    >>> Jitter(1)(Events([1.0, 2.0], [5, 5], [5, 0], [1, 1]), (34, 34, 2), np.random.default_rng(3))
    Events(1 events in 2-D, 1 to 1 ms)
    """

    pixels: int

    def __post_init__(self) -> None:
        check.integer("Jitter", "pixels", self.pixels, least=0)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides = on_sensor("Jitter", events, shape)
        moves = generator(rng).integers(-self.pixels, self.pixels, size=(2, len(events)), endpoint=True)
        x = events.x + moves[0]
        seen = (x >= 0) & (x < sides[-2 if len(sides) == 3 else 0])
        if events.y is None:
            return kept(changed(events, x=x), seen)
        y = events.y + moves[1]
        return kept(changed(events, x=x, y=y), seen & (y >= 0) & (y < sides[0]))


@dataclass(frozen=True)
class Flip(SameSensor):
    """Turn a recording over, all of it or not at all, in each direction with its own chance.

    Args:
        horizontal: the chance that left and right change places: x becomes W - 1 - x.
        vertical: the chance that top and bottom do: y becomes H - 1 - y. Neurons have no y: it must be 0.
        polarity: the chance that the channels change places: p becomes C - 1 - p.

    Raises:
        TypeError: a chance is no number.
        ValueError: a chance is not in [0, 1]. A call: the events do not lie on the sensor.

    >>> events = Flip(horizontal=1.0)(Events([1.0], [3], [4], [1]), (34, 34, 2))
    >>> events.x, events.y
    (array([30]), array([4]))
    """

    horizontal: float = 0.5
    vertical: float = 0.0
    polarity: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizontal", "vertical", "polarity"):
            if check.not_negative("Flip", name, getattr(self, name)) > 1:
                raise ValueError(f"Flip: {name} must lie in [0, 1], got {getattr(self, name):g}")

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides = on_sensor("Flip", events, shape)
        if events.y is None and (self.vertical or self.polarity):
            raise ValueError("Flip: vertical and polarity must be 0 for events in 1-D")
        # All three are drawn, whatever the chances are: a change of one leaves the others as they were.
        horizontal, vertical, polarity = generator(rng).random(3) < (self.horizontal, self.vertical, self.polarity)
        changes: dict[str, npt.NDArray[Any]] = {}
        if horizontal:
            changes["x"] = sides[-2 if len(sides) == 3 else 0] - 1 - events.x
        if vertical and events.y is not None:
            changes["y"] = sides[0] - 1 - events.y
        # One channel holds events of every polarity.
        if polarity and sides[-1] > 1:
            changes["p"] = sides[-1] - 1 - events.p
        return changed(events, **changes)


@dataclass(frozen=True)
class Drop(SameSensor):
    """Leave each event out with a chance of p.

    Args:
        p: the chance, in [0, 1).

    Raises:
        TypeError: p is no number.
        ValueError: p is not in [0, 1).

    >>> import numpy as np
    >>> Drop(0.5)(Events([1.0, 2.0, 3.0], [0, 0, 0], [0, 0, 0], [1, 1, 1]), (1, 1, 2), np.random.default_rng(0))
    Events(1 events in 2-D, 1 to 1 ms)
    """

    p: float

    def __post_init__(self) -> None:
        check.fraction("Drop", "p", self.p)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        return kept(events, generator(rng).random(len(events)) >= self.p)
