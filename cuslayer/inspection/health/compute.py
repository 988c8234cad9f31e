"""The health of a network: who fires, how far potentials are from the threshold, what errors reach each layer."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.forward import check_loss, default_loss, run_stages
from cuslayer.inspection.health.advice import advise
from cuslayer.inspection.health.layer import LayerTally
from cuslayer.inspection.health.result import NetworkHealth
from cuslayer.inspection.structure import eval_mode, layer_name, network, note_rates, units
from cuslayer.neurons.base import as_neuron
from cuslayer.tape import Tensor, as_tensor, no_grad


def health(net: Any, loader: Iterable[Any], *, loss: Any = None, batches: int = 1) -> NetworkHealth:
    """Say how a network does: rates, silent and saturated neurons, potentials, errors; and what to change, and why.

    The advice is on one thing at a time, from the input on:

    1. weight_scale, of the first layer that is silent (four of five neurons never fire) or saturated (a third is locked
       in refraction, or potentials are more than 5 theta from the threshold in the median): such that the potentials
       which its input alone makes, which are proportional to it, peak at 1.5 theta in the median.
    2. tau_rho, of each layer whose potentials are more than three widths of the surrogate from the threshold in the
       median: ``rho(u) = scale_rho / w exp(-|u - theta| / w)`` is largest where the width w is ``|u - theta|``.
    3. scale_rho, where the error that reaches the first layer is under a hundredth of the last's, or over a hundred
       times as large: each of the L layers of neurons multiplies it once more, so that by
       ``(last / first)^(1 / (L - 1))`` the two come to the same.

    Change it, and ask again.

    Nothing of the network changes, no gradient either. Dropout is off.

    Args:
        net: a `Network` or `Sequential`.
        loader: batches (x, target), such as a `Loader`.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassignment`.
        batches: how many are looked at, the first ones.

    Returns:
        What was found: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is no network, has no neurons, loss is no function, or batches no
            integer.
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
    network(op, net)
    check_loss(op, loss)
    count = check.integer(op, "batches", batches, least=1)
    of_neurons = {u.neurons: u for u in units(net) if u.neurons is not None}
    if not of_neurons:
        raise TypeError(f"{op}: net has no neurons")
    tallies = {at: LayerTally(at, layer_name(net, u), as_neuron(op, net.layers[at])) for at, u in of_neurons.items()}
    value, samples = 0.0, 0
    for x, target in islice(loader, count):
        given = as_tensor(x)
        check.time_first(op, "x", given)
        with eval_mode(net):
            with no_grad(active=False):
                # The gradient is to reach every layer: it goes on to the input.
                y = _counted(net, Tensor(given.data, requires_grad=True), tallies)
                found = (loss or default_loss(net, y, target))(y, target)
            found.backward()
        value += found.item()
        samples += given.shape[1]
    if not samples:
        raise ValueError(f"{op}: loader must have a batch with a sample, got none")
    layers = tuple(tally.health() for tally in tallies.values())
    note_rates(net, {layer.layer: layer.rate for layer in layers})
    return NetworkHealth(layers, tuple(advise(net, layers)), value / samples)


def _counted(net: Any, x: Tensor, tallies: dict[int, LayerTally]) -> Tensor:
    """Run a network stage by stage, and count what its neurons do."""
    inputs: dict[int, Tensor] = {}

    def run(at: int, y: Tensor) -> Tensor:
        if at in tallies:
            inputs[at] = y = tallies[at].observe_input(y)
        return as_tensor(net.layers[at](y))

    def after(at: int, y: Tensor, u: Array | None) -> Tensor:
        if at in tallies:
            tallies[at].count(inputs.pop(at), y, u)
        return y

    return run_stages(net.layers, x, after, run=run)
