"""Transforms of recordings: cropping, downsampling, and random augmentation.

A transform takes events, their sensor and a random generator, and returns new events; `sensor` returns the sensor of
the new events. `Loader` takes one as `transform`, or `Compose` of several. Transforms drop events that they move off
the sensor, or before 0 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.time_window import TimeWindow
from cuslayer.backend import Array
from cuslayer.data.audio import AudioToNumbers
from cuslayer.data.events import Events, on_sensor, sensor_shape

Shape: TypeAlias = "int | Sequence[int]"
Generator: TypeAlias = np.random.Generator


class Transform(Protocol):
    """Interface of a transform of recordings: of events, or of arrays (T, ...) if it has ``of_signals = True``."""

    def __call__(self, recording: Any, shape: tuple[int, ...], rng: Generator, /) -> Any:
        """Return the new events or the new array, with random numbers from rng."""

    def sensor(self, shape: tuple[int, ...], /) -> tuple[int, ...]:
        """Return the sensor of the new events, given the sensor of the events."""


@check.named
class SameSensor:
    """A transform that by default does not change the sensor."""

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the sensor of the new events, given the sensor of the events."""
        return sensor_shape(shape)


@check.constructed
@dataclass(frozen=True)
class Compose(SameSensor):
    """Transforms applied one after another.

    Args:
        steps: the transforms in order.

    >>> from cuslayer.data import Crop, Downsample
    >>> both = Compose((Crop(columns=(10, 20)), Downsample(2)))
    >>> both(Events([1.0, 2.0], [13, 25], [5, 6], [1, 0]), (34, 34, 2)), both.sensor((34, 34, 2))
    (Events(1 events in 2-D, 1 to 1 ms), (17, 5, 2))
    """

    steps: tuple[Transform, ...]

    @property
    def of_signals(self) -> bool:
        """Whether it takes arrays (T, ...), as `OtherVoice` does: if all its steps do."""
        return all(getattr(step, "of_signals", False) for step in self.steps)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides, rng = sensor_shape(shape), generator(rng)
        for step in self.steps:
            events = step(events, sides, rng)
            sides = step.sensor(sides)
        return events

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the sensor after the last step."""
        sides = sensor_shape(shape)
        for step in self.steps:
            sides = step.sensor(sides)
        return sides


def generator(rng: Generator | None) -> Generator:
    """Return rng, or the library's generator if it is None."""
    return backend.generator() if rng is None else rng


def changed(events: Events, mask: npt.NDArray[np.bool_] | None = None, **changes: Array) -> Events:
    """Return the events where a mask is True, with some columns replaced by unchecked ones."""
    columns = {name: changes.get(name, getattr(events, name)) for name in "txyp"}
    if mask is not None and not mask.all():
        columns = {name: None if values is None else values[mask] for name, values in columns.items()}
    return Events._own(**columns)


def _columns(sides: tuple[int, ...]) -> int:
    """Return the columns of a camera, or the neurons of a one-dimensional recording."""
    return sides[-2 if len(sides) == 3 else 0]


