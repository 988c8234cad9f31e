"""Times in ms as steps: a window of time, and a length."""

from __future__ import annotations

from typing import NamedTuple

from cuslayer._base import check


class TimeWindow(NamedTuple):
    """A window of time, from start up to stop, in ms.

    >>> TimeWindow.of("window", (2.0, 5.0)).steps(0.5)
    (4, 10)
    """

    start: float
    stop: float

    @classmethod
    def of(cls, name: str, window: object) -> TimeWindow:
        """Return an argument as a window; raise ValueError unless it is (start, stop)."""
        if not isinstance(window, (tuple, list)) or len(window) != 2:
            raise ValueError(f"{name} must be (start, stop) in ms, got {window!r}")
        start, stop = (check.not_negative(name, edge) for edge in window)
        if start >= stop:
            raise ValueError(f"{name} must end after it starts, got {start:g} to {stop:g} ms")
        return cls(start, stop)

    def steps(self, dt: float) -> tuple[int, int]:
        """Return the first step of dt, and the one after the last."""
        first, last = round(self.start / dt), round(self.stop / dt)
        if first >= last:
            raise ValueError(f"window must hold a step of {dt:g} ms, got {self.start:g} to {self.stop:g} ms")
        return first, last

    def within(self, steps: int, dt: float) -> tuple[int, int]:
        """Return `steps`; raise ValueError if the window reaches past the end of some steps."""
        first, last = self.steps(dt)
        if last > steps:
            raise ValueError(f"window reaches to {self.stop:g} ms, the recording ends at {steps * dt:g} ms")
        return first, last

    def __repr__(self) -> str:
        return repr(tuple(self))


def steps_of(name: str, length: object, dt: float) -> int:
    """Return a length of time in ms as steps; raise ValueError if that is none."""
    steps = round(check.positive(name, length) / dt)
    if steps < 1:
        raise ValueError(f"{name} must be at least a step of {dt:g} ms, got {length:g}")
    return steps
