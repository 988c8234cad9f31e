"""Recognize events whose times do not fit the window of steps in which they are binned."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

# A recording in microseconds that is as long as the window has its median at 500 windows, where half of that length at
# 250. Recordings in ms that are read from files have fractions of a ms, and then more is needed, so that a recording of
# seconds may be binned in a short window.
_WINDOWS_WHOLE, _WINDOWS_FRACTIONS = 100.0, 400.0
# Medians, in ms, up to which a recording may simply be long.
_LONG_WHOLE, _LONG_FRACTIONS = 1e4, 2e4

# Recordings begin at 0 ms, or not much later.
_FAR = 100.0

_noted: dict[tuple[int, str], weakref.ref[Any]] = {}


def misfit(t: npt.NDArray[np.float64], kept: int, steps: int, dt: float) -> tuple[str, str] | None:
    """Return the kind of a misfit of times and window, "unit" or "late", and its description; None if they fit.

    The unit is taken for microseconds if the median of the times lies at more than 100 windows and 10 s for whole
    numbers, or at more than 400 windows and 20 s for others. Otherwise events are late if none lies within the window.

    Args:
        t: the times in ms, (events,).
        kept: the number of events within the window.
        steps: the number of bins.
        dt: the width of a bin in ms.
    """
    if 2 * kept >= t.size:
        return None
    window = steps * dt
    median = float(np.median(t))
    whole = bool((abs(t - np.rint(t)) < 1e-6).all())
    windows, long = (_WINDOWS_WHOLE, _LONG_WHOLE) if whole else (_WINDOWS_FRACTIONS, _LONG_FRACTIONS)
    # With a step that looks like seconds, of which `check.time_step` warns, every recording has many windows.
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


class Misfits:
    """The misfits of a batch: those to warn of, without false alarms where a short window misses a few recordings.

    Late events are worth a warning if those of all recordings of the batch are late, or if those of one begin after 100
    ms and twice the window.
    """

    def __init__(self) -> None:
        self.recordings = self.late = 0
        self._found: dict[str, str] = {}

    def add(self, op: str, t: npt.NDArray[np.float64], kept: int, steps: int, dt: float) -> None:
        """Add a recording that is not empty; see `misfit`."""
        self.recordings += 1
        found = misfit(t, kept, steps, dt)
        if found is None:
            return
        kind = found[0]
        self.late += kind == "late"
        far = kind == "late" and t.min() >= max(_FAR, 2 * steps * dt)
        self._found.setdefault("far" if far else kind, f"{op}: {found[1]}")

    def warnings(self) -> dict[str, str]:
        """Return the messages to warn of, by kind, "unit" or "late"."""
        late = self._found.get("far") or (self._found.get("late") if self.late == self.recordings else None)
        found = {"unit": self._found.get("unit"), "late": late}
        return {kind: message for kind, message in found.items() if message}


def first_time(dataset: Any, kind: str) -> bool:
    """Return whether this is the first call for a data set and a kind of misfit."""
    key = id(dataset), kind
    known = _noted.get(key)
    if known is not None and known() is dataset:
        return False
    with suppress(TypeError):  # an object without weak references is warned about in each epoch
        _noted[key] = weakref.ref(dataset, lambda _: _noted.pop(key, None))
    return True
