"""The clocks of this process, so that they can be moved: a step of training then takes as long as one says.

`install` must come before the import of what reads the clock by a name of its own (`from time import monotonic`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Since the start of the computer, or of the process: they never go back. The others can be set by anybody.
STEADY = ("monotonic", "perf_counter")
NAMES = ("time", *STEADY)

_real: dict[str, Callable[[], float]] = {name: getattr(time, name) for name in NAMES}
_shift = dict.fromkeys(NAMES, 0.0)


def install() -> None:
    """Replace the functions of `time`."""
    for name in NAMES:
        setattr(time, name, lambda name=name: _real[name]() + _shift[name])
        setattr(time, f"{name}_ns", lambda name=name: int((_real[name]() + _shift[name]) * 1e9))


def now() -> float:
    """Return the seconds of a clock that is not moved."""
    return _real["perf_counter"]()


def date() -> float:
    """Return the time in seconds since 1970, as files have it."""
    return _real["time"]()


def advance(seconds: float) -> None:
    """Let time pass on all clocks."""
    for name in NAMES:
        _shift[name] += seconds
