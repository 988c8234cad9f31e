"""cuslayer: spikes stay booleans, and each layer runs with its neurons in one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from comparison.models import stages

import cuslayer as cs
from cuslayer import Tensor
from cuslayer.data import Digits, open_folder
from cuslayer.kernels import cpu

PACKAGES = ("cuslayer", "numba", "numpy")
FORMS = {
    "default": "SRM, by default",
    "full": "the same, potentials kept in full",
    "adaptive default": "AdaptiveLIF, by default",
}

# An import that waits for its first use is an import all the same: Numba's waits for the first call of a loop.
cpu.spikes.synapse_input(np.zeros((1, 1), bool))

# A network that has learned nothing is nearly silent, and silence costs nothing here: it learns for some steps first.
SETTLING = 20
# Of weights by kind of layer. The examples' networks have smaller ones, of which the first layer's depends on its kind.
SLAYERS = {"conv": 100.0, "dense": 10.0, "recurrent": 10.0}


class Network:
    """The examples' networks: nmnist_mlp.py where the first layer is dense, else nmnist_cnn.py.

    A work's `initial` says how its weights begin: as in the examples ("examples"), as SLAYER's ("slayer"), or so that
    each layer fires as often as the input ("activity").
    """

    def __init__(self, work: dict, form: str, spikes: np.ndarray, labels: np.ndarray) -> None:
        cs.seed(0)
        self.initial = work.get("initial", "examples")
        dense = work["layers"][0][0] != "conv"
        self.srm = cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1)
        parts: list[Any] = []
        for layer, (before, _) in zip(work["layers"], stages.shapes(work["layers"], spikes.shape[2:]), strict=True):
            scale = SLAYERS.get(layer[0], 1.0)
            if self.initial == "examples" and not dense:
                scale = 7 if not parts else 2 if layer[0] == "dense" else 3
            parts += [self.synapse(before, scale, *layer), self.neurons(*layer)]
        self.net = cs.Sequential(*parts, **({"potentials": "full"} if form == "full" else {}))
        self.loss = cs.SpikeCountLoss(self.srm, window=(0, len(spikes)))
        self.x, self.labels = spikes, labels
        quick = 0.01 if dense else 0.002
        self.optimizer = cs.Adam(self.net.parameters(), lr=lambda epoch: stages.LEARNING_RATE if epoch else quick)

    def synapse(self, shape: stages.Shape, scale: float, kind: str, size: int, *rest: int) -> cs.Layer:
        """Return a layer without its neurons."""
        if kind == "conv":
            window, padding = rest
            return cs.Conv(shape[-1], size, window, padding=padding, weight_scale=scale)
        if kind == "pool":
            return cs.SumPool(size, gain=stages.POOL_GAIN * self.srm.theta)
        return cs.Dense(shape, size, weight_scale=scale)

    def neurons(self, kind: str, size: int, *rest: int) -> Any:
        """Return the neurons of a layer."""
        if kind == "recurrent":
            return cs.Recurrent(cs.Dense(size, size, weight_scale=1.0), self.srm)
        if kind == "adaptive":
            taus = {"tau_i": stages.TAU_CURRENT, "tau_v": stages.TAU, "tau_theta": stages.TAU_THRESHOLD}
            return cs.Recurrent(cs.Dense(size, size), cs.AdaptiveLIF(rise=stages.RISE, **taus))
        return self.srm

    def settle(self, samples: int | None = None) -> None:
        """Make the layers fire as the work wants it, on some samples, then set a tiny learning rate."""
        if self.initial == "examples":
            for _ in range(SETTLING):
                self.train()
        elif self.initial == "activity":
            for parameter in cs.Sequential(*self.net.layers[::2]).parameters():
                w = parameter.data
                w += stages.shift(w.std(), math.prod(w.shape[:-1]))
            with cs.no_grad():
                rates = [float(self.x.mean())] * (len(self.net.layers) // 2)
                stages.calibrate(self, rates, samples, lambda s: float(s.mean()))
        self.optimizer.epoch = 1

    def input(self, samples: int | None) -> np.ndarray:
        """Return the spikes of the first samples of the batch, or of all."""
        return self.x[:, :samples]

    def fire(self, k: int, x: np.ndarray) -> np.ndarray:
        """Return the spikes of a layer's neurons for the spikes that the layer receives."""
        return cs.Sequential(*self.net.layers[2 * k : 2 * k + 2])(x).numpy()

    def scale(self, k: int, factor: float) -> None:
        """Multiply the weights of a layer, or the gain of its pooling."""
        self.net.layers[2 * k].scale_output(factor)

    def step(self) -> dict[str, float]:
        """Take a training step and return the seconds of its parts."""
        start = time.perf_counter()
        value = self.loss(self.net(self.x), self.labels)
        forward = time.perf_counter()
        self.optimizer.zero_grad()
        value.backward()
        backward = time.perf_counter()
        self.optimizer.step()
        end = time.perf_counter()
        return {"forward": forward - start, "backward": backward - forward, "optimizer": end - backward}

    train = step

    def rates(self) -> list[float]:
        """Return the share of steps in which each layer's neurons fire."""
        found, layers = [], self.net.layers
        with cs.no_grad():
            for count in range(2, len(layers) + 1, 2):
                # As in training, where a layer and its neurons are one pass and leave no weighted input behind.
                found.append(float(cs.Sequential(*layers[:count])(self.x).numpy().mean()))
        return found

    def by_matrices(self, dtype: type) -> Tensor:
        """Return the output with numbers as input of every layer, so that each multiplies matrices."""
        x = Tensor(self.x.astype(dtype))
        for synapse, neuron in zip(self.net.layers[::2], self.net.layers[1::2], strict=True):
            spikes = neuron(synapse(x))
            x = spikes * np.ones((), dtype)
        return spikes

    def gradients(self, output: Callable[[], Tensor], dtype: type) -> list[np.ndarray]:
        """Return the gradients of the weights from an output, in a number type."""
        parameters = self.net.parameters()
        kept = [p.data for p in parameters]
        for p in parameters:
            p.data, p.grad = p.data.astype(dtype), None
        self.loss(output(), self.labels).backward()
        found = [p.grad for p in parameters]
        for p, data in zip(parameters, kept, strict=True):
            p.data, p.grad = data, None
        return found


