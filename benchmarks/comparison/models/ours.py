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
    "lif": "LIF",
    "adlif": "AdLIF",
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
    each layer fires as often as the input ("activity"), or at the library's own scale of 1 and, without normalization
    before its neurons, as often as `stages.RATE` says ("default").
    """

    def __init__(self, work: dict, form: str, spikes: np.ndarray, labels: np.ndarray) -> None:
        cs.seed(0)
        self.initial = work.get("initial", "examples")
        dense = work["layers"][0][0] != "conv"
        self.neuron = neuron(form, work.get("tau", stages.TAU), work.get("threshold", stages.THRESHOLD))
        self.layers, self.blocks = work["layers"], list[list[Any]]()
        parts: list[Any] = []
        for layer, (before, _) in zip(self.layers, stages.shapes(self.layers, spikes.shape[2:]), strict=True):
            kind, size, *_ = layer
            scale = 1.0 if self.initial == "default" else SLAYERS.get(kind, 1.0)
            if self.initial == "examples" and not dense:
                scale = 7 if not parts else 2 if kind == "dense" else 3
            self.blocks.append(self.block(before, scale, *layer))
            if kind == "add":
                skipped = sum(map(len, self.blocks[-1 - size :]))
                parts[-skipped:] = [cs.Residual(*parts[-skipped:])]
            else:
                parts += self.blocks[-1]
        self.net = cs.Sequential(*parts, **({"potentials": "full"} if form == "full" else {}))
        read_out = self.layers[-1][0] == "readout"
        self.loss = cs.CrossEntropyLoss("mean") if read_out else cs.SpikeCountLoss(self.neuron, window=(0, len(spikes)))
        self.x, self.labels = spikes, labels
        quick = 0.01 if dense else 0.002
        self.optimizer = cs.Adam(self.net.parameters(), lr=lambda epoch: stages.LEARNING_RATE if epoch else quick)

    def block(self, shape: stages.Shape, scale: float, kind: str, size: int, *rest: Any) -> list[Any]:
        """Return a layer, its normalization and its neurons."""
        parts = [] if kind == "add" else [self.synapse(shape, scale, kind, size, *rest)]
        if "norm" in rest:
            parts.append(cs.BatchNorm(size, trained=True))
        if kind not in stages.WITHOUT_NEURONS:
            parts.append(self.neurons(kind, size))
        return parts

    def synapse(self, shape: stages.Shape, scale: float, kind: str, size: int, *rest: Any) -> Any:
        """Return a layer without its neurons."""
        if kind == "conv":
            window, padding, *_ = rest
            return cs.Conv(shape[-1], size, window, padding=padding, weight_scale=scale)
        if kind == "pool":
            return cs.SumPool(size, gain=stages.POOL_GAIN * self.neuron.theta)
        if kind == "average":
            return cs.AvgPool(size)
        if kind == "attention":
            return attention(size)
        if kind == "readout":
            return cs.ReadOut(shape, size, weight_scale=scale)
        return cs.Dense(shape[-1] if kind == "tokens" else shape, size, weight_scale=scale)

    def neurons(self, kind: str, size: int) -> Any:
        """Return the neurons of a layer."""
        if kind == "recurrent":
            return cs.Recurrent(cs.Dense(size, size, weight_scale=1.0), self.neuron)
        if kind == "adaptive":
            taus = {"tau_i": stages.TAU_CURRENT, "tau_v": stages.TAU, "tau_theta": stages.TAU_THRESHOLD}
            return cs.Recurrent(cs.Dense(size, size), cs.AdaptiveLIF(rise=stages.RISE, **taus))
        return self.neuron

    def settle(self, samples: int | None = None) -> None:
        """Make the layers fire as the work wants it, on some samples, then set a tiny learning rate."""
        if self.initial == "examples":
            for _ in range(SETTLING):
                self.train()
        elif self.initial in ("activity", "default"):
            rate = stages.RATE
            if self.initial == "activity":
                rate = float(self.x.mean())
                for parameter in cs.Sequential(*(block[0] for block in self.blocks)).parameters():
                    w = parameter.data
                    w += stages.shift(w.std(), math.prod(w.shape[:-1]))
            with cs.no_grad():
                rates = [rate] * len(self.layers)
                stages.calibrate(self, rates, samples, lambda s: float(s.mean()))
        self.optimizer.epoch = 1

    def input(self, samples: int | None) -> np.ndarray:
        """Return the spikes of the first samples of the batch, or of all."""
        return self.x[:, :samples]

    def fire(self, k: int, x: np.ndarray) -> np.ndarray:
        """Return the spikes of a layer's neurons for the spikes that the layer receives."""
        return cs.Sequential(*self.blocks[k])(x).numpy()

    def scale(self, k: int, factor: float) -> None:
        """Multiply the weights of a layer, or the gain of its pooling."""
        self.blocks[k][0].scale_output(factor)

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
        found = []

        def note(k: int, spikes: np.ndarray) -> np.ndarray:
            found.append(float(spikes.mean()))
            return spikes

        with cs.no_grad():
            # As in training, where a layer and its neurons are one pass and leave no weighted input behind.
            stages.run(self.layers, self.fire, self.x, note)
        return found

    def by_matrices(self, dtype: type) -> Tensor:
        """Return the output with numbers as input of every layer, so that each multiplies matrices."""

        def fire(k: int, x: Tensor) -> Tensor:
            for part in self.blocks[k]:
                x = normalized(part, x) if isinstance(part, cs.BatchNorm) else part(x)
            return x

        return stages.run(
            self.layers, fire, Tensor(self.x.astype(dtype)), lambda k, spikes: spikes * np.ones((), dtype)
        )

    def gradients(self, output: Callable[[], Tensor], dtype: type) -> list[np.ndarray]:
        """Return the gradients of the weights from an output, in a number type."""
        parameters = self.net.parameters()
        kept = [p.data for p in parameters]
        for p in parameters:
            p.data, p.grad = p.data.astype(dtype), None
        self.loss(output(), self.labels).backward()
        # The running mean and variance have none.
        found = [p.grad for p in parameters if p.grad is not None]
        for p, data in zip(parameters, kept, strict=True):
            p.data, p.grad = data, None
        return found


