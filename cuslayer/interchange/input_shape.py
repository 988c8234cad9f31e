"""The shape of a network's input, which files have."""

from __future__ import annotations

from cuslayer import check
from cuslayer.layers import Dense
from cuslayer.network.container import chain_of
from cuslayer.network.network import Sequential


def input_shape_of(op: str, net: Sequential, given: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the shape of a network's input: as given, that of a `Network`, or that of a dense layer.

    Raises:
        ValueError: the shape is not known, or a size is under 1.
        TypeError: a size is not an integer.
    """
    if given is not None:
        sides = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        return tuple(check.integer(op, "input_shape", side, least=1) for side in sides)
    if hasattr(net, "input_shape"):
        return tuple(net.input_shape)
    for node in chain_of(op, net)[:1]:
        if isinstance(node.stage, Dense):
            return node.stage.in_features
    raise ValueError(f"{op}: input_shape is needed, (H, W, C) or (N,): the network's layers do not tell it")
