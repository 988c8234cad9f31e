"""Event frames: the events of each window of time as an image."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.data.events import EDGE, Events
from cuslayer.plot.axes import check_axes, spike_train
from cuslayer.plot.style import Palette, palette
from cuslayer.plot.tiles import draw_tiles

_FRAMES = 6  # without a window
_MOST = 1000
# The opacity of a pixel with few events, and the quantile of the counts at which it is full.
_FAINTEST, _FULL_AT = 0.3, 0.98


class Frames(NamedTuple):
    """Counts of events in windows of time.

    Attributes:
        counts: (frames, H, W, C), float64.
        starts: when each window begins, ms, (frames,).
        stops: when each ends, ms, (frames,).
    """

    counts: Array
    starts: Array
    stops: Array

    def titles(self) -> list[str]:
        """Return the window of each frame as text."""
        return [f"{start:.4g} to {stop:.4g} ms" for start, stop in zip(self.starts, self.stops, strict=True)]


def frames(
    spikes: Any,
    ax: Any = None,
    *,
    window: float | None = None,
    sample: int | None = 0,
    dt: float = 1.0,
    columns: int | None = None,
) -> Any:
    """Draw the events of each window of time as an image, in reading order, row 0 on top.

    Of two channels the first is OFF, blue, and the second ON, vermilion; the colours of both mix. Other numbers of
    channels are summed, in grey. Colours saturate at the 98 % quantile of the counts above 0 of all frames.

    Args:
        spikes: `Events`, or (T, N, H, W, C) booleans or counts, a tensor or an array.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        window: the length of the window of each frame, ms; by default a sixth of all time. The last may be shorter.
        sample: the sample of the batch; None where spikes are (T, H, W, C) without a batch.
        dt: the step, ms; not used for events, which have times.
        columns: frames per row; by default as many as fit well.

    Returns:
        The axes.

    Raises:
        ValueError: spikes are not (T, N, H, W, C) or events in 2-D, a number is out of range, or there would be more
            than 1000 frames.
        IndexError: there is no such sample.
        TypeError: spikes are not booleans or counts, or ax is not Axes.

    >>> ax = frames(Events([1.0, 60.0], [3, 0], [0, 1], [1, 0]), window=50.0)
    >>> [text.get_text() for text in ax.texts]
    ['0 to 50 ms', '50 to 100 ms']
    """
    op = "frames"
    columns = None if columns is None else check.integer(op, "columns", columns, least=1)
    found = gather(op, spikes, window=window, sample=sample, dt=dt)
    pictures = paint(found.counts, palette(check_axes(op, ax)))
    # Transparent between the frames.
    return draw_tiles(op, ax, pictures, found.titles(), columns=columns, fill=0.0).axes


def gather(op: str, spikes: Any, *, window: float | None, sample: int | None, dt: float) -> Frames:
    """Return the counts of events in windows of time; see `frames`."""
    if window is not None:
        window = check.positive(op, "window", window)
    if isinstance(spikes, Events):
        return _of_events(op, spikes, window)
    dt = check.time_step(op, "dt", dt)
    train = spike_train(op, spikes, sample)
    if train.ndim != 4 or 0 in train.shape:
        batch = "" if sample is None else "N, "
        raise ValueError(f"{op}: spikes must be (T, {batch}H, W, C) and not empty, a sample has shape {train.shape}")
    steps = len(train)
    each = max(1, math.ceil(steps / _FRAMES) if window is None else round(window / dt))
    _not_too_many(op, math.ceil(steps / each))
    first = np.arange(0, steps, each)
    counts = np.add.reduceat(train.astype(np.float64), first, axis=0)
    return Frames(counts, first * dt, np.minimum(first + each, steps) * dt)


def _of_events(op: str, events: Events, window: float | None) -> Frames:
    """Return frames of a recording, on multiples of the window from the first that holds an event."""
    if events.y is None or not len(events):
        what = "1-D" if events.y is None else "2-D, none"
        raise ValueError(f"{op}: events must be in 2-D and at least one, got events in {what}")
    low, high = float(events.t.min()), float(events.t.max())
    if window is None:
        start, window = low, (high - low) / _FRAMES or 1.0
        count = _FRAMES if high > low else 1
    else:
        start = math.floor(low / window + EDGE) * window
        count = math.floor((high - start) / window + EDGE) + 1
    _not_too_many(op, count)
    # The last event lies on the end of the last window and belongs to it.
    at = np.floor((events.t - start) / window + EDGE).astype(np.int64).clip(0, count - 1)
    sensor = int(events.y.max()) + 1, int(events.x.max()) + 1, max(int(events.p.max()) + 1, 2)
    counts = np.zeros((count, *sensor))
    np.add.at(counts, (at, events.y, events.x, events.p), 1.0)
    starts = start + window * np.arange(count)
    return Frames(counts, starts, starts + window)


def _not_too_many(op: str, count: int) -> None:
    if count > _MOST:
        raise ValueError(f"{op}: window must make at most {_MOST} frames, got {count}")


def paint(counts: Array, colors: Palette) -> Array:
    """Return counts (frames, H, W, C) as colours (frames, H, W, 4), red, green, blue and opacity in 0 .. 1."""
    if counts.shape[-1] != 2:
        counts = counts.sum(axis=-1, keepdims=True)
    busy = counts[counts > 0]
    full = float(np.quantile(busy, _FULL_AT, method="higher")) if busy.size else 1.0
    share = np.where(counts > 0, _FAINTEST + (1 - _FAINTEST) * np.minimum(counts / full, 1.0), 0.0)
    page, *shades = map(_rgb, (colors.page, *(colors.polarities if counts.shape[-1] == 2 else (colors.ink,))))
    picture = np.ones((*counts.shape[:-1], 4))
    picture[..., :3] = page
    for channel, shade in enumerate(shades):
        picture[..., :3] += share[..., channel, None] * (shade - page)
    return picture.clip(0.0, 1.0)


def _rgb(color: str) -> Array:
    """Return a colour "#rrggbb" as numbers 0 .. 1."""
    return np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