def check(network: Network, tolerance: float) -> dict:
    """Return the difference of the gradients and those of the plain matrix path, relative to their norms.

    In float32 a potential within rounding of the threshold may fire on one path and not on the other; where that
    happens the two are compared in float64, in which it does not.
    """
    found: dict[str, Any] = {}
    for dtype in (np.float32, np.float64):
        plain = network.gradients(lambda dtype=dtype: network.by_matrices(dtype), dtype)
        ours = network.gradients(lambda: network.net(network.x), dtype)
        apart = [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(ours, plain, strict=True)]
        found = {"error": max(apart), "dtype": np.dtype(dtype).name}
        if found["error"] <= tolerance:
            break
    return found


def inference(network: Network, data: str | None, steps: int, count: int) -> dict:
    """Return the seconds from a recording's events in memory to its class, one recording at a time."""
    dataset, seconds = open_folder(data)[0] if data else Digits("train"), []
    with cs.no_grad():
        for number in range(count + 1):
            events, _ = dataset[number % len(dataset)]
            start = time.perf_counter()
            cs.classify(network.net(events.to_spikes(dataset.shape, steps)[:, None]))
            seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:]}


def stream(network: Network, steps: int, repeats: int) -> dict:
    """Return the seconds of a step of a stream of random events, 14 a step: the least of some runs."""
    frame, live = np.zeros((1, *network.x.shape[2:]), bool), network.net.stream()
    random, seconds = np.random.default_rng(0), []
    events = [tuple(random.integers(0, side, 14) for side in frame.shape[1:]) for _ in range(steps)]
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for y, x, p in events:
            frame[0, y, x, p] = True
            live.step(frame)
            frame[0, y, x, p] = False
        seconds.append((time.perf_counter() - start) / steps)
    return {"seconds": min(seconds[1:])}


JOBS = {"check": check, "inference": inference, "stream": stream}
