"""Codes that turn values over time into spikes: `Rate`, `Latency`, `Delta`, `Levels`.

A code takes values from 0 to 1, (T, channels), and the step in ms. It returns spikes (T, populations * channels):
populations are consecutive copies of the channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.time_window import steps_of
from cuslayer.backend import to_numpy

Floats = npt.NDArray[np.float64]
Spikes = npt.NDArray[np.bool_]


class Code(Protocol):
    """Interface of a code."""

    @property
    def populations(self) -> int:
        """The number of neurons for each channel."""

    def __call__(self, x: npt.ArrayLike, dt: float) -> Spikes:
        """Return the spikes (T, populations * channels) of values x (T, channels) in steps of dt ms."""


@dataclass(frozen=True)
@check.named
class Rate:
    """Regular spikes at a rate that is proportional to the value.

    It is an integrator without leak or noise that fires at each whole number::

        s[t] = floor(z[t]) > floor(z[t-1])  with  z[t] = sum of hz x[k] dt / 1000 over k <= t,  z[-1] = 0

    A step has at most one spike: rates above 1000 / dt Hz are cut to it. `cs.encode_poisson` makes random spikes.

    Args:
        hz: spikes per second for a value of 1.

    Raises:
        TypeError: hz is not a number.
        ValueError: hz is not positive; in a call, x is not (T, channels) or has values outside of 0 to 1.

    >>> Rate(200.0)(np.full((8, 1), 0.5), dt=5.0)[:, 0].astype(int).tolist()
    [0, 1, 0, 1, 0, 1, 0, 1]
    """

    hz: float = 100.0
    populations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check.positive("hz", self.hz)

    def __call__(self, x: npt.ArrayLike, dt: float) -> Spikes:
        values = _values(x)
        dt = check.time_step("dt", dt)
        # The tolerance absorbs the rounding of the sum: ten times 0.1 is one.
        phase = np.floor(np.cumsum(values * (self.hz * dt / 1000), axis=0) + 1e-9)
        return np.diff(phase, axis=0, prepend=0.0) > 0


@dataclass(frozen=True)
@check.named
class Latency:
    """One spike in each period, earlier for larger values; none for a value of 0.

    Of the n steps of a period, with m the mean of its values, the spike is in step ``round((1 - m) (n - 1))``. The last
    period may be shorter: it has the mean of its own values, without spikes after its end.

    Args:
        period: the length of a period in ms, at least a step.

    Raises:
        TypeError: period is not a number.
        ValueError: period is not positive; in a call, it is shorter than dt, or x is not (T, channels) or has values
            outside of 0 to 1.

    Source: Thorpe 1990, "Spike arrival times".

    >>> x = np.array([[1.0, 0.5, 0.0]] * 5)
    >>> [np.flatnonzero(s).tolist() for s in Latency(25.0)(x, dt=5.0).T]
    [[0], [2], []]
    """

    period: float = 50.0
    populations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check.positive("period", self.period)

    def __call__(self, x: npt.ArrayLike, dt: float) -> Spikes:
        values = _values(x)
        steps = steps_of("period", self.period, check.time_step("dt", dt))
        periods = -(-len(values) // steps)
        starts = steps * np.arange(periods)
        lengths = np.minimum(steps, len(values) - starts)
        if not periods:
            return np.zeros(values.shape, np.bool_)
        mean = np.add.reduceat(values, starts, axis=0) / lengths[:, None]
        late = np.rint((1 - mean) * (steps - 1)).astype(np.int64)
        period, channel = np.nonzero((mean > 0) & (late < lengths[:, None]))
        spikes = np.zeros(values.shape, np.bool_)
        spikes[starts[period] + late[period, channel], channel] = True
        return spikes


@dataclass(frozen=True)
@check.named
class Delta:
    """A spike whenever the value has changed by the threshold since the last spike (send-on-delta).

    The reference is 0 at first, then the value at each spike. Two populations: decreases (OFF), then increases (ON).

    Args:
        threshold: the smallest change that causes a spike.

    Raises:
        TypeError: threshold is not a number.
        ValueError: threshold is not positive; in a call, x is not (T, channels) or has values outside of 0 to 1.

    Source: Miskowicz 2006, "Send-on-delta concept: an event-based data reporting strategy".

    >>> spikes = Delta(0.25)(np.array([0.1, 0.3, 0.5, 0.9, 0.4])[:, None], dt=5.0)
    >>> spikes[:, 0].astype(int).tolist(), spikes[:, 1].astype(int).tolist()  # OFF, ON
    ([0, 0, 0, 0, 1], [0, 1, 0, 1, 0])
    """

    threshold: float = 0.1
    populations: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check.positive("threshold", self.threshold)

    def __call__(self, x: npt.ArrayLike, dt: float) -> Spikes:
        from cuslayer.kernels.host.preparation import crossings

        values = _values(x)
        channels = values.shape[1]
        spikes = np.zeros((len(values) + 1, channels, 2), np.bool_)
        crossings(np.concatenate([np.zeros((1, channels)), values]), float(self.threshold), spikes)
        return np.ascontiguousarray(np.moveaxis(spikes[1:], 2, 1)).reshape(len(values), 2 * channels)


@dataclass(frozen=True)
@check.named
class Levels:
    """A spike whenever the value crosses one of several levels; each level is a population.

    Rising: ``x[t-1] < level <= x[t]``, with ``x[-1] = 0``. With falling=True as many populations follow for ``x[t-1] >=
    level > x[t]``.

    Args:
        levels: the levels, above 0 and at most 1, ascending.
        falling: whether downward crossings are spikes too.

    Raises:
        TypeError: a level is not a number.
        ValueError: levels are missing, out of range, or not ascending; in a call, x is not (T, channels) or has values
            outside 0 to 1.

    Source: Gütig and Sompolinsky 2009, "Time-warp-invariant neuronal processing", whose neurons fire at the onset and
    the offset of each of several energies of a band.

    >>> spikes = Levels((0.3, 0.6), falling=True)(np.array([0.2, 0.7, 0.4, 0.1])[:, None], dt=5.0)
    >>> [np.flatnonzero(s).tolist() for s in spikes.T]  # rising through 0.3 and 0.6, falling through 0.3 and 0.6
    [[1], [1], [3], [2]]
    """

    levels: tuple[float, ...] = (0.4, 0.6, 0.8)
    falling: bool = False

    def __post_init__(self) -> None:
        check.flag("falling", self.falling)
        levels = tuple(check.positive("levels", level) for level in check.sequence("levels", self.levels))
        if not levels:
            raise ValueError("levels must have a level, got none")
        if levels[-1] > 1 or any(a >= b for a, b in pairwise(levels)):
            raise ValueError(f"levels must ascend to at most 1, got {levels}")

    @property
    def populations(self) -> int:
        """One for each level and direction."""
        return len(self.levels) * (2 if self.falling else 1)

    def __call__(self, x: npt.ArrayLike, dt: float) -> Spikes:
        values = _values(x)
        above = values[:, None] >= np.array(self.levels, np.float64)[:, None]  # (T, levels, channels)
        before = np.zeros_like(above)
        before[1:] = above[:-1]
        found = [above & ~before, before & ~above] if self.falling else [above & ~before]
        return np.concatenate(found, axis=1).reshape(len(values), self.populations * values.shape[1])


def _values(x: npt.ArrayLike) -> Floats:
    """Return values (T, channels) as float64; raise unless they are numbers from 0 to 1."""
    given = to_numpy(x)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"x must be real numbers, got {given.dtype}")
    if given.ndim != 2:
        raise ValueError(f"x must be (T, channels), got shape {given.shape}")
    values = np.ascontiguousarray(given, np.float64)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if wrong.size:
        raise ValueError(f"x must have values from 0 to 1, got {values.flat[wrong[0]]:g}")
    return values
