"""Binning of `.bs2` recordings directly from the bytes of the file, the fast path of `Loader`.

It avoids the intermediate columns of `Events` and runs without the GIL, so the loader's thread delays training less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.data.events import EDGE
from cuslayer.data.packed import PackedEvents, begins
from cuslayer.kernels.spikes.packed import event_fields

Counts = npt.NDArray[np.int64]

# Bytes per event: x, y, then polarity (1 bit) and time in microseconds (23 bits).
EVENT_BYTES = 5
_US_PER_MS = 1000.0


@compiled
def _place(raw: Array, at: int, height: int, width: int, channels: int, dt: float, nearest: bool) -> Any:
    """Return the step of the event at a byte, a float, and its flat sensor index, -1 outside the sensor."""
    x, y, p = np.int64(raw[at]), np.int64(raw[at + 1]), np.int64(raw[at + 2]) >> 7
    if x >= width or y >= height or (channels > 1 and p >= channels):
        return 0.0, -1
    time = (np.int64(raw[at + 2]) & 0x7F) << 16 | np.int64(raw[at + 3]) << 8 | np.int64(raw[at + 4])
    step = time / _US_PER_MS / dt
    step = np.rint(step) if nearest else np.floor(step + EDGE)
    return step, (y * width + x) * channels + (p if channels > 1 else 0)


@compiled
def _bin(raw: Array, ends: Array, spikes: Array, events: Array, bits: int, kept: Array, *window: Any) -> bool:
    """Set the bins of all events in spikes, or pack the events, and count them; return False if one is outside."""
    height, width, channels, steps, dt, nearest = window
    begin = count = 0
    for sample in range(ends.size):
        for at in range(begin, ends[sample], EVENT_BYTES):
            step, feature = _place(raw, at, height, width, channels, dt, nearest)
            if feature < 0:
                return False
            if step < steps:
                kept[sample] += 1
                if spikes.size:
                    spikes[(np.int64(step) * ends.size + sample) * height * width * channels + feature] = True
                elif events.shape[1] == 1:
                    events[count, 0] = np.int64(step) << bits | feature
                else:
                    events[count, 0] = feature
                    events[count, 1] = np.int64(step)
                count += 1
        begin = ends[sample]
    return True


def bin_recordings(
    recordings: Sequence[bytes], shape: tuple[int, int, int], steps: int, dt: float, rounding: str
) -> tuple[npt.NDArray[np.bool_], Counts] | None:
    """Return the spikes (T, N, H, W, C) of the bytes of `.bs2` files for the CPU; see `Events.to_spikes`.

    Returns:
        The spikes, and the number of events of each recording within the bins, (N,); None if a recording is invalid.
    """
    spikes = np.zeros(steps * len(recordings) * math.prod(shape), np.bool_)
    kept = _filled(recordings, spikes, np.empty((0, 1), np.uint32), 0, (*shape, steps, dt, rounding == "nearest"))
    return None if kept is None else (spikes.reshape(steps, len(recordings), *shape), kept)


def pack_recordings(
    recordings: Sequence[bytes], shape: tuple[int, int, int], steps: int, dt: float, rounding: str
) -> tuple[PackedEvents, Counts] | None:
    """Return the events of recordings for a GPU, and how many are within the bins; see `bin_recordings`."""
    words, bits = event_fields(steps, math.prod(shape))
    events = np.empty((sum(map(len, recordings)) // EVENT_BYTES, words), np.uint32)
    kept = _filled(recordings, np.empty(0, np.bool_), events, bits, (*shape, steps, dt, rounding == "nearest"))
    if kept is None:
        return None
    begin = begins(kept)
    return PackedEvents(events[: begin[-1]], begin), kept


def _filled(recordings: Sequence[bytes], spikes: Array, events: Array, bits: int, window: Any) -> Counts | None:
    """Fill spikes or events and return the number of events within the bins; None if a recording is invalid."""
    if any(not raw or len(raw) % EVENT_BYTES for raw in recordings):
        return None
    ends = np.cumsum([len(raw) for raw in recordings], dtype=np.int64)
    kept = np.zeros(len(recordings), np.int64)
    raw = np.frombuffer(b"".join(recordings), np.uint8)
    return kept if _bin(raw, ends, spikes, events, bits, kept, *window) else None
