"""A network as blocks of the file: a layer, its neurons and their delays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuslayer import check
from cuslayer.interchange.input_shape import input_shape_of
from cuslayer.layers import Average, Conv, ConvTranspose, Delay, Dense, Dropout, Pool, Shift, Unpool
from cuslayer.network.container import chain_of
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron

# The file's word for each kind of layer.
KINDS: dict[type[Any], str] = {
    Average: "average",
    Conv: "conv",
    ConvTranspose: "convT",
    Dense: "dense",
    Pool: "pool",
    Unpool: "unpool",
}


@dataclass
class Block:
    """A layer, with the neurons and delays after it.

    Attributes:
        kind: the file's word for the layer.
        layer: the layer.
        before: the shape of its input, (H, W, C) or (N,).
        after: the shape of its output.
        neuron: its neurons; None after an average.
        shifted: whether their spikes take one step to the next layer.
        delay: the delay of their spikes, or None.
    """

    kind: str
    layer: Any
    before: tuple[int, ...]
    after: tuple[int, ...]
    neuron: Neuron | None = None
    shifted: bool = False
    delay: Delay | None = None


def blocks_of(net: Sequential, input_shape: int | tuple[int, ...] | None) -> tuple[tuple[int, ...], list[Block]]:
    """Return the shape of a network's input, and its blocks. Dropout is left out.

    Raises:
        ValueError: the network has branches, the input's shape is not known, a layer has no place in a block, or shapes
            do not fit.
    """
    shape = begin = input_shape_of("export_hdf5", net, input_shape)
    blocks: list[Block] = []
    for node in chain_of("export_hdf5", net):
        layer, where = node.stage, f"export_hdf5: layer {node}, {check.one_line(node.stage)},"
        last = blocks[-1] if blocks else None
        if type(layer) in KINDS:
            _complete(last)
            if getattr(layer, "bias", None) is not None:
                raise ValueError(f"{where} has a bias, for which the file has no place")
            blocks.append(Block(KINDS[type(layer)], layer, shape, layer.output_shape(shape)))
            shape = blocks[-1].after
        elif _is_named_neuron(layer) and last is not None and last.neuron is None and last.kind != "average":
            last.neuron = as_neuron("export_hdf5", layer)
        elif last is None or last.neuron is None or not isinstance(layer, (Shift, Delay, Dropout)):
            if not isinstance(layer, Dropout):
                raise ValueError(f"{where} has no place in the file")
        elif isinstance(layer, Shift):
            if last.shifted or last.delay is not None or layer.delay != layer.dt:
                raise ValueError(f"{where} must be one shift of one step, behind the neurons")
            last.shifted = True
        elif isinstance(layer, Delay):
            if last.delay is not None or layer.mode != "floor":
                raise ValueError(f"{where} must be one delay in whole steps, behind the neurons")
            last.delay = layer
    _complete(blocks[-1] if blocks else None)
    if not blocks:
        raise ValueError("export_hdf5: the network has no layers")
    return begin, blocks


def _is_named_neuron(stage: Any) -> bool:
    """Return whether a stage is a neuron whose kind has a name in files."""
    return is_neuron(stage) and as_neuron("export_hdf5", stage).names is not None


def _complete(block: Block | None) -> None:
    if block is not None and block.neuron is None and block.kind != "average":
        raise ValueError(f"export_hdf5: {block.layer!r} has no neurons behind it")
