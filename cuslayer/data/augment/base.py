"""The interface of transforms, `Compose`, and helpers that transforms share."""

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
    """Interface of a transform of recordings."""

    def __call__(self, events: Events, shape: tuple[int, ...], rng: Generator, /) -> Events:
        """Return the new events; random numbers are drawn from rng."""

    def sensor(self, shape: tuple[int, ...], /) -> tuple[int, ...]:
        """Return the sensor of the new events, given the sensor of the events."""


class SameSensor:
    """A transform that does not change the sensor."""

    def sensor(self, shape: Shape) -> tuple[int, ...]:
        """Return the sensor unchanged."""
        return sensor_shape(type(self).__name__, shape)


@dataclass(frozen=True)
class Compose:
    """Transforms applied one after another.

    Args:
        steps: the transforms in order.

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
    """Return rng, or the library's generator if it is None."""
    return backend.generator() if rng is None else rng


def replace_columns(events: Events, **changes: npt.NDArray[Any]) -> Events:
    """Return the events with some columns replaced; they are not checked, see `select`."""
    columns = {name: getattr(events, name) for name in ("t", "x", "y", "p")}
    return Events._own(**(columns | changes))


def select(events: Events, mask: npt.NDArray[np.bool_]) -> Events:
    """Return the events where mask is True."""
    if mask.all():
        return events
    y = None if events.y is None else events.y[mask]
    return Events._own(events.t[mask], events.x[mask], y, events.p[mask])


def on_sensor(op: str, events: Events, shape: Shape) -> tuple[int, ...]:
    """Return shape as a sensor; raise ValueError unless every event lies on it."""
    sides = sensor_shape(op, shape)
    if (events.y is None) != (len(sides) == 1):
        wanted = "a number of neurons" if events.y is None else "(H, W, C)"
        raise ValueError(f"{op}: shape must be {wanted}, got {sides}")
    columns = [("x", events.x, sides[0])]
    if events.y is not None:
        columns = [("x", events.x, sides[1]), ("y", events.y, sides[0])]
        # A single channel holds events of all polarities.
        if sides[2] > 1:
            columns.append(("p", events.p, sides[2]))
    for name, values, size in columns:
        if values.size and values.max() >= size:
            worst = int(np.argmax(values >= size))
            rule = f"{name} must be under {size} on the sensor {sides}"
            raise ValueError(f"{op}: {rule}, event {worst} has {values[worst]}")
    return sides
