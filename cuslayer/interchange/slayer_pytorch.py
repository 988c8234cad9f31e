"""Parameters of SLAYER-PyTorch networks: convert them, and load them into layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, to_device
from cuslayer.interchange.axes import channels_first, inward
from cuslayer.layers.base import form_of
from cuslayer.network.graph import GraphNode
from cuslayer.network.network import Sequential, chain_of

_BUFFERS = ("srmKernel", "refKernel")
_SYNAPSES = ("dense", "conv", "conv_transpose")


@check.operation
def load_slayer(
    state: Mapping[str, Any], net: Sequential | None = None, *, names: Iterable[str] | None = None
) -> dict[str, Array]:
    """Convert SLAYER-PyTorch's state dictionary to the axes of this library, and load it into a network.

    Weights (outputs, inputs, kh, kw, 1) become (kh, kw, inputs, outputs), or (inputs, outputs) if kh and kw are 1. A
    network's dense layer gets its inputs in H, W, C order, whether they are flat or frames in SLAYER. Weight
    normalization, ``weight_g`` and ``weight_v``, becomes the weight. Filters (count, 1, 1, 1, taps), the last tap
    first, become (count, taps), the first tap first. Delays (C, H, W) become (H, W, C), or (C,). Spikes have unit area
    in both libraries, so weights need no factor. Weights of pooling must be gains of the network's pooling layers.
    SLAYER's kernels (srmKernel, refKernel) follow from the neuron's constants and are ignored.

    Args:
        state: the arrays by key: ``{key: value.cpu().numpy() for key, value in net.state_dict().items()}``.
        net: the network whose weights, filters and delays are set, each kind in the order of the layers; None for none.
        names: the modules to load, such as ``["conv1", "conv2", "fc1"]``, in the order of the layers; by default all,
            in the state's order.

    Returns:
        The converted arrays by key.

    Raises:
        ValueError: the network has branches, a key is unknown, the numbers of arrays and layers differ, a shape
            differs, or a delay is out of bounds. The network does not change then.
        TypeError: state is not a mapping, or net is not a network.

    >>> state = {"fc1.weight": np.zeros((10, 2, 34, 34, 1), np.float32)}
    >>> load_slayer(state)["fc1.weight"].shape
    (34, 34, 2, 10)
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> found = load_slayer(state, Network("34x34x2-12", SRM()))
    Traceback (most recent call last):
        ...
    ValueError: load_slayer: fc1.weight has shape (10, 2, 34, 34, 1), layer 0 expects (12, 2, 34, 34, 1)
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a mapping of arrays, got {type(state).__name__}")
    if net is not None and not isinstance(net, Sequential):
        raise TypeError(f"net must be a network, got {type(net).__name__}")
    given = _ordered(_plain_weights({key: np.asarray(value) for key, value in state.items()}), names)
    kinds = {key: _kind(key, array) for key, array in given.items()}
    if net is not None:
        nodes = chain_of(net)
        _check_gains([(key, given[key]) for key, kind in kinds.items() if kind == "pool"], nodes)
        setters: list[Callable[[], None]] = []
        for kind, forms in (("weight", _SYNAPSES), ("filter", ("filter",)), ("delay", ("delay",))):
            keys = [key for key in given if kinds[key] == kind]
            layers = [node for node in nodes if form_of(node.stage) in forms and node.stage.parameters()]
            if len(keys) != len(layers):
                found = f"{len(keys)} {kind} arrays ({', '.join(keys)})" if keys else f"no {kind} array"
                raise ValueError(f"the state has {found}, the network {len(layers)} {kind} layers")
            setters += [_setter(key, given[key], node) for key, node in zip(keys, layers, strict=True)]
        for load in setters:
            load()
    return {key: _converted(kinds[key], array) for key, array in given.items()}


def _plain_weights(state: dict[str, Array]) -> dict[str, Array]:
    """Return a state without buffers and the prefix of a parallel network, with its normalized weights computed."""
    named = {key.removeprefix("module."): array for key, array in state.items()}
    found: dict[str, Array] = {}
    for key, array in named.items():
        if key.endswith("weight_v"):
            continue
        if key.endswith("weight_g"):
            name = key.removesuffix("_g")
            if f"{name}_v" not in named:
                raise ValueError(f"{name}_v is missing; the state has {key}")
            v = named[f"{name}_v"]
            if array.shape != (len(v), *(1 for _ in v.shape[1:])):
                raise ValueError(f"{key} has shape {array.shape}, {name}_v has shape {v.shape}")
            size = np.sqrt((v.astype(np.float64) ** 2).sum(axis=tuple(range(1, v.ndim)), keepdims=True))
            found[name] = (array * (v / np.where(size == 0, 1.0, size))).astype(v.dtype)
        elif not key.endswith(_BUFFERS):
            found[key] = array
    return found


