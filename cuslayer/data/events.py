"""`Events` of an event camera or of spiking neurons, and their binning into spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor
from cuslayer.backend import Array

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ROUNDINGS = ("floor", "nearest")
BINNINGS = ("or", "sum")

# Tolerance, in bins: 1.3 / 0.1 is 12.999999999999998, yet 1.3 ms is in bin 13.
EDGE = 1e-9

# A recording in microseconds that is as long as the window has its median at 500 windows; half as long, at 250.
# Recordings in ms from files have fractions of a ms and a higher limit, so a recording of seconds may be binned in a
# short window.
_WINDOWS_WHOLE, _WINDOWS_FRACTIONS = 100.0, 400.0
# Medians, in ms, up to which a recording may simply be long.
_LONG_WHOLE, _LONG_FRACTIONS = 1e4, 2e4


@check.named
class Events:
    """The events of one recording: times `t` in ms, positions `x` and `y`, polarities `p` (0 OFF, 1 ON).

    The arrays are read-only copies of shape (events,): t float64, the others int64. They need not be sorted by time. In
    a one-dimensional recording `y` is None and `x` is the neuron. Times may be negative, for example relative to a
    stimulus, but not for binning or writing.

    Args:
        t: times in ms, (events,).
        x: columns, or neurons, from 0, (events,).
        y: rows from 0, (events,); None in a one-dimensional recording.
        p: polarities from 0, (events,); None, in a one-dimensional recording only, for 0 throughout.

    Raises:
        TypeError: t has no numbers, x, y or p has no integers, or there are rows but no polarities.
        ValueError: the arrays differ in length or are not 1-D, a time is not finite, or another value is negative.

    >>> Events([0.5, 1.3], [3, 4], [0, 1], [1, 0])
    Events(2 events in 2-D, 0.5 to 1.3 ms)
    """

    __slots__ = ("_p", "_t", "_x", "_y")

    def __init__(
        self, t: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike | None = None, p: npt.ArrayLike | None = None
    ) -> None:
        self._t = times("t", t)
        self._x = integers("x", x)
        self._y = None if y is None else integers("y", y)
        if p is None and y is not None:
            raise TypeError("p must be given for events in 2-D, the polarities from 0")
        self._p = np.zeros(len(self._t), np.int64) if p is None else integers("p", p)
        for name, values in (("x", self._x), ("y", self._y), ("p", self._p)):
            if values is not None and len(values) != len(self._t):
                raise ValueError(f"{name} must be as long as t, got {len(values)} and {len(self._t)}")

    @classmethod
    def _own(cls, t: Floats, x: Ints, y: Ints | None = None, p: Ints | None = None) -> Events:
        """Return events of valid arrays without copying them; the caller must not keep writable references."""
        events = cls.__new__(cls)
        events._t, events._x, events._y = t, x, y
        events._p = np.zeros(len(t), np.int64) if p is None else p
        for values in (t, x, y, p):
            if values is not None:
                values.setflags(write=False)
        return events

    @classmethod
    @check.operation
    def from_spikes(cls, spikes: TensorLike, dt: float = 1.0) -> Events:
        """Return the events of one recording's spikes, the inverse of `to_spikes`.

        Step k is the time ``k dt``, channel c the polarity c. Events are sorted by time, then by row, column, channel.

        Args:
            spikes: boolean (T, H, W, C), or (T, C) for a one-dimensional recording, whose polarities are 0; or the
                counts from ``to_spikes(binning="sum")``, with as many equal events.
            dt: the step in ms.

        Raises:
            TypeError: spikes are neither booleans nor integers, or dt is not a number.
            ValueError: spikes are of another shape, a count is negative, or dt is not positive.

        >>> spikes = np.zeros((20, 2, 3, 2), bool)
        >>> spikes[13, 1, 2, 1] = True
        >>> events = Events.from_spikes(spikes, dt=0.1)
        >>> events, bool((events.to_spikes((2, 3, 2), steps=20, dt=0.1) == spikes).all())
        (Events(1 events in 2-D, 1.3 to 1.3 ms), True)
        """
        data = backend.to_numpy(spikes.data if isinstance(spikes, Tensor) else spikes)
        if data.ndim not in (2, 4):
            raise ValueError(
                f"spikes must be one recording, (T, H, W, C) or (T, C), got shape {data.shape}; of a batch "
                "(T, N, ...) take one sample, spikes[:, n]"
            )
        if data.dtype.kind not in "biu":
            raise TypeError(f"spikes must be booleans or counts, got {data.dtype}; compare them, as in spikes > 0")
        if data.dtype.kind == "i" and data.size and data.min() < 0:
            raise ValueError(f"a count must not be negative, got {data.min()}")
        dt = check.time_step("dt", dt)
        found = np.nonzero(data)
        if data.dtype != np.bool_:
            counts = data[found]
            check.memory("the events", (int(counts.sum(dtype=np.float64)), 4), 8)
            found = tuple(np.repeat(index, counts) for index in found)
        step, *place = (index.astype(np.int64, copy=False) for index in found)
        t: Floats = step * np.float64(dt)
        if data.ndim == 2:
            return cls._own(t, place[0])
        y, x, p = place
        return cls._own(t, x, y, p)

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
        """Rows, int64 (events,), or None in a one-dimensional recording."""
        return self._y

    @property
    def p(self) -> Ints:
        """Polarities, 0 OFF and 1 ON, int64 (events,)."""
        return self._p

    def __len__(self) -> int:
        return len(self._t)

    def __array__(self, *arguments: object, **options: object) -> Array:
        raise TypeError("a recording is no array; to_spikes(shape, steps) makes one, (T, H, W, C) or (T, C)")

    def __getitem__(self, index: Any) -> Any:
        """Return event `index` as (t, x, y, p); or, for a slice, a mask or an array of indices, the `Events` there.

        Raises:
            IndexError: an index is out of range, or a mask has another length.
            TypeError: index is of another type.

        >>> events = Events([0.5, 1.3], [3, 4], [0, 1], [1, 0])
        >>> events[-1], events[events.p == 1]
        ((1.3, 4, 1, 0), Events(1 events in 2-D, 0.5 to 0.5 ms))
        """
        if not isinstance(index, slice) and np.ndim(index) == 0:
            at = check.position(index, len(self), "events", "an integer, a slice or an array")
            y = None if self._y is None else int(self._y[at])
            return float(self._t[at]), int(self._x[at]), y, int(self._p[at])
        chosen: Any = index if isinstance(index, slice) else np.asarray(index)
        if isinstance(chosen, np.ndarray):
            if isinstance(index, (list, tuple)) and not index:
                chosen = chosen.astype(np.int64)
            if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
                what = f"shape {chosen.shape}, {chosen.dtype}"
                raise TypeError(f"index must be integers or a mask of shape (events,), got {what}")
            mask = chosen.dtype == np.bool_
            outside = len(chosen) != len(self) if mask else (chosen >= len(self)) | (chosen < -len(self))
            if np.any(outside):
                got = f"a mask of {len(chosen)}" if mask else str(chosen[np.argmax(outside)])
                raise IndexError(f"index must lie within {len(self)} events, got {got}")
        y = None if self._y is None else self._y[chosen].copy()
        return Events._own(self._t[chosen].copy(), self._x[chosen].copy(), y, self._p[chosen].copy())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in "txyp")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[object, ...]:
        return Events, (self._t, self._x, self._y, self._p)

    def __repr__(self) -> str:
        span = f", {self._t.min():g} to {self._t.max():g} ms" if len(self) else ""
        return f"Events({len(self)} events in {1 if self._y is None else 2}-D{span})"

    @check.operation
    def to_spikes(
        self, shape: int | Sequence[int], steps: int, dt: float = 1.0, binning: str = "or", rounding: str = "floor"
    ) -> npt.NDArray[np.bool_] | npt.NDArray[np.uint8]:
        """Return the events in time bins, (T, H, W, C), or (T, C) for a one-dimensional recording.

        The polarity of an event is its channel. With C = 1, and in a one-dimensional recording, it ignores polarities.
        It drops events at or after the end of the last bin, and warns if that drops all events, or if the times look
        like microseconds.

        Args:
            shape: the sensor (H, W, C), or the number of neurons of a one-dimensional recording.
            steps: the number of bins T.
            dt: the width of a bin in ms.
            binning: "or" returns booleans, True in bins with an event; "sum" returns counts, uint8.
            rounding: "floor" rounds t / dt down to a bin; "nearest" rounds it to the nearest bin, ties to even.

        Raises:
            TypeError: shape or steps are not integers, or dt is not a number.
            ValueError: an event is outside the sensor or before 0 ms, shape does not fit the recording, a bin has over
                255 events, or another argument is out of range.

        >>> events = Events([1.3, 1.3, 9.0], [2, 2, 0], [1, 1, 0], [1, 1, 0])
        >>> spikes = events.to_spikes((2, 3, 2), steps=20, dt=0.1)
        >>> spikes.shape, spikes.dtype.name, [int(i) for i in np.argwhere(spikes)[0]]
        ((20, 2, 3, 2), 'bool', [13, 1, 2, 1])
        """
        sensor = sensor_shape(shape)
        steps = check.integer("steps", steps, least=1)
        dt = check.time_step("dt", dt)
        check.one_of("binning", binning, BINNINGS)
        check.one_of("rounding", rounding, ROUNDINGS)
        check.memory("the bins", (steps, *sensor))
        step, feature = flat_bins(self, sensor, steps, dt, rounding)
        found = misfit(self._t, len(step), steps, dt)
        if found:
            check.warn(found[1])
        features = math.prod(sensor)
        index = step * features + feature
        if binning == "or":
            spikes = np.zeros(steps * features, dtype=np.bool_)
            spikes[index] = True
            return spikes.reshape(steps, *sensor)
        filled, count = np.unique(index, return_counts=True)
        if count.size and count.max() > 255:
            worst = int(count.argmax())
            where = tuple(int(i) for i in np.unravel_index(filled[worst], (steps, *sensor)))
            raise ValueError(f"a bin must hold at most 255 events, bin {where} has {count[worst]}")
        counts = np.zeros(steps * features, dtype=np.uint8)
        counts[filled] = count
        return counts.reshape(steps, *sensor)


def sensor_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return shape as (H, W, C), or as (C,) for a one-dimensional recording."""
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if len(sides) not in (1, 3):
        raise ValueError(f"shape must be (H, W, C), or a number of neurons, got {sides}")
    return tuple(check.integer("shape", side, least=1) for side in sides)