def neuron(form: str, tau: float, threshold: float) -> Any:
    """Return the neurons of a form, with a time constant in steps after which 1 - 1/tau of the voltage are left."""
    if form == "lif":
        return cs.LIF(-1 / math.log(1 - 1 / tau), theta=threshold)
    if form == "adlif":
        return cs.AdLIF(theta=threshold)
    return cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1)


def attention(heads: int) -> Callable[[Tensor], Tensor]:
    """Return spiking self-attention, see docs/tokens.md."""

    def attend(x: Tensor) -> Tensor:
        *leading, width = x.shape
        parts = x.reshape(*leading[:2], -1, 3, heads, width // (3 * heads))
        q, k, v = parts.transpose(3, 0, 1, 4, 2, 5)  # (T, N, heads, tokens, features)
        y = stages.ATTENTION_SCALE * (q @ k.swapaxes(-1, -2) @ v)
        return y.swapaxes(2, 3).reshape(*leading, width // 3)

    return attend


def normalized(layer: Any, x: Tensor) -> Tensor:
    """Return what a layer for normalization returns in training, by functions of arrays."""
    axes = tuple(range(x.ndim - 1))
    centered = x - x.mean(axes, keepdims=True)
    deviation = ((centered * centered).mean(axes, keepdims=True) + layer.eps) ** 0.5
    return layer.gain * centered / deviation + layer.offset


def check(network: Network, tolerance: float) -> dict:
    """Return the difference of the gradients and those of the plain matrix path, relative to their norms.

    In float32 a potential within rounding of the threshold may fire on one path and not on the other; where that
    happens the two are compared in float64, in which it does not.
    """
    found: dict[str, Any] = {}
    for dtype in (np.float32, np.float64):
        plain = network.gradients(lambda dtype=dtype: network.by_matrices(dtype), dtype)
        x = network.x if network.x.dtype == bool else network.x.astype(dtype)
        ours = network.gradients(lambda x=x: network.net(x), dtype)
        apart = [float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0)) for a, b in zip(ours, plain, strict=True)]
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
