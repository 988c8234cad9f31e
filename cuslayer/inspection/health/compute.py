"""Diagnose a network and suggest settings to change."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from cuslayer import check
from cuslayer.data.batches import pairs, preserved_epoch
from cuslayer.inspection.forward import check_loss
from cuslayer.inspection.health.advice import Advice
from cuslayer.inspection.health.first_step import Steps, first_step, rate_advice
from cuslayer.inspection.health.hints import hints
from cuslayer.inspection.health.measure import measure
from cuslayer.inspection.health.rates import scale_advice
from cuslayer.inspection.health.result import NetworkHealth
from cuslayer.inspection.health.surrogate import surrogate_advice
from cuslayer.inspection.structure import check_network, check_neurons, note_rates
from cuslayer.network.input import finite_input
from cuslayer.optim import Optimizer
from cuslayer.tape import as_tensor


def health(
    net: Any, loader: Iterable[Any], *, loss: Any = None, optimizer: Optimizer | None = None, batches: int = 1
) -> NetworkHealth:
    """Diagnose a network and suggest settings to change.

    The diagnosis has, for each layer, the firing rates, the shares of silent and saturated neurons, the distances of
    potentials from the threshold, and the size of the errors; with an optimizer also what its first step does. The
    first of these that finds something gives the advice:

    1. Scales: ``weight_scale``, ``gain`` of a pooling layer, or ``scale``, before neurons whose rate is out of range or
       that are saturated. Hidden neurons are to fire at 5 to 200 Hz on average. The output is to fire at a fifth to
       five times of the rate that the loss desires, counted as at least 5 Hz; if the loss has no `desired_rate`, it
       must not be silent. Neurons are saturated if the median distance of potentials from the threshold is over 5
       theta, if the largest potentials from input alone have a median of over 20 theta, or, without a desired rate, if
       more than a third is locked in refraction. The new scales are found as `calibrate` does, for hidden
       neurons at 50 Hz and an output at what the loss desires; less where neurons are saturated at that rate.
    2. ``tau_rho``, if it is under 0.5 and the potentials of a layer have a median distance of over three surrogate
       widths from theta: ``rho(u) = scale_rho / w exp(-|u - theta| / w)`` is largest for a width w of ``|u - theta|``.
    3. ``scale_rho``, if the error of the first layer is less than 1/100 or more than 1000 times that of the last. Each
       of the L layers of neurons multiplies the error by it, so a factor of ``(last / first)^(1 / (L - 1))`` makes the
       two equal.
    4. ``lr``, if an optimizer is given. It is too large if a step without warm-up changes the potentials of a layer by
       more than 1.25 theta (root mean square; 3 with a warm-up), or by more than 0.3 theta while the loss of the batch
       rises by half or the output falls silent; too small if no potentials change by more than 0.03 theta. With the
       new value they change by 0.4 theta at most (0.8 with a warm-up).

    Advice is tried on a copy first and given only if it helps: faults are fewer or less bad, errors do not vanish, and
    the loss does not rise by more than half. If the network has learned something (the loss is 30 % smaller than with
    the outputs of other samples), the loss must not rise by more than 2 %, and only 1 and a rate that is too large
    give advice.

    Where the input is 0 everywhere there is no advice, and the hints of the result say so. They also name layers that
    never fire or get no error, where no setting helps.

    `Advice.apply` makes a change. Apply all of it, and call `health` again until there is nothing to change. Neither
    the network nor the optimizer, their gradients and the random generator change here. Dropout is off.

    Args:
        net: a `Network` or `Sequential`.
        loader: batches (x, target), such as a `Loader`.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassignment`.
        optimizer: the optimizer of the network's parameters; without one the learning rate is not judged.
        batches: number of batches to use, from the first. Scales and steps are computed from the first one.

    Returns:
        The diagnosis: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is not a network or has no neurons, loss is not a function, optimizer is not an optimizer,
            batches is not an integer, or advice is due and the network cannot be copied.
        ValueError: the loader has no batch, one does not fit the network or the loss, or the optimizer has none of the
            network's parameters.

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
    _check_optimizer(op, net, optimizer)
    count = check.integer(op, "batches", batches, least=1)
    check_neurons(op, net)
    with preserved_epoch(loader):
        given = list(pairs(op, islice(loader, count), loader))
    for x, _ in given:
        check.time_first(op, "x", finite_input("network", "x", x))
    given = [(x, target) for x, target in given if as_tensor(x).shape[1]]
    if not given:
        raise ValueError(f"{op}: loader must have a batch with a sample, got none")
    found = measure(net, given, loss)
    note_rates(net, {layer.layer: layer.rate for layer in found.layers})
    steps = None if optimizer is None else Steps(net, optimizer, *given[0], loss)
    silent, advice = not any(as_tensor(x).data.any() for x, _ in given), list[Advice]()
    if not silent:
        advice = scale_advice(net, given, loss, found) or surrogate_advice(net, given, loss, found)
        if steps is not None and not advice:
            advice = rate_advice(steps, found)
    step = None if steps is None else first_step(steps)
    advised = {each.layer for each in advice if each.layer is not None and each.setting != "lr"}
    return NetworkHealth(found.layers, tuple(advice), found.loss, step, hints(found, advised, silent))


def _check_optimizer(op: str, net: Any, optimizer: Any) -> None:
    """Raise TypeError unless optimizer is one or None, and ValueError unless it has parameters of the network."""
    if optimizer is None:
        return
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{op}: optimizer must be an optimizer, such as Adam, got {type(optimizer).__name__}")
    of_net = {id(p) for p in net.parameters()}
    if not any(id(p) in of_net for p in optimizer.parameters):
        raise ValueError(f"{op}: optimizer must have parameters of net, got none of them")
