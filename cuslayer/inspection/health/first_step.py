"""The first step of an optimizer, simulated on a copy, and advice on the learning rate."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.forward import default_loss
from cuslayer.inspection.health.advice import Advice, rounded
from cuslayer.inspection.health.measure import Measured
from cuslayer.inspection.structure import copied, eval_mode
from cuslayer.network.container import graph_of
from cuslayer.network.graph import INPUT, Address, Node, flow
from cuslayer.neurons.base import as_neuron, is_neuron, mean_rate
from cuslayer.optim import Optimizer
from cuslayer.tape import Tensor, as_tensor, gradients, no_grad

# The accepted root mean square change of the potentials by one step without warm-up, in thresholds: of the layer that
# changes most. The advised rate changes them by _AIM. Both are larger with a warm-up of at least _EARLY steps.
_LEAST, _AIM, _MOST = 0.03, 0.4, 1.25
_AIM_WARM, _MOST_WARM = 0.8, 3.0
# A step that changes the potentials by less is not the reason if the loss rises or the output falls silent.
_MOVES = 0.3
# The number of steps with the same gradient over which the change is averaged: momentum adds up.
_STEPS = 10
# The step of a warm-up whose rate decides whether the loss rises.
_EARLY = 5
# How often an advised rate is halved until the loss does not rise.
_HALVINGS = 6
# A relative rate that the reason of an advice compares with.
_RELATIVE = 0.05


@dataclass(frozen=True)
class FirstStep:
    """What one step of an optimizer does to a batch.

    Attributes:
        moves: for each layer of neurons, by address, the root mean square change of the potentials from input alone by
            the new weights of the layers before it, in thresholds; at the rate of the first step.
        full: the same without warm-up, for the mean of ten steps with one gradient.
        rates: the mean firing rate of each layer after the step, Hz, by address.
        loss: the mean loss per sample of the batch before the step.
        loss_after: the same after the step.
        silent: whether the output falls silent: it has spikes before the step and none after.
    """

    moves: Mapping[Address, float]
    full: Mapping[Address, float]
    rates: Mapping[Address, float]
    loss: float
    loss_after: float
    silent: bool


class Steps:
    """Simulates steps of an optimizer for a batch, always from the present weights and the present state.

    Neither the network nor the optimizer changes, nor do their gradients.
    """

    def __init__(self, net: Any, optimizer: Optimizer, x: Any, target: Any, loss: Any) -> None:
        self.net, self.optimizer, self.x, self.target, self.loss = net, optimizer, as_tensor(x), target, loss
        with copied("health", net, optimizer) as (twin, own):
            twin.train(False)
            with no_grad(active=False):
                y = twin(self.x)
                error = (loss or default_loss(net, y, target))(y, target)
            self.gradients: list[Array | None] = gradients(error, own.parameters)
            self.value = error.item() / max(self.x.shape[1], 1)
            self.fires = bool(to_numpy(y.stored.any()))

    def take(
        self, factor: float = 1.0, *, steps: int = 1, only: Collection[int] | None = None, **options: Any
    ) -> Result:
        """Return what steps with one gradient do.

        Args:
            factor: the factor of the learning rates.
            steps: the number of steps; the change of potentials is divided by it.
            only: the numbers of the parameters that change; None for all.
            options: other options of the optimizer and all its groups, such as ``warmup=0``.
        """
        with copied("health", self.net, self.optimizer) as (twin, optimizer):
            for name, value in options.items():
                setattr(optimizer, name, value)
                for group in optimizer.groups:
                    group.options.pop(name, None)
            _scale_rates(optimizer, factor)
            for _ in range(steps):
                for number, (p, g) in enumerate(zip(optimizer.parameters, self.gradients, strict=True)):
                    p.grad = None if g is None or (only is not None and number not in only) else g.copy()
                optimizer.step()
            moves = {address: move / steps for address, move in _moves(self.net, twin, self.x).items()}
            return Result(moves, *self._run(twin))

    def _run(self, net: Any) -> tuple[float, dict[Address, float], bool]:
        """Return the loss per sample, the rate of each layer, and whether the output has spikes."""
        rates: dict[Address, float] = {}

        def run(node: Node, *inputs: Tensor) -> Tensor:
            y = node(*inputs)
            if is_neuron(node.stage):
                rates[node.address] = mean_rate(y.data, as_neuron("health", node.stage).dt)
            return y

        graph = graph_of(net)
        with eval_mode(net), no_grad():
            y = flow(graph.nodes, graph.output, {INPUT: self.x}, run)
            loss = (self.loss or default_loss(net, y, self.target))(y, self.target).item()
        return loss / max(self.x.shape[1], 1), rates, bool(to_numpy(y.stored.any()))


@dataclass(frozen=True)
class Result:
    """What simulated steps do: changes of potentials by address, the loss, the rates, whether the output has spikes."""

    moves: dict[Address, float]
    loss: float
    rates: dict[Address, float]
    fires: bool

    @property
    def most(self) -> float:
        """The largest change of potentials of a layer."""
        return max(self.moves.values(), default=0.0)


def first_step(steps: Steps) -> FirstStep:
    """Return what the first step does, as the optimizer takes it."""
    one, full = steps.take(), steps.take(steps=_STEPS, warmup=0)
    return FirstStep(one.moves, full.moves, one.rates, steps.value, one.loss, steps.fires and not one.fires)


def rate_advice(steps: Steps, before: Measured) -> list[Advice]:
    """Return other learning rates, of the optimizer and of groups with their own, where they are too large or small.

    A rate is too large if a step without warm-up changes the potentials of a layer by more than 1.25 theta (root mean
    square; 3 with a warm-up), or by more than 0.3 theta while the loss of the batch rises by half or the output falls
    silent. It is too small if none changes by more than 0.03 theta, unless the network has learned something. The
    advised rate changes them by 0.4 theta (0.8 with a warm-up), or less if the loss would rise.
    """
    found: list[Advice] = []
    first = 0
    shared = set[int]()
    for number, group in enumerate(steps.optimizer.groups):
        numbers = set(range(first, first + len(group.params)))
        first += len(group.params)
        if "lr" in group.options:
            found += _rate(steps, before, numbers, number)
        else:
            shared |= numbers
    return _rate(steps, before, shared, None) + found


def _rate(steps: Steps, before: Measured, numbers: set[int], group: int | None) -> list[Advice]:
    """Return another learning rate for the parameters with these numbers, those of a group or of the optimizer."""
    owner = steps.optimizer if group is None else steps.optimizer.groups[group]
    if not owner.lr:
        return []
    now = steps.take(steps=_STEPS, only=numbers, warmup=0)
    if not now.most or not math.isfinite(now.most):
        return []
    high = _problem(steps, before, 1.0, now.most, numbers)
    low = "" if before.learned or now.most >= _LEAST else f"under {_LEAST:g} theta in each layer"
    if not high and not low:
        return []
    aim = _AIM_WARM if _warmup(steps) >= _EARLY else _AIM
    factor = min(aim / now.most, 0.5) if high else aim / now.most
    for _ in range(_HALVINGS):
        move = now.most * factor
        if not _problem(steps, before, factor, move, numbers) and (before.learned or move >= _LEAST):
            relative = steps.take(only=numbers, relative=True, lr=_RELATIVE, warmup=0)
            where = max(now.moves, key=lambda address: now.moves[address])
            reason = (
                f"a step changes the potentials after layer {where} by {now.most:.2g} theta (root mean square), "
                f"{high or low}; with this value by {move:.2g} theta, with relative=True and lr={_RELATIVE:g} by "
                f"{relative.most:.2g} theta"
            )
            name = "optimizer" if group is None else f"group {group} of the optimizer"
            return [Advice(group, name, "lr", owner.lr, rounded(owner.lr * factor), reason)]
        factor /= 2
    return []


def _problem(steps: Steps, before: Measured, factor: float, move: float, numbers: set[int]) -> str:
    """Return why a rate is too large; empty if it is not.

    Args:
        steps: the steps to simulate.
        before: what batches show of the network.
        factor: the factor of the learning rate.
        move: the change of the potentials by a step without warm-up.
        numbers: the numbers of the parameters that change.
    """
    warmup = _warmup(steps)
    limit = _MOST if warmup < _EARLY else _MOST_WARM
    if move > limit:
        return f"more than {limit:g} theta"
    if move < _MOVES:
        return ""
    early = steps.take(factor * min(1.0, _EARLY / max(warmup, 1)), only=numbers, warmup=0)
    if steps.fires and not early.fires:
        return "and the output falls silent"
    if not before.accepts(before.loss + early.loss - steps.value):
        return f"and the loss of a sample rises from {steps.value:.3g} to {early.loss:.3g}"
    return ""


def _warmup(steps: Steps) -> int:
    """Return the longest warm-up of the optimizer, in steps."""
    return max((group.option("warmup") for group in steps.optimizer.groups), default=0)


def _scale_rates(optimizer: Optimizer, factor: float) -> None:
    """Multiply the learning rates of an optimizer and its groups."""

    def scaled(schedule: Any) -> Any:
        return lambda epoch: factor * schedule(epoch)

    optimizer.schedule = scaled(optimizer.schedule)
    for group in optimizer.groups:
        if "lr" in group.options:
            group.options["lr"] = scaled(group.options["lr"])


def _moves(net: Any, changed: Any, x: Tensor) -> dict[Address, float]:
    """Return the root mean square change of the potentials of each layer from input alone, in thresholds.

    The layers before it get the same spikes with the old weights and with the new ones.
    """
    graph, twins, found = graph_of(net), graph_of(changed).nodes, dict[Address, float]()

    def run(node: Node, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if not is_neuron(node.stage):
            return node(*(old for old, _ in pairs)), twins[node.number](*(new for _, new in pairs))
        neuron, (old, new) = as_neuron("health", node.stage), pairs[0]
        change = to_numpy(neuron.psp(Tensor(new.data - old.data)).data).astype(np.float64)
        square = float(np.mean(np.square(change))) if change.size else 0.0
        found[node.address] = math.sqrt(square) * neuron.peak / (abs(neuron.theta) or 1.0)
        spikes = node(old)
        return spikes, spikes

    with eval_mode(net), eval_mode(changed), no_grad():
        flow(graph.nodes, graph.output, {INPUT: (x, x)}, run)
    return found
