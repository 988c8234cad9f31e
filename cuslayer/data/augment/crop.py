"""Deterministic transforms: `Crop`, `Downsample`, `FromStart`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.augment.base import Generator, SameSensor, Shape, on_sensor, replace_columns, select
from cuslayer.data.events import Events, sensor_shape


@dataclass(frozen=True)
class Crop:
    """Keep a window of the sensor and of time; positions and times become relative to its start.

    Args:
        rows: (first, end) of the rows to keep, end excluded; None: all.
        columns: likewise for columns, or for the neurons of a one-dimensional recording.
        time: (start, end) in ms; None: all.

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
                first = check.integer("Crop", name, window[0], least=0)
                check.integer("Crop", name, window[1], least=first + 1)
        if self.time is not None:
            start, end = (check.not_negative("Crop", "time", bound) for bound in self.time)
            if end <= start:
                raise ValueError(f"Crop: time must end after it starts, got {start:g} .. {end:g} ms")

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the shape of the window."""
        sides = list(sensor_shape("Crop", shape))
        if self.rows is not None and len(sides) == 1:
            raise ValueError("Crop: rows must be None for events in 1-D")
        for axis, (name, window) in enumerate((("rows", self.rows), ("columns", self.columns))):
            axis = axis if len(sides) == 3 else 0
            if window is not None:
                if window[1] > sides[axis]:
                    raise ValueError(f"Crop: {name} must end within the sensor's {sides[axis]}, got {window[1]}")
                sides[axis] = window[1] - window[0]
        return tuple(sides)

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        on_sensor("Crop", events, shape)
        self.sensor(shape)
        inside = np.ones(len(events), dtype=np.bool_)
        changes: dict[str, npt.NDArray[Any]] = {}
        for name, window in (("x", self.columns), ("y", self.rows), ("t", self.time)):
            if window is not None:
                values = getattr(events, name)
                inside &= (values >= window[0]) & (values < window[1])
                changes[name] = values - window[0]
        return select(replace_columns(events, **changes), inside)


@dataclass(frozen=True)
class Downsample:
    """Reduce the resolution: each new pixel covers `factor` rows and columns, the last one the remainder.

    All events are select. Events in the same pixel and bin are one spike with the binning "or", and are counted with
    "sum".

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
        check.pair("Downsample", "factor", self.factor, least=1)

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the smaller sensor."""
        sides = sensor_shape("Downsample", shape)
        rows, columns = check.pair("Downsample", "factor", self.factor, least=1)
        if len(sides) == 1:
            return (-(-sides[0] // columns),)
        return -(-sides[0] // rows), -(-sides[1] // columns), sides[2]

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        rows, columns = check.pair("Downsample", "factor", self.factor, least=1)
        if events.y is None:
            return replace_columns(events, x=events.x // columns)
        return replace_columns(events, x=events.x // columns, y=events.y // rows)


@dataclass(frozen=True)
class FromStart(SameSensor):
    """Shift times so that the first event is at 0, for files whose times count from 1970.

    >>> FromStart()(Events([1.7e12, 1.7e12 + 2.5], [0, 1], [0, 0], [1, 1]), (1, 2, 2))
    Events(2 events in 2-D, 0 to 2.5 ms)
    """

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        return replace_columns(events, t=events.t - events.t.min()) if len(events) else events