def _ordered(state: dict[str, Array], names: Iterable[str] | None) -> dict[str, Array]:
    """Return the arrays of named modules, in the order of the names."""
    if names is None:
        return state
    found: dict[str, Array] = {}
    for name in names:
        mine = {key: array for key, array in state.items() if key.rpartition(".")[0] == name}
        if not mine:
            modules = ", ".join(dict.fromkeys(key.rpartition(".")[0] for key in state))
            raise ValueError(f"names has {name!r}, the state has the modules {modules}")
        found |= mine
    return found


def _kind(key: str, array: Array) -> str:
    """Return the kind of an array: "weight", "pool", "filter" or "delay"."""
    what = key.rpartition(".")[2]
    if what == "delay" and array.ndim == 3:
        return "delay"
    numbers = what == "weight" and array.ndim == 5 and array.size
    if numbers and array.shape[1:4] == (1, 1, 1) and array.shape[4] > 1:
        return "filter"
    if not numbers or array.shape[4] != 1:
        raise ValueError(f"{key} of shape {array.shape} is no weight, filter or delay of SLAYER's")
    # A pooling weight has one channel and equal numbers, unlike a random weight.
    return "pool" if array.shape[:2] == (1, 1) and array.size > 1 and (array == array.flat[0]).all() else "weight"


def _converted(kind: str, array: Array) -> Array:
    """Return an array of a kind in the axes of this library."""
    if kind == "filter":
        return np.ascontiguousarray(array[:, 0, 0, 0, ::-1])
    if kind == "delay":
        return np.ascontiguousarray(array[:, 0, 0] if array.shape[1:] == (1, 1) else array.transpose(1, 2, 0))
    ours = inward(array[..., 0])
    return ours[0, 0] if ours.shape[:2] == (1, 1) else ours


def _check_gains(pools: list[tuple[str, Array]], nodes: list[GraphNode]) -> None:
    gains = [node.stage.gain for node in nodes if form_of(node.stage) in ("pool", "unpool")]
    for key, array in pools:
        if not any(np.isclose(array.flat[0], gain, rtol=1e-5) for gain in gains):
            ours = ", ".join(f"{gain:g}" for gain in gains) or "no pooling"
            raise ValueError(f"{key} has the gain {array.flat[0]:g}, the network has {ours}")


def _setter(key: str, array: Array, node: GraphNode) -> Callable[[], None]:
    """Check that an array fits the layer at a node; return a function that loads it."""
    layer = node.stage
    form = form_of(layer)
    parameter = layer.delay if form == "delay" else layer.weight
    sizes = tuple(parameter.shape)
    if form == "delay":
        expected: tuple[int, ...] = channels_first(sizes) if len(sizes) == 3 else (*sizes, 1, 1)
    elif form == "filter":
        expected = (*((1,) if len(sizes) == 1 else sizes[:1]), 1, 1, 1, sizes[-1])
    elif form == "dense":
        inputs = layer.in_features
        expected = (layer.out_features, *channels_first(inputs), *((1,) if len(inputs) == 3 else (1, 1, 1)))
        if array.shape == (layer.out_features, math.prod(inputs), 1, 1, 1):
            array = array.reshape(expected)
    else:
        expected = (sizes[3], sizes[2], *sizes[:2], 1)
    if array.shape != expected:
        raise ValueError(f"{key} has shape {array.shape}, layer {node} expects {expected}")
    if form == "delay":
        if array.size and not (layer.delay.least <= array.min() and array.max() <= layer.delay.most):
            bounds = f"{layer.delay.least:g} to {layer.delay.most:g} ms"
            raise ValueError(f"{key} must lie in {bounds}, got {array.min():g} to {array.max():g}")
        ours = _converted("delay", array).reshape(sizes)
    elif form == "filter":
        ours = _converted("filter", array).reshape(sizes)
    else:
        of_dense = form == "dense"
        ours = inward(array.reshape(len(array), -1), layer.in_features) if of_dense else inward(array[..., 0])

    def load() -> None:
        parameter.data = to_device(ours.astype(parameter.dtype))
        if form in _SYNAPSES:
            layer.measure_hooks()

    return load
