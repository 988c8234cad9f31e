"""Binning of `.bs2` recordings directly from the bytes of the file, the fast path of `Loader`.

It avoids the intermediate columns of `Events` and runs without the GIL, so that the loader's thread delays training
less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import EDGE
from cuslayer.data.packed import PackedEvents, begins
from cuslayer.jit import compiled
from cuslayer.kernels.spikes.packed import event_fields

Counts = npt.NDArray[np.int64]

# Bytes per event: x, y, then polarity (1 bit) and time in microseconds (23 bits).
EVENT_BYTES = 5
_US_PER_MS = 1000.0


@compiled
def _place(raw: Any, at: int, height: int, width: int, channels: int, dt: float, nearest: bool) -> Any:
    """Return the step of the event at a byte, a float, and its flat sensor index, -1 outside the sensor."""
    x, y, p = np.int64(raw[at]), np.int64(raw[at + 1]), np.int64(raw[at + 2]) >> 7
    if x >= width or y >= height or (channels > 1 and p >= channels):
        return 0.0, -1
    time = (np.int64(raw[at + 2]) & 0x7F) << 16 | np.int64(raw[at + 3]) << 8 | np.int64(raw[at + 4])
    step = time / _US_PER_MS / dt
    step = np.rint(step) if nearest else np.floor(step + EDGE)
    return step, (y * width + x) * channels + (p if channels > 1 else 0)


@compiled
def _bin_events(
    raw: Any,
    ends: Any,
    spikes: Any,
    kept: Any,
    height: int,
    width: int,
    channels: int,
    steps: int,
    dt: float,
    nearest: bool,
) -> bool:
    """Set the bins of all events in spikes, and count them; return False if an event is outside the sensor."""
    begin = 0
    for sample in range(ends.size):
        for at in range(begin, ends[sample], EVENT_BYTES):
            step, feature = _place(raw, at, height, width, channels, dt, nearest)
            if feature < 0:
                return False
            if step < steps:
                kept[sample] += 1
                spikes[(np.int64(step) * ends.size + sample) * height * width * channels + feature] = True
        begin = ends[sample]
    return True


@compiled
def _pack_events(
    raw: Any,
    ends: Any,
    events: Any,
    kept: Any,
    feature_bits: int,
    height: int,
    width: int,
    channels: int,
    steps: int,
    dt: float,
    nearest: bool,
) -> bool:
    """Write all events as `event_fields` describes them, and count them, as `_bin_events` does."""
    begin = count = 0
    for sample in range(ends.size):
        for at in range(begin, ends[sample], EVENT_BYTES):
            step, feature = _place(raw, at, height, width, channels, dt, nearest)
            if feature < 0:
                return False
            if step < steps:
                kept[sample] += 1
                if events.shape[1] == 1:
                    events[count, 0] = np.int64(step) << feature_bits | feature
                else:
                    events[count, 0] = feature
                    events[count, 1] = np.int64(step)
                count += 1
        begin = ends[sample]
    return True


def bin_recordings(
    recordings: Sequence[bytes],
    shape: tuple[int, int, int],
    steps: int,
    dt: float,
    rounding: str,
) -> tuple[npt.NDArray[np.bool_], Counts] | None:
    """Return the spikes of recordings as `Events.to_spikes` does, and how many events lie within the bins.

    Args:
        recordings: the bytes of `.bs2` files, one for each of N samples.
        shape: the sensor (H, W, C).
        steps: the number of bins.
        dt: the width of a bin in ms.
        rounding: "floor" or "nearest".

    Returns:
        The spikes (T, N, H, W, C), and the number of events for each recording (N,); None if a recording is invalid.
    """
    joined = _joined(recordings)
    if joined is None:
        return None
    raw, ends = joined
    spikes = np.zeros(steps * len(recordings) * int(np.prod(shape)), np.bool_)
    kept = np.zeros(len(recordings), np.int64)
    if not _bin_events(raw, ends, spikes, kept, *shape, steps, dt, rounding == "nearest"):
        return None
    return spikes.reshape(steps, len(recordings), *shape), kept


def pack_recordings(
    recordings: Sequence[bytes],
    shape: tuple[int, int, int],
    steps: int,
    dt: float,
    rounding: str,
) -> tuple[PackedEvents, Counts] | None:
    """Return the events of recordings for a GPU, and how many lie within the bins; see `bin_recordings`."""
    joined = _joined(recordings)
    if joined is None:
        return None
    raw, ends = joined
    words, bits = event_fields(steps, math.prod(shape))
    events = np.empty((raw.size // EVENT_BYTES, words), np.uint32)
    kept = np.zeros(len(recordings), np.int64)
    if not _pack_events(raw, ends, events, kept, bits, *shape, steps, dt, rounding == "nearest"):
        return None
    begin = begins(kept)
    return PackedEvents(events[: begin[-1]], begin), kept


def _joined(recordings: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], Counts] | None:
    """Return the bytes of all recordings and the end of each; None if one is not made of whole events."""
    if any(not raw or len(raw) % EVENT_BYTES for raw in recordings):
        return None
    ends = np.cumsum([len(raw) for raw in recordings], dtype=np.int64)
    return np.frombuffer(b"".join(recordings), np.uint8), ends
