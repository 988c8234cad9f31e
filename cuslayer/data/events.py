"""Events: what an event camera, or any set of spiking neurons, reports, and how that becomes spikes in bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import backend, check

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ROUNDINGS = ("floor", "nearest")
BINNINGS = ("or", "sum")

# In bins. 1.3 / 0.1 is 12.999999999999998, yet 1.3 ms lie in bin 13: a time this near under an edge is on it.
EDGE = 1e-9


class Events:
    """Events in one recording: `t` in ms, `x` and `y` the place, `p` the polarity (0 OFF, 1 ON): the channel.

    The arrays are copies that cannot be written to: t float64, the others int64, all of shape (events,). They
    need not be in order of time. `y` is None in a recording in one dimension, whose `x` is the neuron. Times may
    be negative (relative to some stimulus, say) until they are binned or written.

    Args:
        t: times in ms, (events,).
        x: columns, or neurons, from 0, (events,).
        y: rows from 0, (events,), or None.
        p: polarities from 0, (events,).

    Raises:
        TypeError: a value is no number, or x, y or p holds no integers.
        ValueError: the arrays differ in length or are not 1-D, a time is not finite, or another value is
            negative.

    >>> Events([0.5, 1.3], [3, 4], [0, 1], [1, 0])
    Events(2 events in 2-D, 0.5 to 1.3 ms)
    """

    __slots__ = ("_p", "_t", "_x", "_y")

    def __init__(self, t: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike | None, p: npt.ArrayLike) -> None:
        self._t = times("Events", "t", t)
        self._x = integers("Events", "x", x)
        self._y = None if y is None else integers("Events", "y", y)
        self._p = integers("Events", "p", p)
        for name, values in (("x", self._x), ("y", self._y), ("p", self._p)):
            if values is not None and len(values) != len(self._t):
                raise ValueError(f"Events: {name} must be as long as t, got {len(values)} and {len(self._t)}")

    @classmethod
    def _own(cls, t: Floats, x: Ints, y: Ints | None, p: Ints) -> Events:
        """Return events around arrays that are known to be right and that nobody else holds."""
        events = cls.__new__(cls)
        events._t, events._x, events._y, events._p = t, x, y, p
        for values in (t, x, y, p):
            if values is not None:
                values.setflags(write=False)
        return events

    @property
    def t(self) -> Floats:
        """Times in ms, float64 (events,)."""
        return self._t

    @property
    def x(self) -> Ints:
        """Columns, or neurons where `y` is None, int64 (events,)."""
        return self._x

    @property
    def y(self) -> Ints | None:
        """Rows, int64 (events,), or None in a recording in one dimension."""
        return self._y

    @property
    def p(self) -> Ints:
        """Polarities, 0 OFF and 1 ON, int64 (events,)."""
        return self._p

    def __len__(self) -> int:
        return len(self._t)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        if (self._y is None) != (other._y is None):
            return False
        return (
            np.array_equal(self._t, other._t)
            and np.array_equal(self._x, other._x)
            and np.array_equal(self._p, other._p)
            and (self._y is None or other._y is None or np.array_equal(self._y, other._y))
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Events, (self._t, self._x, self._y, self._p)

    def __repr__(self) -> str:
        span = f", {self._t.min():g} to {self._t.max():g} ms" if len(self) else ""
        return f"Events({len(self)} events in {1 if self._y is None else 2}-D{span})"

    def to_spikes(
        self,
        shape: int | Sequence[int],
        steps: int,
        dt: float = 1.0,
        binning: str = "or",
        rounding: str = "floor",
    ) -> npt.NDArray[np.bool_] | npt.NDArray[np.uint8]:
        """Return the events in bins of time, (T, H, W, C), or (T, C) for a recording in one dimension.

        An event's polarity is its channel. With C = 1 the polarities are merged: each event counts as channel 0;
        so they are in a recording in one dimension. A recording that is longer than the window is cut: events at
        or after the last bin's end are left out.

        Args:
            shape: the sensor (H, W, C); for a recording in one dimension the number of neurons.
            steps: the number of bins T.
            dt: the width of a bin in ms.
            binning: "or" gives booleans, True where any event fell; "sum" gives counts in uint8.
            rounding: "floor" puts an event into the bin that it fell in; "nearest" at the nearest multiple of
                dt (halves to the even one).

        Raises:
            TypeError: shape or steps holds no integers, or dt is no number.
            ValueError: an event lies outside the sensor or before 0 ms, shape does not fit the recording, a
                bin counts over 255 events, or another argument is out of its range.

        >>> events = Events([1.3, 1.3, 9.0], [2, 2, 0], [1, 1, 0], [1, 1, 0])
        >>> spikes = events.to_spikes((2, 3, 2), steps=20, dt=0.1)
        >>> spikes.shape, spikes.dtype.name, [int(i) for i in np.argwhere(spikes)[0]]
        ((20, 2, 3, 2), 'bool', [13, 1, 2, 1])
        """
        sensor = sensor_shape("to_spikes", shape)
        steps = check.integer("to_spikes", "steps", steps, least=1)
        dt = check.positive("to_spikes", "dt", dt)
        check.one_of("to_spikes", "binning", binning, BINNINGS)
        check.one_of("to_spikes", "rounding", rounding, ROUNDINGS)
        step, feature = flat_bins(self, sensor, steps, dt, rounding)
        features = int(np.prod(sensor))
        place = step * features + feature
        if binning == "or":
            spikes = np.zeros(steps * features, dtype=np.bool_)
            spikes[place] = True
            return spikes.reshape(steps, *sensor)
        filled, count = np.unique(place, return_counts=True)
        if count.size and count.max() > 255:
            worst = int(count.argmax())
            where = tuple(int(i) for i in np.unravel_index(filled[worst], (steps, *sensor)))
            raise ValueError(f"to_spikes: a bin must hold at most 255 events, bin {where} has {count[worst]}")
        counts = np.zeros(steps * features, dtype=np.uint8)
        counts[filled] = count
        return counts.reshape(steps, *sensor)


def sensor_shape(op: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return shape as (H, W, C), or as (C,) for a recording in one dimension."""
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if len(sides) not in (1, 3):
        raise ValueError(f"{op}: shape must be (H, W, C), or a number of neurons, got {sides}")
    return tuple(check.integer(op, "shape", side, least=1) for side in sides)


