"""What all models share: shapes, constants, and the search for weights that give the same firing rates.

A network is a list of layers, each followed by its neurons: ["conv", channels, window, padding], ["pool", window],
which sums, ["dense", neurons], and ["recurrent", neurons], whose neurons also get their own spikes of the step before
through a dense layer; ["adaptive", neurons] has these with a current and a threshold that rises with each spike.
["tokens", features] is a dense layer at each place by itself, and ["attention", heads] takes queries, keys and values
side by side. ["conv", ..., "norm"] and ["tokens", ..., "norm"] have BatchNorm before their neurons. Three have no
neurons: ["average", window], ["add", layers], which adds what came before so many layers, and ["readout", outputs].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Membranes forget in 10 steps, as the spike response of cuslayer's neurons does.
TAU = 10.0
THRESHOLD = 1.0
# The currents and the thresholds of adaptive neurons forget in so many steps; what a spike adds to the threshold, in
# thresholds. The deviation of their recurrent weights: about that of cuslayer's initial ones, with which errors stay
# finite over 784 steps.
TAU_CURRENT, TAU_THRESHOLD, RISE = 5.0, 100.0, 0.1
OWN_DEVIATION = 0.003
WITHOUT_NEURONS = ("average", "add", "readout")
ATTENTION_SCALE = 0.25
# How often neurons behind no normalization fire where a library's own weights leave them silent.
RATE = 0.1
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
            window, padding = rest[:2]
            out = (*(side + 2 * padding - window + 1 for side in sensor[:2]), size)
        elif kind in ("pool", "average"):
            out = (sensor[0] // size, sensor[1] // size, sensor[2])
        elif kind == "tokens":
            out = (*sensor[:-1], size)
        elif kind == "attention":
            out = (*sensor[:-1], sensor[-1] // 3)
        elif kind == "add":
            out = sensor
        else:
            out = (size,)
        found.append((sensor, out))
        sensor = out
    return found


def wanted(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the target firing rates of the outputs, (N, classes)."""
    right = np.arange(classes) == np.asarray(labels)[:, None]
    return np.where(right, TRUE_RATE, FALSE_RATE).astype(np.float32)


def shift(deviation: float, inputs: int) -> float:
    """Return what is added to weights of mean 0, of each of some inputs, so that neurons can fire at any rate.

    Without it half of the neurons never fire, however large the weights are. With it, where all inputs fire as often,
    the mean over the neurons of the weighted input equals its standard deviation.
    """
    return deviation / inputs**0.5


def run(layers: list[list], fire: Callable[[int, Any], Any], x: Any, note: Callable[[int, Any], Any]) -> Any:
    """Return the output of all layers: `fire` maps the input of a layer to its output, `note` the spikes of neurons."""
    outputs = [x]
    for k, (kind, size, *_) in enumerate(layers):
        y = outputs[-1] + outputs[-1 - size] if kind == "add" else fire(k, outputs[-1])
        outputs.append(y if kind in WITHOUT_NEURONS else note(k, y))
    return outputs[-1]


def calibrate(network: Any, rates: list[float], samples: int | None, mean: Callable[[Any], float]) -> None:
    """Scale one layer after the other until its neurons fire as often as in `rates`, by a mean over some samples.

    `network.input(samples)` has the spikes of the batch, `network.fire(k, x)` those of a layer's neurons for the spikes
    x that the layer receives, and `network.scale(k, factor)` multiplies its weights, or the gain of its pooling.
    Attention and layers with normalization stay as they are.
    The search ends where a rate stays the same however large the gain is: neurons that a spike resets may fire at most
    once for each spike that they receive.
    """
    remaining = iter(rates)

    def fire(k: int, x: Any) -> Any:
        spikes = network.fire(k, x)
        kind, *sizes = network.layers[k]
        if kind in WITHOUT_NEURONS:
            return spikes
        wanted_rate = next(remaining)
        if kind == "attention" or "norm" in sizes:
            return spikes
        gain, low, high, last = 1.0, 0.0, float("inf"), -1.0
        for _ in range(TRIES):
            rate = mean(spikes)
            if abs(rate - wanted_rate) <= TOLERANCE * wanted_rate or 0 < rate == last < wanted_rate:
                break
            last = rate
            low, high = (gain, high) if rate < wanted_rate else (low, gain)
            if high == float("inf"):
                tried = 2 * gain
            elif low == 0:
                tried = gain / 2
            else:
                tried = (low * high) ** 0.5
            network.scale(k, tried / gain)
            gain = tried
            spikes = network.fire(k, x)
        return spikes

    run(network.layers, fire, network.input(samples), lambda k, spikes: spikes)
