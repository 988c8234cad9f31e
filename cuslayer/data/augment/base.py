"""What changes to recordings share: what is asked of one, one after another, and how new events are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cuslayer import backend
from cuslayer.data.events import Events, sensor_shape

Shape: TypeAlias = "int | Sequence[int]"
Generator: TypeAlias = np.random.Generator


class Transform(Protocol):
    """What a loader asks of a change to recordings."""

    def __call__(self, events: Events, shape: tuple[int, ...], rng: Generator, /) -> Events:
        """Return other events; whatever is random about them comes from rng."""

    def sensor(self, shape: tuple[int, ...], /) -> tuple[int, ...]:
        """Return the sensor of the events that come out, from that of the events that go in."""


class SameSensor:
    """A change that leaves the sensor as it is."""

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the sensor, which is as it was."""
        return sensor_shape(type(self).__name__, shape)


@dataclass(frozen=True)
class Compose:
    """One change after another.

    Args:
        steps: the changes, the first one first.

    >>> from cuslayer.data import Crop, Downsample
    >>> both = Compose((Crop(columns=(10, 20)), Downsample(2)))
    >>> both(Events([1.0, 2.0], [13, 25], [5, 6], [1, 0]), (34, 34, 2)), both.sensor((34, 34, 2))
    (Events(1 events in 2-D, 1 to 1 ms), (17, 5, 2))
    """

    steps: tuple[Transform, ...]

    def __call__(self, events: Events, shape: Shape, rng: Generator | None = None) -> Events:
        sides, rng = sensor_shape("Compose", shape), generator(rng)
        for step in self.steps:
            events = step(events, sides, rng)
            sides = step.sensor(sides)
        return events

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the sensor after the last step."""
        sides = sensor_shape("Compose", shape)
        for step in self.steps:
            sides = step.sensor(sides)
        return sides


def generator(rng: Generator | None) -> Generator:
    """Return rng, or the library's own where there is none."""
    return backend.generator() if rng is None else rng


def changed(events: Events, **changes: npt.NDArray[Any]) -> Events:
    """Return the events with other columns; where some may not be right yet, `kept` makes them so."""
    columns = {name: getattr(events, name) for name in ("t", "x", "y", "p")}
    return Events._own(**(columns | changes))


def kept(events: Events, seen: npt.NDArray[np.bool_]) -> Events:
    """Return the events that are seen."""
    if seen.all():
        return events
    y = None if events.y is None else events.y[seen]
    return Events._own(events.t[seen], events.x[seen], y, events.p[seen])


def on_sensor(op: str, events: Events, shape: Shape) -> tuple[int, ...]:
    """Return the sensor; raise ValueError unless every event lies on it."""
    sides = sensor_shape(op, shape)
    if (events.y is None) != (len(sides) == 1):
        came = 1 if events.y is None else 2
        raise ValueError(f"{op}: shape must be {'(H, W, C)' if came == 2 else 'a number of neurons'}, got {sides}")
    columns = [("x", events.x, sides[0])]
    if events.y is not None:
        columns = [("x", events.x, sides[1]), ("y", events.y, sides[0])]
        # One channel holds events of every polarity.
        if sides[2] > 1:
            columns.append(("p", events.p, sides[2]))
    for name, values, size in columns:
        if values.size and values.max() >= size:
            worst = int(np.argmax(values >= size))
            rule = f"{name} must be under {size} on the sensor {sides}"
            raise ValueError(f"{op}: {rule}, event {worst} has {values[worst]}")
    return sides
