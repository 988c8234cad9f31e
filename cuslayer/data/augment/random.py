"""Random transforms: `RandomShift`, `ShiftChannels`, `Stretch`, `Mask`, `Jitter`, `Flip`, `Drop`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from cuslayer import check
from cuslayer.data.augment.base import Generator, SameSensor, Shape, generator, on_sensor, replace_columns, select
from cuslayer.data.events import Events


@dataclass(frozen=True)
class RandomShift(SameSensor):
    """Shift a recording in time by one duration, uniform in -ms .. ms.

    Events before 0 ms are dropped; the binning drops those after the last bin.

    Args:
        ms: the longest shift, in ms.

    Raises:
        TypeError: ms is not a number.
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
        return select(replace_columns(events, t=moved), moved >= 0)


@dataclass(frozen=True)
class ShiftChannels(SameSensor):
    """Shift a whole recording by a number of channels, uniform in -channels .. channels; of a camera, by columns.

    Of sounds, it moves all frequencies up or down together, as another speaker's voice would. Events that leave their
    population are dropped.

    Args:
        channels: the longest shift.
        populations: the number of equal parts of the neurons of a one-dimensional recording, that follow one another
            and each have all channels, such as OFF and ON; `AudioToSpikes.populations`.

    Raises:
        TypeError: a number is not an integer.
        ValueError: channels is negative, or populations is not positive; in a call, it does not divide the neurons, or
            an event does not lie on the sensor.

    >>> import numpy as np
    >>> events = Events([1.0, 2.0], [1, 5], None, [0, 0])
    >>> ShiftChannels(2, populations=2)(events, (8,), np.random.default_rng(3)).x
    array([3, 7])
    """

    channels: int
    populations: int = 1

    def __post_init__(self) -> None:
        check.integer("ShiftChannels", "channels", self.channels, least=0)
        check.integer("ShiftChannels", "populations", self.populations, least=1)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        width = _width("ShiftChannels", on_sensor("ShiftChannels", events, shape), self.populations)
        move = int(generator(rng).integers(-self.channels, self.channels, endpoint=True))
        place = events.x % width + move
        return select(replace_columns(events, x=events.x + move), (place >= 0) & (place < width))


@dataclass(frozen=True)
class Stretch(SameSensor):
    """Make a recording slower or faster: all times are multiplied by one factor, log-uniform in 1/factor .. factor.

    The binning drops the events after the last bin.

    Args:
        factor: the largest factor.

    Raises:
        TypeError: factor is not a number.
        ValueError: factor is less than 1.

    >>> import numpy as np
    >>> events = Stretch(1.2)(Events([10.0, 20.0], [0, 1], None, [0, 0]), (2,), np.random.default_rng(0))
    >>> events.t.round(3)
    array([10.512, 21.024])
    """

    factor: float

    def __post_init__(self) -> None:
        if check.number("Stretch", "factor", self.factor) < 1:
            raise ValueError(f"Stretch: factor must be at least 1, got {self.factor:g}")

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        most = math.log(self.factor)
        return replace_columns(events, t=events.t * math.exp(generator(rng).uniform(-most, most)))


