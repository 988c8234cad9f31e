"""Look at a network or try something on it, and leave it as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cuslayer.backend import preserved_generator
from cuslayer.layers import Affine
from cuslayer.layers.recurrent import RecurrentStates
from cuslayer.network.container import graph_of
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.dynamics import States
from cuslayer.tape import Tensor


@contextmanager
def eval_mode(net: Any) -> Iterator[None]:
    """Look at a network within the block: layers are in evaluation mode, and no tensor of it requires a gradient.

    After the block the network is as before, also the states of stateful neurons, and so is the random generator.
    """
    layers = net.layers_within()
    training = [layer.training for layer in layers]
    own = [child for layer in layers for _, child in layer.children() if isinstance(child, Tensor)]
    required = [(p, p.requires_grad) for p in {id(p): p for p in (*net.parameters(), *own)}.values()]
    held = [(states, copy.deepcopy(vars(states))) for states in _states(net)]
    try:
        for layer in layers:
            layer.training = False
        for p, _ in required:
            p.requires_grad = False
        with preserved_generator():
            yield
    finally:
        for layer, was in zip(layers, training, strict=True):
            layer.training = was
        for p, requires in required:
            p.requires_grad = requires
        for states, before in held:
            vars(states).update(before)


@contextmanager
def copied(op: str, net: Any, *others: Any) -> Iterator[tuple[Any, ...]]:
    """Give a copy of a network, and of an optimizer, that can be changed; the random generator is as before afterwards.

    Raises:
        TypeError: something in them cannot be copied.
    """
    try:
        found = copy.deepcopy((net, *others))
    except MemoryError:
        raise
    except Exception as problem:
        raise TypeError(f"{op}: net must be one that copy.deepcopy copies, which said: {problem}") from None
    with preserved_generator():
        yield found


def ends_in_read_out(net: Any) -> bool:
    """Return whether the output of a network is that of a read-out, numbers and not spikes."""
    graph = graph_of(net)
    return bool(graph.nodes) and isinstance(graph.nodes[graph.output].stage, Affine)


def values_within(held: Any) -> Iterator[Any]:
    """Yield the values of lists, tuples and dictionaries, also of nested ones."""
    for value in held.values() if isinstance(held, dict) else held:
        if isinstance(value, (list, tuple, dict)):
            yield from values_within(value)
        else:
            yield value


def _states(net: Any) -> list[Any]:
    """Return the states that neurons keep between calls, each once; neurons within layers have them, too."""
    stages = [*(node.stage for node in graph_of(net).nodes), *net.layers_within()]
    held = [value for stage in stages for value in values_within(getattr(stage, "__dict__", {}))]
    values = [*held, *(value for neuron in held if is_neuron(neuron) for value in values_within(vars(neuron)))]
    return list({id(each): each for each in values if isinstance(each, (States, RecurrentStates))}.values())
