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


def first_time(dataset: Any, kind: str) -> bool:
    """Return whether this is the first call for a data set and a kind of misfit."""
    key = id(dataset), kind
    known = _noted.get(key)
    if known is not None and known() is dataset:
        return False
    with suppress(TypeError):  # an object without weak references is warned about in each epoch
        _noted[key] = weakref.ref(dataset, lambda _: _noted.pop(key, None))
    return True
