"""The structure of a network: its layers with the neurons behind them, shapes, positions, and the rates last seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from cuslayer import check
from cuslayer.layers import Layer
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import Neuron, OnePass, as_neuron, is_neuron
from cuslayer.tape import Tensor


class Unit(NamedTuple):
    """What is recorded as one: a layer and the neurons behind it, or either where it stands alone.

    Attributes:
        layer: the position of the layer, or of any function that is no neuron; None where there is none.
        neurons: the position of the neurons; None where there are none.
    """

    layer: int | None
    neurons: int | None

    @property
    def last(self) -> int:
        """The position at which its output is there."""
        return self.layer if self.neurons is None else self.neurons  # type: ignore[return-value]


def units(net: Any) -> list[Unit]:
    """Return the units of a network in their order."""
    found: list[Unit] = []
    for at, stage in enumerate(net.layers):
        if is_neuron(stage):
            before = found[-1] if found else None
            if before is not None and before.neurons is None and isinstance(net.layers[at - 1], Layer):
                found[-1] = Unit(before.layer, at)
            else:
                found.append(Unit(None, at))
        else:
            found.append(Unit(at, None))
    return found


def network(op: str, net: Any) -> None:
    """Raise TypeError unless net is a network."""
    if not isinstance(net, Sequential):
        raise TypeError(f"{op}: net must be a Network or Sequential, got {type(net).__name__}")


def unit(op: str, net: Any, layer: Any) -> Unit:
    """Return the unit that a layer belongs to, named by its position, which may count from the end, or by itself.

    Raises:
        ValueError: it is none of the network's, or stands at several positions.
    """
    if isinstance(layer, int) and not isinstance(layer, bool):
        size = len(net.layers)
        if not -size <= layer < size:
            raise ValueError(f"{op}: layer must be under {size}, got {layer}")
        at = [layer % size]
    else:
        at = [position for position, stage in enumerate(net.layers) if stage is layer]
        if not at:
            raise ValueError(f"{op}: layer {layer!r} is none of the network's")
        if len(at) > 1:
            places = ", ".join(map(str, at))
            raise ValueError(f"{op}: layer {type(layer).__name__} stands at {places}: name a position")
    return next(u for u in units(net) if at[0] in u)


def layer_name(net: Any, unit: Unit) -> str:
    """Return a unit as it is named to a person: ``layer 1 (Dense(4, 3), SRM)``."""
    layer = "" if unit.layer is None else repr(net.layers[unit.layer])
    neurons = "" if unit.neurons is None else type(net.layers[unit.neurons]).__name__
    return f"layer {unit.last} ({', '.join(filter(None, (layer, neurons)))})"


def neurons_of(net: Any, unit: Unit) -> Neuron | None:
    """Return the neurons of a unit with their whole contract; None where it has none."""
    return None if unit.neurons is None else as_neuron("network", net.layers[unit.neurons])


def one_pass_of(op: str, net: Any, unit: Unit) -> tuple[Neuron, OnePass]:
    """Return the spike response neurons of a unit, and what they compute; raise TypeError where it has none."""
    neurons = neurons_of(net, unit)
    if neurons is None or neurons.one_pass is None:
        raise TypeError(f"{op}: {layer_name(net, unit)} has no SRM neurons")
    return neurons, neurons.one_pass


def dt_at(net: Any, position: int) -> float:
    """Return the step in ms at a position: that of the next neurons, or the last before, or 1."""
    around = (*net.layers[position:], *reversed(net.layers[:position]))
    return float(next((stage.dt for stage in around if is_neuron(stage)), 1.0))


def neuron_index(op: str, shape: tuple[int, ...], neuron: Any) -> tuple[int, ...]:
    """Return where a neuron stands in a layer of a shape, named by its place or by its number in that order.

    Raises:
        ValueError: it lies outside.
        TypeError: it is not made of integers.
    """
    if isinstance(neuron, (tuple, list)):
        found = tuple(check.integer(op, "neuron", n, least=0) for n in neuron)
        if len(found) == len(shape) and all(n < most for n, most in zip(found, shape, strict=True)):
            return found
    else:
        number = check.integer(op, "neuron", neuron, least=0)
        if number < math.prod(shape):
            return tuple(int(n) for n in np.unravel_index(number, shape)) if len(shape) > 1 else (number,)
    raise ValueError(f"{op}: neuron {neuron} lies outside a layer of shape {shape}")


@contextmanager
def eval_mode(net: Any) -> Iterator[None]:
    """Let the layers of a network behave as out of training, and no parameter want a gradient, within this block."""
    layers = [layer for layer in net.layers if isinstance(layer, Layer)]
    training = [layer.training for layer in layers]
    wanted: list[tuple[Tensor, bool]] = [(p, p.requires_grad) for p in net.parameters()]
    try:
        for layer in layers:
            layer.training = False
        for p, _ in wanted:
            p.requires_grad = False
        yield
    finally:
        for layer, was in zip(layers, training, strict=True):
            layer.training = was
        for p, wants in wanted:
            p.requires_grad = wants


Shape: TypeAlias = "tuple[int, ...]"


def output_shapes(net: Any) -> list[Shape | None]:
    """Return the shape (after T and N) of each stage's output; None from the first stage on that cannot say.

    A network from words knows its input. Another one is known from the first layer on whose output does not depend on
    its input, as a dense layer's does not.

    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> output_shapes(Network("34x34x2-16c5-2a-10", SRM()))
    [(34, 34, 16), (34, 34, 16), (17, 17, 16), (17, 17, 16), (10,), (10,)]
    """
    shape: Shape | None = getattr(net, "input_shape", None)
    found = []
    for stage in net.layers:
        shape = _after(stage, shape)
        found.append(shape)
    return found


def _after(stage: Any, shape: Shape | None) -> Shape | None:
    if is_neuron(stage) or not isinstance(stage, Layer):
        return shape if is_neuron(stage) else None
    try:
        return stage.output_shape(shape)
    except ValueError:  # the layers do not fit one another, which a call will say and a table need not
        return stage.output_shape(None)


_seen: WeakKeyDictionary[Any, dict[int, float]] = WeakKeyDictionary()


def note_rates(net: Any, rates: Mapping[int, float]) -> None:
    """Keep the mean rates of layers by position, in spikes a neuron and second, in place of what was seen before.

    >>> from cuslayer.network import Sequential
    >>> net = Sequential()
    >>> note_rates(net, {1: 12.5}); rates_of(net)
    {1: 12.5}
    """
    _seen[net] = dict(rates)


def rates_of(net: Any) -> dict[int, float]:
    """Return the rates that were last seen, by the position of the layer; nothing where nobody looked."""
    return dict(_seen.get(net, {}))
