"""What all models share: shapes, constants, and the search for weights that give the same firing rates.

A network is a list of layers, each followed by its neurons: ["conv", channels, window, padding], ["pool", window],
which sums, and ["dense", neurons].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Membranes forget in 10 steps, as the spike response of cuslayer's neurons does.
TAU = 10.0
THRESHOLD = 1.0
# One spike in a pooling window is enough to fire.
POOL_GAIN = 1.1
# So small that the firing rates stay what is printed beside the times.
LEARNING_RATE = 1e-7
TRUE_RATE, FALSE_RATE = 60 / 300, 10 / 300
# How far a layer's rate may be from the one that is wanted, and after how many tries the search gives up.
TOLERANCE, TRIES = 0.1, 16

Shape = tuple[int, ...]


def shapes(layers: list[list], sensor: Shape) -> list[tuple[Shape, Shape]]:
    """Return the input shape and the output shape of each layer, (H, W, C) or (C,)."""
    found = []
    for kind, size, *rest in layers:
        if kind == "conv":
            window, padding = rest
            out = (*(side + 2 * padding - window + 1 for side in sensor[:2]), size)
        elif kind == "pool":
            out = (sensor[0] // size, sensor[1] // size, sensor[2])
        else:
            out = (size,)
        found.append((sensor, out))
        sensor = out
    return found


def wanted(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the target firing rates of the outputs, (N, classes)."""
    right = np.arange(classes) == np.asarray(labels)[:, None]
    return np.where(right, TRUE_RATE, FALSE_RATE).astype(np.float32)


def calibrate(
    layers: list[list],
    rates: list[float],
    measure: Callable[[], list[float]],
    scale: Callable[[int, float], None],
) -> None:
    """Scale the weights of one layer after the other until its neurons fire as often as in `rates`.

    The rate of a layer depends on the layers before it, which are scaled first.
    """
    for k, (kind, *_) in enumerate(layers):
        if kind == "pool":
            continue
        gain, low, high = 1.0, 0.0, float("inf")
        for _ in range(TRIES):
            rate = measure()[k]
            if abs(rate - rates[k]) <= TOLERANCE * rates[k]:
                break
            low, high = (gain, high) if rate < rates[k] else (low, gain)
            if high == float("inf"):
                tried = 2 * gain
            elif low == 0:
                tried = gain / 2
            else:
                tried = (low * high) ** 0.5
            scale(k, tried / gain)
            gain = tried
