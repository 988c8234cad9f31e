"""Run batches through a network and measure rates, potentials, errors and the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cuslayer.backend import Array, namespace
from cuslayer.inspection.forward import default_loss, run_nodes
from cuslayer.inspection.health.layer import LayerHealth, LayerTally
from cuslayer.inspection.structure import eval_mode, layer_name, units
from cuslayer.loss.base import desired_rate
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Node, output_neurons
from cuslayer.neurons.base import as_neuron
from cuslayer.tape import Tensor, as_tensor, gradients, no_grad

# The network has learned something if the loss is by this share smaller than with the outputs of other samples.
_LEARNED = 0.3
# How bad a fault is: a slow layer is better than a saturated one, a silent layer is worst.
_BADNESS = {"": 0, "slow": 1, "fast": 1, "saturated": 2, "silent": 3}
# The largest accepted rise of the loss, as a share of it: of a network that has learned something, and of others.
_RISE_LEARNED, _RISE = 0.02, 0.5


@dataclass(frozen=True)
class Measured:
    """What batches show of a network.

    Attributes:
        layers: the health of each layer, in order.
        loss: the mean loss per sample.
        mixed: the mean loss per sample if each sample had the output of another one.
    """

    layers: tuple[LayerHealth, ...]
    loss: float
    mixed: float

    @property
    def learned(self) -> bool:
        """Whether the output of a sample fits its target better than that of others: the network has learned."""
        return self.mixed - self.loss > _LEARNED * abs(self.mixed)

    @property
    def faults(self) -> int:
        """The number of layers that are silent or saturated, or whose rate is out of range."""
        return sum(bool(layer.fault) for layer in self.layers)

    @property
    def badness(self) -> int:
        """The faults of all layers, added up with their weights."""
        return sum(_BADNESS[layer.fault] for layer in self.layers)

    @property
    def vanished(self) -> bool:
        """Whether no error reaches the first layer."""
        return not self.layers[0].error

    def accepts(self, loss: float) -> bool:
        """Return whether a loss after a change is not much higher than the one before."""
        if self.learned:
            return loss - self.loss <= _RISE_LEARNED * abs(self.loss)
        return loss - self.loss <= _RISE * max(abs(self.loss), abs(self.mixed))


def measure(net: Any, batches: Sequence[tuple[Any, Any]], loss: Any) -> Measured:
    """Run batches (x, target) forward and backward; the network and its gradients do not change."""
    graph = graph_of(net)
    outputs = output_neurons(graph)
    tallies = {
        u.neurons.number: LayerTally(
            u.address, layer_name(u), as_neuron("health", u.last.stage), output=u.neurons.number in outputs
        )
        for u in units(net)
        if u.neurons is not None
    }
    value, mixed, samples = 0.0, 0.0, 0
    for x, target in batches:
        given = as_tensor(x)
        with eval_mode(net):
            with no_grad(active=False):
                # An input that requires a gradient makes every layer receive one.
                y = _run_and_count(net, Tensor(given.data, requires_grad=True), tallies)
                error = loss or default_loss(net, y, target)
                found = error(y, target)
            with no_grad():
                mixed += max(error(Tensor(other), target).item() for other in _others(y.data))
            gradients(found)
        desired = None if y.ndim < 3 else desired_rate(error, target, y.shape[-1], len(y))
        for number in outputs:
            tallies[number].desired = desired
        value += found.item()
        samples += given.shape[1]
    layers = tuple(tally.health() for tally in tallies.values())
    return Measured(layers, value / max(samples, 1), mixed / max(samples, 1))


def _run_and_count(net: Any, x: Tensor, tallies: dict[int, LayerTally]) -> Tensor:
    """Run a network stage by stage, and add spikes, potentials and errors of its neurons to the tallies."""
    graph, inputs = graph_of(net), dict[int, Tensor]()

    def run(node: Node, *given: Tensor) -> Tensor:
        if node.number in tallies:
            given = (tallies[node.number].observe_input(given[0]),)
            inputs[node.number] = given[0]
        return node(*given)

    def after(node: Node, y: Tensor, u: Array | None) -> Tensor:
        if node.number in tallies:
            tallies[node.number].count(inputs.pop(node.number), y, u)
        return y

    return run_nodes(graph.nodes, graph.output, x, after, run=run)


def _others(y: Array) -> Iterator[Array]:
    """Yield outputs (T, N, ...) with those of other samples: of the next one, and of the one half a batch away."""
    samples = y.shape[1]
    for shift in {min(1, samples), samples // 2}:
        yield namespace(y).concatenate([y[:, shift:], y[:, :shift]], axis=1)
