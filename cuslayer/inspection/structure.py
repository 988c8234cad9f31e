"""The structure of a network: layers with their neurons, their names and output shapes, and noted firing rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from cuslayer.layers import Layer
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import Neuron, OnePass, as_neuron, is_neuron
from cuslayer.tape import Tensor


class Unit(NamedTuple):
    """A layer and the neurons after it, or one of the two alone.

    Attributes:
        layer: the position of the layer, or of a function; None if there is none.
        neurons: the position of the neurons; None if there are none.
    """

    layer: int | None
    neurons: int | None

    @property
    def last(self) -> int:
        """The position of its last stage."""
        return self.layer if self.neurons is None else self.neurons  # type: ignore[return-value]


def units(net: Any) -> list[Unit]:
    """Return the units of a network in order."""
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


def check_network(op: str, net: Any) -> None:
    """Raise TypeError unless net is a network."""
    if not isinstance(net, Sequential):
        raise TypeError(f"{op}: net must be a Network or Sequential, got {type(net).__name__}")


def find_unit(op: str, net: Any, layer: Any) -> Unit:
    """Return the unit of a layer, given as a position, negative ones from the end, or as the object itself.

    Raises:
        IndexError: the position is out of range.
        ValueError: the layer is not in the network, or is at several positions.
    """
    if isinstance(layer, int) and not isinstance(layer, bool):
        size = len(net.layers)
        if not -size <= layer < size:
            raise IndexError(f"{op}: layer must be under {size}, got {layer}")
        at = [layer % size]
    else:
        at = [position for position, stage in enumerate(net.layers) if stage is layer]
        if not at:
            raise ValueError(f"{op}: layer {layer!r} is none of the network's")
        if len(at) > 1:
            positions = ", ".join(map(str, at))
            raise ValueError(f"{op}: layer {type(layer).__name__} stands at {positions}: name a position")
    return next(u for u in units(net) if at[0] in u)


def layer_name(net: Any, unit: Unit) -> str:
    """Return the name of a unit in messages and tables: ``layer 1 (Dense(4, 3), SRM)``."""
    layer = "" if unit.layer is None else repr(net.layers[unit.layer])
    neurons = "" if unit.neurons is None else type(net.layers[unit.neurons]).__name__
    return f"layer {unit.last} ({', '.join(filter(None, (layer, neurons)))})"


def neurons_of(net: Any, unit: Unit) -> Neuron | None:
    """Return the neurons of a unit as a `Neuron`; None if it has none."""
    return None if unit.neurons is None else as_neuron("network", net.layers[unit.neurons])


def one_pass_of(op: str, net: Any, unit: Unit) -> tuple[Neuron, OnePass]:
    """Return the SRM neurons of a unit and their `OnePass`; raise TypeError if it has none."""
    neurons = neurons_of(net, unit)
    if neurons is None or neurons.one_pass is None:
        raise TypeError(f"{op}: {layer_name(net, unit)} has no SRM neurons")
    return neurons, neurons.one_pass


def dt_at(net: Any, position: int) -> float:
    """Return the time step in ms at a position: of the next neurons, or of the nearest before; 1 without neurons."""
    around = (*net.layers[position:], *reversed(net.layers[:position]))
    return float(next((stage.dt for stage in around if is_neuron(stage)), 1.0))


@contextmanager
def eval_mode(net: Any) -> Iterator[None]:
    """Put layers into evaluation mode and let no parameter require a gradient, within the block."""
    layers = [layer for layer in net.layers if isinstance(layer, Layer)]
    training = [layer.training for layer in layers]
    required: list[tuple[Tensor, bool]] = [(p, p.requires_grad) for p in net.parameters()]
    try:
        for layer in layers:
            layer.training = False
        for p, _ in required:
            p.requires_grad = False
        yield
    finally:
        for layer, was in zip(layers, training, strict=True):
            layer.training = was
        for p, requires in required:
            p.requires_grad = requires


Shape: TypeAlias = "tuple[int, ...]"


def output_shapes(net: Any) -> list[Shape | None]:
    """Return the output shape (without T and N) of each stage; None where it is unknown.

    A `Network` knows its input shape. In any other network, shapes are known from the first layer on whose output shape
    does not depend on its input, such as a dense layer.

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
    except ValueError:  # shapes that do not match: an error of the call, not of this table
        return stage.output_shape(None)


_rates: WeakKeyDictionary[Any, dict[int, float]] = WeakKeyDictionary()


def note_rates(net: Any, rates: Mapping[int, float]) -> None:
    """Note the mean firing rates of layers in Hz, by position; they replace the rates noted before.

    >>> from cuslayer.network import Sequential
    >>> net = Sequential()
    >>> note_rates(net, {1: 12.5}); rates_of(net)
    {1: 12.5}
    """
    _rates[net] = dict(rates)


def rates_of(net: Any) -> dict[int, float]:
    """Return the noted firing rates in Hz by position; empty if none are noted."""
    return dict(_rates.get(net, {}))