def flat_bins(events: Events, shape: tuple[int, ...], steps: int, dt: float, rounding: str) -> tuple[Ints, Ints]:
    """Return the bin and the flat sensor index of each event, without events after the last bin."""
    on_sensor(events, shape, from_zero=True)
    if not len(events):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    if events.y is None:
        feature = events.x
    elif shape[2] == 1:
        feature = events.y * shape[1] + events.x
    else:
        feature = (events.y * shape[1] + events.x) * shape[2] + events.p
    step = bins(events.t, dt, rounding)
    # Compared as floats, to drop a time too large for int64 before the conversion can overflow.
    if step.max() >= steps:
        inside = step < steps
        step, feature = step[inside], feature[inside]
    return step.astype(np.int64), feature


def bins(t: Floats, dt: float, rounding: str) -> Floats:
    """Return the bin of each time, in ms, as floats: a late time may be too large for int64."""
    with np.errstate(over="ignore"):
        step = t / dt
    return np.rint(step) if rounding == "nearest" else np.floor(step + EDGE)


def on_sensor(events: Events, shape: int | Sequence[int], *, from_zero: bool = False) -> tuple[int, ...]:
    """Return shape as a sensor; raise ValueError for the first event off it, or before 0 ms."""
    sides = sensor_shape(shape)
    flat = events.y is None
    if flat != (len(sides) == 1):
        wanted = "a number of neurons for events in 1-D" if flat else "(H, W, C) for events in 2-D"
        raise ValueError(f"shape must be {wanted}, got {sides}")
    # A single channel holds events of all polarities.
    limits = {"x": sides[0]} if flat else {"x": sides[1], "y": sides[0]} | ({"p": sides[2]} if sides[2] > 1 else {})
    columns: dict[str, Ints] = {name: getattr(events, name) for name in limits}
    early = from_zero and len(events) and events.t.min() < 0
    if not early and all(values.max(initial=0) < limits[name] for name, values in columns.items()):
        return sides
    wrong = np.logical_or.reduce([values >= limits[name] for name, values in columns.items()])
    first = int(np.argmax(wrong | (from_zero & (events.t < 0))))
    if from_zero and events.t[first] < 0:
        raise ValueError(f"t must not be negative, event {first} is at {events.t[first]:g} ms")
    position = ", ".join(f"{name}={values[first]}" for name, values in columns.items())
    rule = f"{sides[0]} neurons" if flat else f"the sensor {sides} (H, W, C)"
    raise ValueError(f"events must lie within {rule}, event {first} is at {position}")