@check.constructed
@dataclass(frozen=True)
class Crop(SameSensor):
    """Keep a window of the sensor and of time; positions and times become relative to its start.

    Args:
        rows: (first, end) of the rows to keep, end excluded; None: all.
        columns: likewise for columns, or for the neurons of a one-dimensional recording.
        time: start and stop in ms; None: all.

    Raises:
        TypeError: a bound is not a number.
        ValueError: a window is empty or starts before 0; in a call or `sensor`, it does not lie on the sensor.

    >>> crop = Crop(rows=(2, 32), time=(100.0, 200.0))
    >>> events = crop(Events([99.0, 150.5], [3, 3], [10, 10], [1, 1]), (34, 34, 2))
    >>> events.t, events.y, crop.sensor((34, 34, 2))
    (array([50.5]), array([8]), (30, 34, 2))
    """

    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    time: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            window = getattr(self, name)
            if window is not None:
                first, end = check.two(name, window)
                check.integer(name, end, least=check.integer(name, first, least=0) + 1)
        if self.time is not None:
            TimeWindow.of("time", self.time)

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the shape of the window."""
        sides = list(sensor_shape(shape))
        if self.rows is not None and len(sides) == 1:
            raise ValueError("rows must be None for events in 1-D")
        for axis, (name, window) in enumerate((("rows", self.rows), ("columns", self.columns))):
            axis = axis if len(sides) == 3 else 0
            if window is not None:
                if window[1] > sides[axis]:
                    raise ValueError(f"{name} must end within the sensor's {sides[axis]}, got {window[1]}")
                sides[axis] = window[1] - window[0]
        return tuple(sides)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        on_sensor(events, shape)
        self.sensor(shape)
        inside = np.ones(len(events), dtype=np.bool_)
        changes: dict[str, npt.NDArray[Any]] = {}
        for name, window in (("x", self.columns), ("y", self.rows), ("t", self.time)):
            if window is not None:
                values = getattr(events, name)
                inside &= (values >= window[0]) & (values < window[1])
                changes[name] = values - window[0]
        return changed(events, inside, **changes)


@check.constructed
@dataclass(frozen=True)
class Downsample(SameSensor):
    """Reduce the resolution: each new pixel covers `factor` rows and columns, the last one the remainder.

    It keeps all events. Events in the same pixel and bin are one spike with the binning "or"; "sum" counts them.

    Args:
        factor: one integer, or (rows, columns); in one dimension, neurons per new neuron.

    Raises:
        TypeError: factor is not an integer.
        ValueError: factor is less than 1.

    >>> half = Downsample(2)
    >>> events = half(Events([1.0], [33], [7], [1]), (34, 34, 2))
    >>> events.x, events.y, half.sensor((34, 34, 2)), half.sensor(35)
    (array([16]), array([3]), (17, 17, 2), (18,))
    """

    factor: int | tuple[int, int]

    def __post_init__(self) -> None:
        check.pair("factor", self.factor, least=1)

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the smaller sensor."""
        sides = sensor_shape(shape)
        rows, columns = check.pair("factor", self.factor, least=1)
        if len(sides) == 1:
            return (-(-sides[0] // columns),)
        return -(-sides[0] // rows), -(-sides[1] // columns), sides[2]

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        rows, columns = check.pair("factor", self.factor, least=1)
        smaller = {"x": events.x // columns} if events.y is None else {"x": events.x // columns, "y": events.y // rows}
        return changed(events, None, **smaller)


@dataclass(frozen=True)
class FromStart(SameSensor):
    """Shift times so that the first event is at 0, for files whose times count from 1970.

    >>> FromStart()(Events([1.7e12, 1.7e12 + 2.5], [0, 1], [0, 0], [1, 1]), (1, 2, 2))
    Events(2 events in 2-D, 0 to 2.5 ms)
    """

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        return changed(events, t=events.t - events.t.min()) if len(events) else events


@check.constructed
@dataclass(frozen=True)
class RandomShift(SameSensor):
    """Shift a recording in time by one duration, uniform in -ms .. ms.

    It drops events before 0 ms; the binning drops events after the last bin.

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
        check.not_negative("ms", self.ms)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        moved = events.t + generator(rng).uniform(-self.ms, self.ms)
        return changed(events, moved >= 0, t=moved)


@check.constructed
@dataclass(frozen=True)
class ShiftChannels(SameSensor):
    """Shift a whole recording by a number of channels, uniform in -channels .. channels; for a camera, by columns.

    In sounds, it moves all frequencies up or down together, as another speaker's voice would. It drops events that
    leave their population.

    Args:
        channels: the longest shift.
        populations: the number of equal, consecutive parts of the neurons of a one-dimensional recording, each with all
            channels, such as OFF and ON; `AudioToSpikes.populations`.

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
        check.integer("channels", self.channels, least=0)
        check.integer("populations", self.populations, least=1)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        width = _width(on_sensor(events, shape), self.populations)
        move = int(generator(rng).integers(-self.channels, self.channels, endpoint=True))
        place = events.x % width + move
        return changed(events, (place >= 0) & (place < width), x=events.x + move)


@check.constructed
@dataclass(frozen=True)
class Stretch(SameSensor):
    """Make a recording slower or faster: multiply all times by one factor, log-uniform in 1/factor .. factor.

    The binning drops events after the last bin.

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
        _at_least_1("factor", self.factor)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        return changed(events, t=events.t * _factor(self.factor, generator(rng)))


@check.constructed
@dataclass(frozen=True)
class Mask(SameSensor):
    """Drop all events of one interval of time, and of one run of neighbouring channels; for a camera, columns.

    The length of the interval is uniform in 0 .. ms, and it lies between the first event and the last. The number of
    channels is uniform in 0 .. channels, as is their position.

    Args:
        ms: the longest interval.
        channels: the most channels.
        populations: the number of equal parts of the neurons, as for `ShiftChannels`; the run is the same in each.

    Raises:
        TypeError: ms is not a number, or another argument no integer.
        ValueError: a number is negative, or populations is not positive; in a call, it does not divide the neurons,
            there are fewer than `channels` channels, or an event does not lie on the sensor.

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
        check.not_negative("ms", self.ms)
        check.integer("channels", self.channels, least=0)
        check.integer("populations", self.populations, least=1)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides, rng = on_sensor(events, shape), generator(rng)
        width = _width(sides, self.populations)
        if self.channels > width:
            raise ValueError(f"channels must be at most the {width} of the recording, got {self.channels}")
        # Always four random numbers: a change of one limit does not change the other interval. `integers` draws none
        # where there is no choice.
        share, run, at, place = rng.random(4)
        length, count = share * self.ms, int(run * (self.channels + 1))
        first = int(place * (width - count + 1))
        if not len(events):
            return events
        least, most = float(events.t.min()), float(events.t.max())
        start = least + at * max(0.0, most - least - length)
        heard = (events.t < start) | (events.t >= start + length)
        channel = events.x % width
        return changed(events, heard & ((channel < first) | (channel >= first + count)))


@check.constructed
@dataclass(frozen=True)
class OtherVoice(SameSensor):
    """Change a recording of `AudioToNumbers` as if another speaker had said it, in another room.

    First it stretches times. Then it multiplies all frequencies by one factor, as a shorter or longer vocal tract
    would; bands from above the highest one are silent. Then it adds a smooth curve over the bands, as of another
    microphone, and noise, whose slope over all bands is normal with a deviation of 6 dB.

    Args:
        to_numbers: the conversion of the recordings.
        stretch: the largest factor of all times, log-uniform in 1/stretch .. stretch.
        warp: the largest factor of all frequencies, the same.
        gain: the deviation of the curve's first cosine, dB; two more fall by the root of their number.
        noise: the least and the most noise relative to the loudest band and step, dB, at most 0, uniform; None: none.

    Raises:
        TypeError: a number is of another type, or to_numbers is not `AudioToNumbers`.
        ValueError: a number is out of range.

    Source: Jaitly and Hinton 2013, "Vocal Tract Length Perturbation", for the factor of frequencies.

    >>> from cuslayer.data import AudioToNumbers, Bands
    >>> to_numbers = AudioToNumbers(Bands(8000, channels=4, dt=20.0), duration=500.0)
    >>> numbers = to_numbers(np.sin(np.arange(1600)))
    >>> OtherVoice(to_numbers, stretch=1.5, warp=1.2)(numbers, (8,), np.random.default_rng(0)).shape
    (11, 8)
    """

    of_signals: ClassVar[bool] = True

    to_numbers: AudioToNumbers
    stretch: float = 1.0
    warp: float = 1.0
    gain: float = 0.0
    noise: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.to_numbers, AudioToNumbers):
            raise TypeError(f"to_numbers must be AudioToNumbers, got {type(self.to_numbers).__name__}")
        _at_least_1("stretch", self.stretch)
        _at_least_1("warp", self.warp)
        check.not_negative("gain", self.gain)
        noise = (0, 0) if self.noise is None else check.sequence("noise", self.noise)
        levels = [check.number("noise", level) for level in noise]
        if len(levels) != 2 or levels[0] > levels[1] or levels[1] > 0:
            raise ValueError(f"noise must be the least and the most, at most 0 dB, got {self.noise}")

    def __call__(self, recording: npt.ArrayLike, shape: Shape, rng: Generator | None = None) -> npt.NDArray[np.float32]:
        rng, channels = generator(rng), self.to_numbers.bands.channels
        place, frequencies = np.arange(channels) / channels, self.to_numbers.bands.frequencies
        x = 2.0 * np.asarray(recording)[:, :channels]  # dB
        factor = _factor(self.stretch, rng)
        x = _between(x, (np.arange(max(1, round(len(x) * factor))) + 0.5) / factor - 0.5)
        came = frequencies * _factor(self.warp, rng)
        x = _between(x.T, np.interp(came, frequencies, np.arange(channels))).T
        x[:, came > frequencies[-1]] = x.min()
        curve = sum(rng.normal() * np.cos(np.pi * k * place) / math.sqrt(k) for k in (1, 2, 3))
        x = x + self.gain * curve
        if self.noise is not None:
            level = x.max() + rng.uniform(self.noise[0], self.noise[1]) + 6 * rng.normal() * (place - 0.5)
            # The power of noise in a frame is exponential.
            x = 10 * np.log10(10 ** (x / 10) + 10 ** (level / 10) * rng.exponential(size=x.shape))
        return self.to_numbers.of_levels(x)


@check.constructed
@dataclass(frozen=True)
class Jitter(SameSensor):
    """Move each event by whole pixels, uniform in -pixels .. pixels, in x and, if it has one, in y.

    It drops events that leave the sensor.

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
        check.integer("pixels", self.pixels, least=0)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides = on_sensor(events, shape)
        moves = generator(rng).integers(-self.pixels, self.pixels, size=(2, len(events)), endpoint=True)
        x = events.x + moves[0]
        inside = (x >= 0) & (x < _columns(sides))
        if events.y is None:
            return changed(events, inside, x=x)
        y = events.y + moves[1]
        return changed(events, inside & (y >= 0) & (y < sides[0]), x=x, y=y)


@check.constructed
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
            if check.not_negative(name, getattr(self, name)) > 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name):g}")

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides = on_sensor(events, shape)
        if events.y is None and (self.vertical or self.polarity):
            raise ValueError("vertical and polarity must be 0 for events in 1-D")
        # Always three random numbers: a change of one probability does not change the other flips.
        horizontal, vertical, polarity = generator(rng).random(3) < (self.horizontal, self.vertical, self.polarity)
        changes: dict[str, npt.NDArray[Any]] = {}
        if horizontal:
            changes["x"] = _columns(sides) - 1 - events.x
        if vertical and events.y is not None:
            changes["y"] = sides[0] - 1 - events.y
        # A single channel holds events of all polarities.
        if polarity and sides[-1] > 1:
            changes["p"] = sides[-1] - 1 - events.p
        return changed(events, **changes)


@check.constructed
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
        check.fraction("p", self.p)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        return changed(events, generator(rng).random(len(events)) >= self.p)


def _width(sides: tuple[int, ...], populations: int) -> int:
    """Return the number of channels of each of the populations, or of columns of a camera."""
    width = _columns(sides)
    if width % populations:
        raise ValueError(f"populations must divide the {width} neurons, got {populations}")
    return width // populations


def _at_least_1(name: str, factor: float) -> None:
    if check.number(name, factor) < 1:
        raise ValueError(f"{name} must be at least 1, got {factor:g}")


def _factor(most: float, rng: Generator) -> float:
    """Return a factor, log-uniform in 1/most .. most."""
    limit = math.log(most)
    return math.exp(rng.uniform(-limit, limit))


def _between(x: Array, places: Array) -> Array:
    """Return rows of x, interpolated between its indices."""
    places = np.clip(places, 0, len(x) - 1)
    row = places.astype(np.int64)
    share = (places - row)[:, None]
    return x[row] * (1 - share) + x[np.minimum(row + 1, len(x) - 1)] * share


def moves_time(transform: object) -> bool:
    """Return whether a transform of the library may move recordings in time."""
    if isinstance(transform, Compose):
        return any(map(moves_time, transform.steps))
    cut = isinstance(transform, Crop) and transform.time is not None
    spoken = isinstance(transform, OtherVoice) and transform.stretch != 1
    return cut or spoken or isinstance(transform, (FromStart, RandomShift, Stretch))
