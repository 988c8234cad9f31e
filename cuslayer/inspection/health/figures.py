"""The figures of `health`: run batches through a network and measure rates, potentials, errors and the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.inspection.health.result import EDGES, LayerHealth
from cuslayer.inspection.structure import default_loss
from cuslayer.loss.base import desired_rate
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Address, output_neurons
from cuslayer.network.hooks import on_gradient
from cuslayer.network.walk import Walk, eval_mode, units
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.tape import Tensor, as_tensor, gradients, no_grad

Batches: TypeAlias = "Sequence[tuple[Any, Any]]"

# Number of potentials used per layer and batch, evenly spread.
_MOST = 2**20
# A neuron "always fires" if it does in this share of the steps in which it can.
_ALWAYS = 0.9
# The network has learned something if the loss is by this share smaller than with the outputs of other samples.
_LEARNED = 0.3
# How bad a fault is: a slow layer is better than a saturated one, a silent layer is worst.
_BADNESS = {"": 0, "slow": 1, "fast": 1, "saturated": 2, "silent": 3}
# The largest accepted rise of the loss, as a share of it: of a network that has learned something, and of others.
_RISE_LEARNED, _RISE = 0.02, 0.5


class Measured(NamedTuple):
    """What batches show of a network; `mixed` is the loss per sample if each sample had the output of another one."""

    layers: tuple[LayerHealth, ...]
    loss: float
    mixed: float
    fires: bool

    @property
    def learned(self) -> bool:
        """Whether the output of a sample fits its target better than that of others: the network has learned."""
        return self.mixed - self.loss > _LEARNED * abs(self.mixed)

    @property
    def badness(self) -> int:
        return sum(_BADNESS[layer.fault] for layer in self.layers)

    @property
    def vanished(self) -> bool:
        """Whether no error reaches the first layer."""
        return not self.layers[0].error

    @property
    def share(self) -> float | None:
        """The error of the first layer as a share of that of the last; None if one of them is 0."""
        first, last = self.layers[0].error, self.layers[-1].error
        return first / last if first and last else None

    def accepts(self, loss: float) -> bool:
        """Return whether a loss after a change is not much higher than the one before."""
        if self.learned:
            return loss - self.loss <= _RISE_LEARNED * abs(self.loss)
        return loss - self.loss <= _RISE * max(abs(self.loss), abs(self.mixed))


class Tally:
    """Counts of a layer's spikes, potentials and errors over batches."""

    def __init__(self, layer: Address, name: str, neurons: Neuron, output: bool, desired: float | None = None) -> None:
        self.layer, self.name, self.neurons, self.output, self.desired = layer, name, neurons, output, desired
        self.steps, self.square, self.driven = 0, 0.0, False
        self.counts: Any = 0
        self.over: Any = 0
        self.peaks, self.distances = [np.zeros(0)], [np.zeros(0)]

    def count(self, x: Tensor, spikes: Tensor, u: Array | None) -> None:
        """Add a batch: the weighted input x, the spikes, and the potentials u if they are known."""
        if u is not None:
            self.distances.append((_sampled(u) - self.neurons.theta) / float(self.neurons.width))
        self.driven = self.driven or bool(x.data.any())
        s, peak = to_numpy(spikes.data), self.neurons.peak
        with no_grad():
            alone = to_numpy(self.neurons.psp(x.detach()).data)
        self.peaks.append(alone.max(axis=0, initial=0.0).ravel() * peak)
        self.over = self.over + (alone >= self.neurons.theta / peak).sum(axis=(0, 1))
        self.counts = self.counts + s.sum(axis=(0, 1))
        self.steps += s.shape[0] * s.shape[1]

    def count_error(self, g: Array) -> None:
        flat = to_numpy(g).astype(np.float64).ravel()
        self.square += float(flat @ flat)

    def health(self) -> LayerHealth:
        neurons, steps, width = self.neurons, max(self.steps, 1), float(self.neurons.width)
        distances, peaks = np.concatenate(self.distances), np.concatenate(self.peaks)
        histogram, _ = np.histogram(distances.clip(EDGES[0], EDGES[-1]), EDGES)
        return LayerHealth(
            layer=self.layer,
            name=self.name,
            theta=float(neurons.theta),
            width=width,
            rates=self.counts * (1000.0 / (steps * neurons.dt)),
            never=share_of(np.mean, self.counts == 0),
            always=share_of(np.mean, self.counts >= _ALWAYS * (steps / neurons.period)),
            locked=share_of(np.mean, self.over >= 0.5 * steps),
            within=share_of(np.mean, abs(distances) <= 1.0),
            histogram=histogram / max(distances.size, 1),
            distance=share_of(np.median, abs(distances)) * width,
            peak=share_of(np.median, peaks[peaks > 0]),
            error=math.sqrt(self.square),
            most=neurons.highest_rate,
            output=self.output,
            desired=self.desired,
            driven=self.driven,
        )


def _sampled(u: Array) -> Array:
    """Return a copy of every n-th potential, with n coprime to the row length so that all neurons are sampled."""
    stride, row = max(1, math.ceil(u.size / _MOST)), max(math.prod(u.shape[1:]), 1)
    while math.gcd(stride, row) > 1:
        stride += 1
    return to_numpy(u.reshape(-1)[::stride]).astype(np.float64)


def share_of(figure: Any, values: Array) -> float:
    """Return a figure of values, such as their mean; 0 without any."""
    return float(figure(values)) if values.size else 0.0


def measure(net: Any, batches: Batches, loss: Any) -> Measured:
    """Run batches (x, target) forward and backward; the network and its gradients do not change."""
    graph = graph_of(net)
    outputs = output_neurons(graph)
    tallies = {
        u.neurons.number: Tally(u.address, u.name, as_neuron(u.last.stage), u.neurons.number in outputs)
        for u in units(net)
        if u.neurons is not None
    }
    value, mixed, samples, fires = 0.0, 0.0, 0, False
    for x, target in batches:
        data = as_tensor(x).data
        with eval_mode(net):
            with no_grad(active=False):
                # An input that requires a gradient makes every layer receive one.
                steps = Walk(graph, Tensor(data, requires_grad=True))
                for at in steps:
                    if at.number in tallies:
                        tally = tallies[at.number]
                        at.inputs = (on_gradient(at.inputs[0], callback=tally.count_error),)
                        tally.count(at.inputs[0], at.output, at.potentials)
                y = steps.output
                error = loss or default_loss(net, y, target)
                found = error(y, target)
            with no_grad():
                mixed += max(error(Tensor(other), target).item() for other in _others(y.data))
            gradients(found)
        for number in outputs:
            tallies[number].desired = None if y.ndim < 3 else desired_rate(error, target, y.shape[-1], len(y))
        value += found.item()
        samples += data.shape[1]
        fires = fires or bool(to_numpy(y.stored.any()))
    layers = tuple(tally.health() for tally in tallies.values())
    return Measured(layers, value / max(samples, 1), mixed / max(samples, 1), fires)


def _others(y: Array) -> Iterator[Array]:
    """Yield outputs (T, N, ...) with those of other samples: of the next one, and of the one half a batch away."""
    samples = y.shape[1]
    for shift in {min(1, samples), samples // 2}:
        yield namespace(y).concatenate([y[:, shift:], y[:, :shift]], axis=1)
