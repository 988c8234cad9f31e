"""A simulated event camera in front of a still picture, as a Numba kernel; imported only when needed.

Each pixel remembers a level of log intensity. Wherever the intensity has moved from it by the pixel's threshold,
an event is sent, ON for brighter, and the level moves by the threshold: several times in one step where need be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer.jit import compiled

# Added to intensities before the logarithm: how bright black is, beside a white of 1.
DARK = 0.1
# Events that a recording is expected to have at most; one that has more is made again with room for them.
_ROOM = 1 << 14


def record(
    canvas: npt.NDArray[np.float64], path: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return the events (events, 4) that a camera reports: time in us, x, y, p, in order of time.

    Args:
        canvas: the picture with black around it, intensities from 0 to 1.
        path: (T + 1, 2), the row and column of the canvas that the sensor's corner is at, every millisecond, from
            0 to so much that the sensor's far edge stays one pixel inside the canvas.
        thresholds: (H, W, 2), each pixel's for OFF and for ON, in log intensity.

    >>> edge = np.zeros((4, 6)); edge[:, 3:] = 1.0
    >>> events = record(edge, np.array([[0.0, 0.0], [0.0, 0.5]]), np.full((3, 4, 2), 1.0))
    >>> [[int(i) for i in event] for event in events]
    [[558, 2, 0, 1], [558, 2, 1, 1], [558, 2, 2, 1]]
    """
    room = _ROOM
    while True:
        events = np.empty((room, 4), dtype=np.int64)
        count = _record(canvas, path, thresholds, events)
        if count <= room:
            return events[:count]
        room = count


@compiled
def _record(canvas: Any, path: Any, thresholds: Any, events: Any) -> int:
    """Fill events (room, 4) with time, x, y, p and return how many there are, even above room."""
    height, width = thresholds.shape[0], thresholds.shape[1]
    room = events.shape[0]
    seen = np.empty((height, width))
    before = np.empty((height, width))
    level = np.empty((height, width))
    # The intensities at which the next event comes: compared with these, most pixels need no logarithm.
    low = np.empty((height, width))
    high = np.empty((height, width))
    count = 0
    for step in range(path.shape[0]):
        top, left = int(path[step, 0]), int(path[step, 1])
        down, right = path[step, 0] - top, path[step, 1] - left
        # Four views of the canvas, a pixel apart: the sensor's pixels lie between theirs.
        a = canvas[top : top + height, left : left + width]
        b = canvas[top : top + height, left + 1 : left + 1 + width]
        c = canvas[top + 1 : top + 1 + height, left : left + width]
        d = canvas[top + 1 : top + 1 + height, left + 1 : left + 1 + width]
        of_a, of_b, of_c, of_d = (
            (1 - down) * (1 - right),
            (1 - down) * right,
            down * (1 - right),
            down * right,
        )
        for i in range(height):
            for j in range(width):
                seen[i, j] = of_a * a[i, j] + of_b * b[i, j] + of_c * c[i, j] + of_d * d[i, j]
        if step == 0:
            for i in range(height):
                for j in range(width):
                    level[i, j] = math.log(seen[i, j] + DARK)
                    low[i, j] = math.exp(level[i, j] - thresholds[i, j, 0]) - DARK
                    high[i, j] = math.exp(level[i, j] + thresholds[i, j, 1]) - DARK
            before, seen = seen, before
            continue
        first = count
        for i in range(height):
            for j in range(width):
                if low[i, j] < seen[i, j] < high[i, j]:
                    continue
                start = math.log(before[i, j] + DARK)
                end = math.log(seen[i, j] + DARK)
                polarity = 1 if end > level[i, j] else 0
                move = thresholds[i, j, 1] if polarity else -thresholds[i, j, 0]
                while (end - level[i, j]) / move >= 1.0:
                    level[i, j] += move
                    # A level that rounding left a hair behind the last step's end is reached at once.
                    part = (level[i, j] - start) / (end - start) if end != start else 0.0
                    time = 1000 * (step - 1) + min(max(int(1000 * part), 0), 999)
                    if count < room:
                        place = count
                        while place > first and events[place - 1, 0] > time:
                            for column in range(4):
                                events[place, column] = events[place - 1, column]
                            place -= 1
                        events[place, 0] = time
                        events[place, 1] = j
                        events[place, 2] = i
                        events[place, 3] = polarity
                    count += 1
                low[i, j] = math.exp(level[i, j] - thresholds[i, j, 0]) - DARK
                high[i, j] = math.exp(level[i, j] + thresholds[i, j, 1]) - DARK
        before, seen = seen, before
    return count
