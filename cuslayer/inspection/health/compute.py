"""Diagnose a network and suggest settings to change."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.forward import check_loss, default_loss, run_nodes
from cuslayer.inspection.health.advice import advise
from cuslayer.inspection.health.layer import LayerTally
from cuslayer.inspection.health.result import NetworkHealth
from cuslayer.inspection.structure import check_network, eval_mode, layer_name, note_rates, units
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Node
from cuslayer.neurons.base import as_neuron
from cuslayer.tape import Tensor, as_tensor, no_grad


def health(net: Any, loader: Iterable[Any], *, loss: Any = None, batches: int = 1) -> NetworkHealth:
    """Diagnose a network and suggest settings to change.

    The diagnosis has, for each layer, the firing rates, the shares of silent and saturated neurons, the distances of
    potentials from the threshold, and the size of the errors. The advice goes through the layers in order:

    1. weight_scale, if a layer is silent (more than 80 % of the neurons never fire) or saturated (more than a third is
       locked in refraction, or the median distance of potentials from the threshold is over 5 theta). With the new
       value the potential from input alone has a median peak of 1.5 theta. Later layers get no advice.
    2. Else tau_rho, if the potentials have a median distance of over three surrogate widths from theta:
       ``rho(u) = scale_rho / w exp(-|u - theta| / w)`` is largest for a width w of ``|u - theta|``.
    3. Without other advice scale_rho, if the error of the first layer is less than 1/100 or more than 100 times that
       of the last. Each of the L layers of neurons multiplies the error by it, so a factor of
       ``(last / first)^(1 / (L - 1))`` makes the two equal.

    Change the setting and call `health` again. The network and its gradients do not change. Dropout is off.

    Args:
        net: a `Network` or `Sequential`.
        loader: batches (x, target), such as a `Loader`.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassignment`.
        batches: number of batches to use, from the first.

    Returns:
        The diagnosis: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is not a network or has no neurons, loss is not a function, or batches is not an integer.
        ValueError: the loader has no batch, or one does not fit the network or the loss.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> x = np.random.default_rng(0).random((100, 4, 20)) < 0.1
    >>> net = Sequential(Dense(20, 8, weight_scale=0.1), SRM(), Dense(8, 2), SRM())
    >>> found = health(net, [(x, [0, 1, 0, 1])])
    >>> found[1].never, found.advice[0].setting, found.advice[0].value > 0.5
    (1.0, 'weight_scale', True)
    """
    op = "health"
    check_network(op, net)
    check_loss(op, loss)
    count = check.integer(op, "batches", batches, least=1)
    of_neurons = {u.neurons.number: u for u in units(net) if u.neurons is not None}
    if not of_neurons:
        raise TypeError(f"{op}: net has no neurons")
    tallies = {
        number: LayerTally(u.address, layer_name(u), as_neuron(op, u.last.stage)) for number, u in of_neurons.items()
    }
    value, samples = 0.0, 0
    for x, target in islice(loader, count):
        given = as_tensor(x)
        check.time_first(op, "x", given)
        with eval_mode(net):
            with no_grad(active=False):
                # An input that requires a gradient makes every layer receive one.
                y = _run_and_count(net, Tensor(given.data, requires_grad=True), tallies)
                found = (loss or default_loss(net, y, target))(y, target)
            found.backward()
        value += found.item()
        samples += given.shape[1]
    if not samples:
        raise ValueError(f"{op}: loader must have a batch with a sample, got none")
    layers = tuple(tally.health() for tally in tallies.values())
    note_rates(net, {layer.layer: layer.rate for layer in layers})
    return NetworkHealth(layers, tuple(advise(net, layers)), value / samples)


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
