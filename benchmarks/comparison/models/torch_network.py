"""What the libraries on torch share: layers, the loss, Adam, and the timing of a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from comparison.models import stages
from torch import nn

Note = Callable[[int, torch.Tensor], None]

# Seconds of the steps that are timed together on a GPU, and how often they are.
_SECONDS, _REPEATS = 0.1, 5


class TorchNetwork:
    """A network that is trained towards given firing rates; its work may name a device of torch's.

    A library's subclass has `neuron(threshold)`, the neurons of a layer, and perhaps `recurrent_neuron(threshold,
    shape, kind, size)`; and `fire(k, x)`, the spikes of a layer's neurons at all steps for the spikes that it receives.
    """

    # Of what `layout` returns, and of the output.
    time_axis, batch_axis = 0, 1

    def __init__(self, work: dict, form: str, spikes: np.ndarray, labels: np.ndarray) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(work["threads"])
        self.device = torch.device(work.get("device", "cpu"))
        self.layers, self.form = work["layers"], form
        self.tau, self.threshold = work.get("tau", stages.TAU), work.get("threshold", stages.THRESHOLD)
        befores = [before for before, _ in stages.shapes(self.layers, spikes.shape[2:])]
        self.synapses = nn.ModuleList(
            [self.synapse(before, *layer) for layer, before in zip(self.layers, befores, strict=True)]
        ).to(self.device)
        self.thresholds = [self.threshold_of(*layer) for layer in self.layers]
        self.neurons = nn.ModuleList(
            [
                self.recurrent_neuron(each, before, *layer).to(self.device)
                if layer[0] in ("recurrent", "adaptive")
                else self.fixed_neuron(each)
                for layer, before, each in zip(self.layers, befores, self.thresholds, strict=True)
            ]
        )
        if work.get("initial") != "default":
            self.shift()
        x = torch.from_numpy(spikes).to(self.device)
        images, tokens = (kind in [word[0] for word in self.layers] for kind in ("conv", "tokens"))
        self.x = self.layout(x.movedim(-1, 2) if images else x if tokens else x.flatten(2))
        self.labels = torch.from_numpy(labels).to(self.device)
        self.wanted = torch.from_numpy(stages.wanted(labels, self.layers[-1][1])).to(self.device)
        weights = [p for part in (self.synapses, self.neurons) for p in part.parameters() if p.requires_grad]
        captured = self.device.type == "cuda"
        self.optimizer = torch.optim.Adam(weights, lr=stages.LEARNING_RATE, fused=True, capturable=captured)

    def synapse(self, shape: stages.Shape, kind: str, size: int, *rest: Any) -> nn.Module:
        """Return a layer without its neurons for an input of a shape (H, W, C) or (C,)."""
        if kind == "conv":
            window, padding, *norm = rest
            conv = nn.Conv2d(shape[-1], size, window, padding=padding, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(size)) if norm else conv
        if kind in ("pool", "average"):
            return nn.AvgPool2d(size)
        if kind == "tokens":
            return nn.Sequential(nn.Linear(shape[-1], size, bias=False), nn.BatchNorm1d(size))
        if kind == "attention":
            return Attention(size)
        return nn.Identity() if kind == "add" else nn.Linear(math.prod(shape), size, bias=False)

    def threshold_of(self, kind: str, size: int, *rest: Any) -> float:
        """Return the threshold of a layer's neurons: torch pools by the mean, which is the sum at a lower threshold."""
        return self.threshold / (stages.POOL_GAIN * size * size) if kind == "pool" else self.threshold

    def shift(self) -> None:
        """Let neurons fire at any rate."""
        with torch.no_grad():
            for k, (kind, *_) in enumerate(self.layers):
                if kind not in ("pool", "average", "add"):
                    w = self.weight(k)
                    w.add_(stages.shift(w.std().item(), w[0].numel()))

    def fixed_neuron(self, threshold: float) -> nn.Module:
        """Return the neurons of a layer on the device, without parameters that are trained."""
        return self.neuron(threshold).to(self.device).requires_grad_(False)

    def weight(self, k: int) -> torch.Tensor:
        """Return the weight of a convolution or a dense layer, outputs first."""
        return self.synapses[k].weight

    def layout(self, x: torch.Tensor) -> torch.Tensor:
        """Return spikes (T, N, C, H, W) or (T, N, C) in the layout of the library."""
        return x.float().contiguous()

    def input(self, samples: int | None) -> torch.Tensor:
        """Return the spikes of the first samples of the batch, or of all."""
        return self.x if samples is None else self.x.narrow(self.batch_axis, 0, samples)

    def forward(self, x: torch.Tensor, note: Note | None = None) -> torch.Tensor:
        """Return the output's spikes; call `note` with each layer's, at all time steps or, in some forms, at one."""

        def noted(k: int, spikes: torch.Tensor) -> torch.Tensor:
            if note:
                note(k, spikes)
            return spikes

        return stages.run(self.layers, self.fire, x, noted)

    def rates(self) -> list[float]:
        """Return the share of steps in which each layer's neurons fire."""
        found: list[list[float]] = [[] for _ in self.layers]
        with torch.no_grad():
            self.forward(self.x, lambda k, s: found[k].append((s != 0).float().mean().item()))
        return [float(np.mean(parts)) for parts in found if parts]

    def calibrate(self, rates: list[float], samples: int | None) -> None:
        """Scale the weights, and the thresholds behind pooling, until the neurons fire at given rates."""
        with torch.no_grad():
            stages.calibrate(self, rates, samples, lambda s: (s != 0).float().mean().item())

    def scale(self, k: int, factor: float) -> None:
        """Multiply the weights of a layer, or divide the threshold behind pooling, which has none."""
        if self.layers[k][0] == "pool":
            self.thresholds[k] /= factor
            self.neurons[k] = self.fixed_neuron(self.thresholds[k])
        else:
            self.weight(k).mul_(factor)

    def step(self) -> dict[str, float]:
        """Take a training step and return the seconds of its parts."""
        start = time.perf_counter()
        loss = self.loss(self.forward(self.x).mean(self.time_axis))
        forward = time.perf_counter()
        self.optimizer.zero_grad()
        loss.backward()
        backward = time.perf_counter()
        self.optimizer.step()
        end = time.perf_counter()
        return {"forward": forward - start, "backward": backward - forward, "optimizer": end - backward}

    train = step

    def loss(self, mean: torch.Tensor) -> torch.Tensor:
        """Return the loss of the output's mean over time."""
        if self.layers[-1][0] == "readout":
            return nn.functional.cross_entropy(mean, self.labels)
        return ((mean - self.wanted) ** 2).sum()

    def measure(self) -> dict[str, Any]:
        """Return the median seconds of a training step on a GPU, and of a CUDA graph of it, or why there is none."""
        found: dict[str, Any] = {"seconds": self._seconds(self.train), "graph_seconds": None}
        try:
            found["graph_seconds"] = self._seconds(self._graph())
        except Exception as problem:  # of the library or of CUDA: the step as it is was measured
            found["graph_problem"] = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
        return found

    def _graph(self) -> Callable[[], None]:
        """Return the launch of a CUDA graph of a training step, captured as torch's documentation shows."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.train()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad()
        with torch.cuda.graph(graph):
            self.train()
        launch: Callable[[], None] = graph.replay
        return launch

    def _seconds(self, work: Callable[[], Any]) -> float:
        """Return the median seconds of some work after a first call."""
        self._elapsed(work, 2)
        times = max(1, min(1000, round(_SECONDS / max(self._elapsed(work, 1), 1e-6))))
        return median(self._elapsed(work, times) for _ in range(_REPEATS))

    def _elapsed(self, work: Callable[[], Any], times: int) -> float:
        """Return the seconds of one of several calls, between two events."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(times):
            work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / times


class SteppedNetwork(TorchNetwork):
    """Time first, and neurons that are called step by step, in one of two forms.

    "plain": the whole network at one step, then at the next.
    Any other: a layer's product for all steps at once, then its neurons step by step, then the next layer. With "once"
    the product of the first layer is that of one step: the input does not change.

    A library's subclass has `cell(k, current, state)`, which returns the spikes of a layer's neurons at a step, and
    their state, which is None before the first.
    """

    def start(self) -> None:
        """Reset all states."""

    def run(self, k: int, current: torch.Tensor) -> torch.Tensor:
        """Return the spikes of a layer's neurons at all steps."""
        spikes, state = [], None
        for moment in current.unbind(0):
            s, state = self.cell(k, moment, state)
            spikes.append(s)
        return torch.stack(spikes)

    def fire(self, k: int, x: torch.Tensor) -> torch.Tensor:
        self.start()
        once = k == 0 and self.form == "once"
        current = product_of_all(self.synapses[k], x[:1] if once else x, 4 if self.layers[k][0] == "tokens" else 2)
        if once:
            current = current.expand(len(x), *current.shape[1:])
        return current if self.layers[k][0] in stages.WITHOUT_NEURONS else self.run(k, current)

    def forward(self, x: torch.Tensor, note: Note | None = None) -> torch.Tensor:
        return self.plain(x, note) if self.form == "plain" else super().forward(x, note)

    def plain(self, x: torch.Tensor, note: Note | None) -> torch.Tensor:
        self.start()
        states: list[Any] = [None] * len(self.layers)
        output = []
        for s in x.unbind(0):
            for k, synapse in enumerate(self.synapses):
                s = synapse(s.flatten(1) if is_dense(synapse) else s)
                if self.layers[k][0] in stages.WITHOUT_NEURONS:
                    continue
                s, states[k] = self.cell(k, s, states[k])
                if note:
                    note(k, s)
            output.append(s)
        return torch.stack(output)


class Attention(nn.Module):
    """Spiking self-attention without its neurons: `stages`' "attention"."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.flatten(1, -2).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # (T N, heads, tokens, features)
        y = stages.ATTENTION_SCALE * (q @ k.mT @ v)
        return y.transpose(1, 2).reshape(*x.shape[:-1], -1)


def is_dense(synapse: nn.Module) -> bool:
    return isinstance(synapse, nn.Linear)


def product_of_all(synapse: nn.Module, x: torch.Tensor, axes: int = 2) -> torch.Tensor:
    """Return the output of a layer for all time steps and samples, the first axes of x, at once."""
    return synapse(x.flatten(2)) if is_dense(synapse) else synapse(x.flatten(0, axes - 1)).unflatten(0, x.shape[:axes])