@dataclass(frozen=True)
class Mask(SameSensor):
    """Drop all events of one interval of time, and all of one run of neighbouring channels; of a camera, columns.

    The length of the interval is uniform in 0 .. ms, and it lies between the first event and the last. The number of
    channels is uniform in 0 .. channels, and so is their place.

    Args:
        ms: the longest interval.
        channels: the most channels.
        populations: the number of equal parts of the neurons, as for `ShiftChannels`; the run is the same in each.

    Raises:
        TypeError: ms is not a number, or another argument no integer.
        ValueError: a number is negative, or populations is not positive; in a call, it does not divide the neurons,
            there are fewer channels than are dropped at most, or an event does not lie on the sensor.

    Source: Park et al. 2019, "SpecAugment", arXiv 1904.08779, without their warp.

    >>> import numpy as np
    >>> events = Events(np.arange(8.0), np.arange(8), None, np.zeros(8, int))
    >>> Mask(3.0, channels=2)(events, (8,), np.random.default_rng(1)).x
    array([0, 3, 4, 5])
    """

    ms: float
    channels: int = 0
    populations: int = 1

    def __post_init__(self) -> None:
        check.not_negative("Mask", "ms", self.ms)
        check.integer("Mask", "channels", self.channels, least=0)
        check.integer("Mask", "populations", self.populations, least=1)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides, rng = on_sensor("Mask", events, shape), generator(rng)
        width = _width("Mask", sides, self.populations)
        if self.channels > width:
            raise ValueError(f"Mask: channels must be at most the {width} of the recording, got {self.channels}")
        # Always four random numbers, so that changing one limit does not change the other interval.
        length, count = rng.uniform(0, self.ms), int(rng.integers(0, self.channels, endpoint=True))
        at, first = rng.random(), int(rng.integers(0, width - count, endpoint=True))
        if not len(events):
            return events
        least, most = float(events.t.min()), float(events.t.max())
        start = least + at * max(0.0, most - least - length)
        heard = (events.t < start) | (events.t >= start + length)
        place = events.x % width
        return select(events, heard & ((place < first) | (place >= first + count)))


@dataclass(frozen=True)
class Jitter(SameSensor):
    """Move each event by whole pixels, uniform in -pixels .. pixels, in x and, if it has one, in y.

    Events that leave the sensor are dropped.

    Args:
        pixels: the largest displacement in each direction.

    Raises:
        TypeError: pixels is not an integer.
        ValueError: pixels is negative; in a call, an event does not lie on the sensor.

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
        inside = (x >= 0) & (x < sides[-2 if len(sides) == 3 else 0])
        if events.y is None:
            return select(replace_columns(events, x=x), inside)
        y = events.y + moves[1]
        return select(replace_columns(events, x=x, y=y), inside & (y >= 0) & (y < sides[0]))


@dataclass(frozen=True)
class Flip(SameSensor):
    """Mirror a whole recording in x, y or polarity, each with its own probability.

    Args:
        horizontal: probability of swapping left and right: x becomes W - 1 - x.
        vertical: probability of swapping top and bottom: y becomes H - 1 - y. Must be 0 in one dimension.
        polarity: probability of swapping the channels: p becomes C - 1 - p. Must be 0 in one dimension.

    Raises:
        TypeError: a probability is not a number.
        ValueError: a probability is not in [0, 1]; in a call, an event does not lie on the sensor.

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
        # Always three random numbers, so that changing one probability does not change the other flips.
        horizontal, vertical, polarity = generator(rng).random(3) < (self.horizontal, self.vertical, self.polarity)
        changes: dict[str, npt.NDArray[Any]] = {}
        if horizontal:
            changes["x"] = sides[-2 if len(sides) == 3 else 0] - 1 - events.x
        if vertical and events.y is not None:
            changes["y"] = sides[0] - 1 - events.y
        # A single channel holds events of all polarities.
        if polarity and sides[-1] > 1:
            changes["p"] = sides[-1] - 1 - events.p
        return replace_columns(events, **changes)


@dataclass(frozen=True)
class Drop(SameSensor):
    """Drop each event with probability p.

    Args:
        p: the probability, in [0, 1).

    Raises:
        TypeError: p is not a number.
        ValueError: p is not in [0, 1).

    >>> import numpy as np
    >>> Drop(0.5)(Events([1.0, 2.0, 3.0], [0, 0, 0], [0, 0, 0], [1, 1, 1]), (1, 1, 2), np.random.default_rng(0))
    Events(1 events in 2-D, 1 to 1 ms)
    """

    p: float

    def __post_init__(self) -> None:
        check.fraction("Drop", "p", self.p)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        return select(events, generator(rng).random(len(events)) >= self.p)


def _width(op: str, sides: tuple[int, ...], populations: int) -> int:
    """Return the number of channels of each of the populations, or of columns of a camera."""
    width = sides[-2 if len(sides) == 3 else 0]
    if width % populations:
        raise ValueError(f"{op}: populations must divide the {width} neurons, got {populations}")
    return width // populations