def flat_bins(
    events: Events, shape: tuple[int, ...], steps: int, dt: float, rounding: str, *, op: str = "to_spikes"
) -> tuple[Ints, Ints]:
    """Return each event's bin and its index into the flattened sensor, without those past the last bin.

    Args:
        events: the recording.
        shape: (H, W, C), or (C,) for a recording in one dimension.
        steps: the number of bins.
        dt: the width of a bin in ms.
        rounding: "floor" or "nearest".
        op: what an error is said to come from.

    Raises:
        ValueError: shape does not fit the recording, or an event lies outside the sensor or before 0 ms.

    >>> step, feature = flat_bins(Events([0.2, 5.0], [1, 0], None, [1, 1]), (2,), 4, 1.0, "floor")
    >>> step, feature
    (array([0]), array([1]))
    """
    if (events.y is None) != (len(shape) == 1):
        wanted = "a number of neurons" if events.y is None else "(H, W, C)"
        dimensions = 1 if events.y is None else 2
        raise ValueError(f"{op}: shape must be {wanted} for events in {dimensions}-D, got {shape}")
    if not len(events):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    _inside(op, events, shape)
    if events.y is None:
        feature = events.x
    elif shape[2] == 1:
        feature = events.y * shape[1] + events.x
    else:
        feature = (events.y * shape[1] + events.x) * shape[2] + events.p
    with np.errstate(over="ignore"):
        step = events.t / dt
    step = np.rint(step) if rounding == "nearest" else np.floor(step + EDGE)
    # Compared as floats: a time too long for an integer is left out here, before it can wrap.
    if step.max() >= steps:
        seen = step < steps
        step, feature = step[seen], feature[seen]
    return step.astype(np.int64), feature


def _inside(op: str, events: Events, shape: tuple[int, ...]) -> None:
    """Raise ValueError that names the first event before 0 ms or outside the sensor."""
    limits: list[tuple[str, Ints, int]] = []
    if events.y is None:
        limits.append(("x", events.x, shape[0]))
    else:
        limits += [("x", events.x, shape[1]), ("y", events.y, shape[0])]
        if shape[2] > 1:
            limits.append(("p", events.p, shape[2]))
    if events.t.min() >= 0 and all(values.max() < limit for _, values, limit in limits):
        return
    early = events.t < 0
    outside = np.logical_or.reduce([values >= limit for _, values, limit in limits])
    first = int(np.argmax(early | outside))
    if early[first]:
        raise ValueError(f"{op}: t must not be negative, event {first} is at {events.t[first]:g} ms")
    place = ", ".join(f"{name}={values[first]}" for name, values, _ in limits)
    rule = f"{shape[0]} neurons" if events.y is None else f"the sensor {shape} (H, W, C)"
    raise ValueError(f"{op}: events must lie within {rule}, event {first} is at {place}")


def _column(op: str, name: str, values: Any) -> npt.NDArray[Any]:
    """Return values as a 1-D array of numbers."""
    try:
        column = backend.to_numpy(values)
    except ValueError:
        raise ValueError(f"{op}: {name} must be 1-D, got rows of unequal length") from None
    if column.ndim != 1:
        raise ValueError(f"{op}: {name} must be 1-D, got shape {column.shape}")
    return column


def times(op: str, name: str, values: Any, *, what: str = "event") -> Floats:
    """Return times in ms as a float64 copy that cannot be written to; raise ValueError or TypeError."""
    column = _column(op, name, values)
    if column.dtype.kind not in "iuf":
        raise TypeError(f"{op}: {name} must be numbers, got {column.dtype}")
    taken = column.astype(np.float64)
    if not np.isfinite(taken).all():
        first = int(np.argmin(np.isfinite(taken)))
        raise ValueError(f"{op}: {name} must be finite, {what} {first} is at {taken[first]}")
    taken.setflags(write=False)
    return taken


def integers(op: str, name: str, values: Any, *, what: str = "event") -> Ints:
    """Return integers from 0 as an int64 copy that cannot be written to; raise ValueError or TypeError."""
    column = _column(op, name, values)
    # An empty list has no integers in it, and none of anything else.
    if column.size and column.dtype.kind not in "iub":
        raise TypeError(f"{op}: {name} must be integers, got {column.dtype}")
    taken = column.astype(np.int64)
    if taken.size and taken.min() < 0:
        first = int(np.argmax(taken < 0))
        raise ValueError(f"{op}: {name} must lie in 0 .. 2**63 - 1, {what} {first} has {column[first]}")
    taken.setflags(write=False)
    return taken
