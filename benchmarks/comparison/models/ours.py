"""cuslayer: spikes stay booleans, and each layer runs spike by spike with its neurons in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import cuslayer as cs
from comparison import recordings
from comparison.models import stages
from cuslayer import Tensor
from cuslayer.kernels import cpu

PACKAGES = ("cuslayer", "numba", "numpy")
FORMS = {"events": "SRM, spike by spike", "half": "the same, potentials kept as float16"}

# An import that waits for its first use is an import all the same: Numba's waits for the first call of a loop.
cpu.spikes.synapse_input(np.zeros((1, 1), bool))

# A network that has learned nothing is nearly silent, and silence costs nothing here: it learns for some steps first.
SETTLING = 20


class Network:
    """The examples' networks: nmnist_mlp.py where the first layer is dense, else nmnist_cnn.py."""

    def __init__(self, work: dict, form: str, spikes: np.ndarray, labels: np.ndarray) -> None:
        cs.seed(0)
        dense = work["layers"][0][0] == "dense"
        self.srm = cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1)
        parts: list[Any] = []
        for layer, (before, _) in zip(work["layers"], stages.shapes(work["layers"], spikes.shape[2:]), strict=True):
            scale = 10 if dense else 7 if not parts else 2 if layer[0] == "dense" else 3
            parts += [self.synapse(before, scale, *layer), self.srm]
        self.net = cs.Sequential(*parts, potentials="float16" if form == "half" else "full")
        self.loss = cs.SpikeCountLoss(self.srm, true=60, false=10, region=(0, len(spikes)))
        self.x, self.labels = spikes, labels
        quick = 0.01 if dense else 0.002
        self.optimizer = cs.Adam(self.net.parameters(), lr=lambda epoch: stages.LEARNING_RATE if epoch else quick)

    def synapse(self, shape: stages.Shape, scale: float, kind: str, size: int, *rest: int) -> cs.Layer:
        """Return a layer without its neurons."""
        if kind == "conv":
            window, padding = rest
            return cs.Conv(shape[-1], size, window, padding=padding, weight_scale=scale)
        if kind == "pool":
            return cs.Pool(size, gain=stages.POOL_GAIN * self.srm.theta)
        return cs.Dense(shape, size, weight_scale=scale)

    def settle(self) -> None:
        """Train for a few steps, then set a tiny learning rate."""
        for _ in range(SETTLING):
            self.train()
        self.optimizer.epoch = 1

    def train(self) -> None:
        """Take a training step."""
        self.step()

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

    def rates(self, samples: int | None = None) -> list[float]:
        """Return the share of steps in which each layer's neurons fire, for the first samples of the batch."""
        found, layers = [], self.net.layers
        with cs.no_grad():
            for count in range(2, len(layers) + 1, 2):
                # As in training, where a layer and its neurons are one pass and leave no weighted input behind.
                spikes = cs.Sequential(*layers[:count])(self.x[:, :samples])
                found.append(float(spikes.numpy().mean()))
        return found

    def pairs(self) -> Any:
        return zip(self.net.layers[::2], self.net.layers[1::2], strict=True)

    def by_matrices(self, dtype: type) -> Tensor:
        """Return the output with numbers as input of every layer, so that each multiplies matrices."""
        x = Tensor(self.x.astype(dtype))
        for synapse, neuron in self.pairs():
            spikes = neuron(synapse(x))
            x = spikes * np.ones((), dtype)
        return spikes

    def gradients(self, output: Callable[[], Tensor], dtype: type) -> list[np.ndarray]:
        """Return the gradients of the weights from an output, in a number type."""
        parameters = self.net.parameters()
        kept = [p.data for p in parameters]
        try:
            for p in parameters:
                p.data, p.grad = p.data.astype(dtype), None
            self.loss(output(), self.labels).backward()
            return [p.grad for p in parameters]
        finally:
            for p, data in zip(parameters, kept, strict=True):
                p.data, p.grad = data, None


def check(network: Network) -> dict:
    """Return the difference of the gradients and those of the plain matrix path, relative to their norms.

    In float32 a potential within rounding of the threshold may fire on one path and not on the other; where that
    happens the two are compared in float64, in which it does not.
    """
    worst, dtype = float("inf"), np.float32
    for dtype in (np.float32, np.float64):
        ours = network.gradients(lambda: network.net(network.x), dtype)
        plain = network.gradients(lambda dtype=dtype: network.by_matrices(dtype), dtype)
        worst = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(ours, plain, strict=True))
        if worst <= recordings.GRADIENT_TOLERANCE:
            break
    return {"error": worst, "dtype": np.dtype(dtype).name}


def inference(network: Network, data: str, steps: int, count: int) -> dict:
    """Return the seconds from a recording's events in memory to its class, one recording at a time."""
    dataset, seconds = recordings.training_set(data), []
    with cs.no_grad():
        for number in range(count + 1):
            events, _ = dataset[number % len(dataset)]
            start = time.perf_counter()
            cs.classify(network.net(events.to_spikes(dataset.shape, steps)[:, None]))
            seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:]}


def loading(network: Network, data: str, steps: int, batch: int, repeats: int) -> dict:
    """Return the seconds of a batch from files, and of steps on batches from a loader and from memory, in turn."""
    batches = list(recordings.batches(data, batch, steps))
    seconds: dict[str, list[float]] = {"batch": [], "step_from_loader": [], "step_from_memory": []}

    def time_each(name: str, source: Any, step: Callable[[], None]) -> None:
        start = time.perf_counter()
        for network.x, network.labels in source:
            step()
            now = time.perf_counter()
            seconds[name].append(now - start)
            start = now

    for _ in range(repeats):
        time_each("batch", recordings.batches(data, batch, steps), lambda: None)
        time_each("step_from_loader", recordings.batches(data, batch, steps), network.train)
        time_each("step_from_memory", batches, network.train)
    return {"seconds": seconds}


JOBS = {"check": check, "inference": inference, "loading": loading}
