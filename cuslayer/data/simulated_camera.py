"""A simulated event camera that moves over a static image, as a Numba kernel; imported only when needed.

Each pixel has a reference level of log intensity. When the log intensity differs from it by the pixel's threshold, the
pixel sends an event, ON if brighter. The level then changes by the threshold, several times per step if necessary.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.data.saccades import DARK

# Initial capacity in events; a recording with more events is simulated again with enough capacity.
_CAPACITY = 1 << 14


def record(
    canvas: npt.NDArray[np.float64], path: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return the camera's events (events, 4), sorted by time: time in us, x, y, p."""
    capacity = _CAPACITY
    while True:
        events = np.empty((capacity, 4), dtype=np.int64)
        count = _record(canvas, path, thresholds, events)
        if count <= capacity:
            return events[:count]
        capacity = count


@compiled
def _record(canvas: Array, path: Array, thresholds: Array, events: Array) -> int:
    """Fill events (capacity, 4) with time, x, y, p; return the number of events, which may exceed the capacity."""
    height, width = thresholds.shape[0], thresholds.shape[1]
    capacity = events.shape[0]
    current = np.empty((height, width))
    previous = np.empty((height, width))
    level = np.empty((height, width))
    # The intensities of the next events: most pixels are compared with them and need no logarithm.
    low = np.empty((height, width))
    high = np.empty((height, width))
    count = 0
    for step in range(path.shape[0]):
        top, left = int(path[step, 0]), int(path[step, 1])
        down, right = path[step, 0] - top, path[step, 1] - left
        # Bilinear interpolation between four views of the canvas, one pixel apart.
        a = canvas[top : top + height, left : left + width]
        b = canvas[top : top + height, left + 1 : left + 1 + width]
        c = canvas[top + 1 : top + 1 + height, left : left + width]
        d = canvas[top + 1 : top + 1 + height, left + 1 : left + 1 + width]
        weight_a, weight_b = (1 - down) * (1 - right), (1 - down) * right
        weight_c, weight_d = down * (1 - right), down * right
        for i in range(height):
            for j in range(width):
                current[i, j] = weight_a * a[i, j] + weight_b * b[i, j] + weight_c * c[i, j] + weight_d * d[i, j]
        if step == 0:
            for i in range(height):
                for j in range(width):
                    level[i, j] = math.log(current[i, j] + DARK)
                    low[i, j] = math.exp(level[i, j] - thresholds[i, j, 0]) - DARK
                    high[i, j] = math.exp(level[i, j] + thresholds[i, j, 1]) - DARK
            previous, current = current, previous
            continue
        first = count
        for i in range(height):
            for j in range(width):
                if low[i, j] < current[i, j] < high[i, j]:
                    continue
                start = math.log(previous[i, j] + DARK)
                end = math.log(current[i, j] + DARK)
                polarity = 1 if end > level[i, j] else 0
                move = thresholds[i, j, 1] if polarity else -thresholds[i, j, 0]
                while (end - level[i, j]) / move >= 1.0:
                    level[i, j] += move
                    # Rounding can leave a level just before the start of the step, hence the clipping of time below.
                    part = (level[i, j] - start) / (end - start) if end != start else 0.0
                    time = 1000 * (step - 1) + min(max(int(1000 * part), 0), 999)
                    if count < capacity:
                        index = count
                        while index > first and events[index - 1, 0] > time:
                            for column in range(4):
                                events[index, column] = events[index - 1, column]
                            index -= 1
                        events[index, 0] = time
                        events[index, 1] = j
                        events[index, 2] = i
                        events[index, 3] = polarity
                    count += 1
                low[i, j] = math.exp(level[i, j] - thresholds[i, j, 0]) - DARK
                high[i, j] = math.exp(level[i, j] + thresholds[i, j, 1]) - DARK
        previous, current = current, previous
    return count