def _column(name: str, values: npt.ArrayLike) -> Array:
    """Return values as a 1-D array of numbers."""
    if values is None:
        raise TypeError(f"{name} must be 1-D, got None")
    try:
        column = backend.to_numpy(values)
    except ValueError:
        raise ValueError(f"{name} must be 1-D, got rows of unequal length") from None
    if column.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {column.shape}")
    return column


def times(name: str, values: npt.ArrayLike, *, what: str = "event") -> Floats:
    """Return times in ms as a read-only float64 copy; raise ValueError or TypeError."""
    column = _column(name, values)
    if column.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers, got {column.dtype}")
    copy = column.astype(np.float64)
    if not np.isfinite(copy).all():
        first = int(np.argmin(np.isfinite(copy)))
        raise ValueError(f"{name} must be finite, {what} {first} is at {copy[first]}")
    copy.setflags(write=False)
    return copy


def integers(name: str, values: npt.ArrayLike, *, what: str = "event") -> Ints:
    """Return non-negative integers as a read-only int64 copy; raise ValueError or TypeError."""
    column = _column(name, values)
    # np.asarray([]) is float64, so an empty column has no type to check.
    if column.size and column.dtype.kind not in "iub":
        raise TypeError(f"{name} must be integers, got {column.dtype}")
    copy = column.astype(np.int64)
    if copy.size and copy.min() < 0:
        first = int(np.argmax(copy < 0))
        raise ValueError(f"{name} must lie in 0 .. 2**63 - 1, {what} {first} has {column[first]}")
    copy.setflags(write=False)
    return copy


def misfit(t: npt.NDArray[np.float64], kept: int, steps: int, dt: float) -> tuple[str, str] | None:
    """Return the kind of a misfit of times and window, "unit" or "late", and its description; None if they fit."""
    if 2 * kept >= t.size:
        return None
    window = steps * dt
    median = float(np.median(t))
    whole = bool((abs(t - np.rint(t)) < 1e-6).all())
    windows, long = (_WINDOWS_WHOLE, _LONG_WHOLE) if whole else (_WINDOWS_FRACTIONS, _LONG_FRACTIONS)
    # With a step that looks like seconds (`check.time_step` warns of it), every recording has many windows.
    if dt > 1e-3 and median > long and median > windows * window:
        return "unit", (
            f"times are in ms, and these look like microseconds: their median is {median:g} and the window has "
            f"{window:g} ms; divide them by 1000"
        )
    if kept:
        return None
    return "late", (
        f"all of the {t.size} events lie past the window of {window:g} ms ({steps} steps of {dt:g} ms), from "
        f"{t.min():g} ms on"
    )
