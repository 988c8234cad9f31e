"""Read networks from the HDF5 files that `export_hdf5` writes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device
from cuslayer.interchange.axes import conv_inward, dense_inward
from cuslayer.interchange.hdf5_tree import FEW, read_tree
from cuslayer.interchange.netx.blocks import KINDS
from cuslayer.layers import Average, Conv, ConvTranspose, Delay, Dense, Pool, Shift, Unpool
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import KINDS as NEURONS
from cuslayer.neurons.names import make_neuron


def import_hdf5(path: str | Path, *, max_bytes: int | None = None) -> Sequential:
    """Read a network from a file of `export_hdf5`, SLAYER-PyTorch's genModel, or the same layout.

    The output is that of the exported network.

    Weights are those after weight hooks, without the hooks, and delays are in whole steps.

    Args:
        path: the file.
        max_bytes: the largest number of bytes of all arrays in the file together, which is checked before memory is
            taken; by default 16 MB or eight times the size of the file, if that is more.

    Returns:
        The network.

    Raises:
        ValueError: the file is missing, damaged or not HDF5, has data in or links to other files, or more than
            max_bytes; an entry is missing or unknown; or a shape does not fit.
        TypeError: max_bytes is not an integer.
        ImportError: h5py is not installed, which data needs that is compressed otherwise than by gzip.

    >>> import_hdf5("no/such.net")
    Traceback (most recent call last):
        ...
    ValueError: import_hdf5: no/such.net is no file
    """
    op, document = read_tree("import_hdf5", path, max_bytes)
    dt = check.positive(op, "simulation/Ts", _entry(_entry(document, op, "simulation"), op, "simulation/Ts"))
    layers = _entry(document, op, "layer")
    if not isinstance(layers, dict):
        raise ValueError(f"{op}: layer must be a group, got {check.one_line(layers)}")
    stages: list[Any] = []
    shape: tuple[int, ...] = ()
    for number in range(len(layers)):
        at = f"layer/{number}"
        entry = _entry(layers, op, at)
        kind = check.one_of(op, f"{at}/type", _entry(entry, op, f"{at}/type"), ("input", "flatten", *KINDS.values()))
        if kind == "flatten":
            continue
        given = "frame" if kind == "input" and "frame" in entry else "shape"
        after = _shape(op, f"{at}/{given}", _entry(entry, op, f"{at}/{given}"))
        if kind != "input":
            stages += _checked(op, at, kind, entry, shape, after, dt)
        elif number:
            raise ValueError(f"{op}: {at}/type is input, which must be the first layer")
        shape = after
    return Sequential(*stages)


def _checked(op: str, at: str, *arguments: Any) -> list[Any]:
    """Return the layer of an entry, as `_stages` does; errors of what is no number or no shape name the entry."""
    try:
        return _stages(op, at, *arguments)
    except (ValueError, TypeError, LookupError, ArithmeticError) as problem:
        if str(problem).startswith(op):
            raise
        raise ValueError(f"{op}: {at} is wrong: {check.one_line(str(problem))[1:-1]}") from None


def _stages(
    op: str, at: str, kind: str, entry: dict[str, Any], before: tuple[int, ...], after: tuple[int, ...], dt: float
) -> list[Any]:
    """Return the layer of an entry, with the neurons and delays after it."""
    if kind == "average":
        return [Average(after[0])]
    stages: list[Any] = [_layer(op, at, kind, entry, before, after)]
    constants = dict(_entry(entry, op, f"{at}/neuron"))
    names = getattr(NEURONS.get(constants.get("type", "")), "names", None)
    if names is not None and "theta" not in names.all:
        constants.pop("theta", None)  # SLAYER-PyTorch writes it beside vThMant
    neuron = make_neuron(f"{op}: {at}/neuron/", constants, dt)
    stages.append(neuron)
    if entry.get("delayShift", bool(neuron.axon_delay)):
        stages.append(Shift(dt, dt=dt))
    if "delay" in entry:
        steps = np.atleast_1d(entry["delay"])
        features = (steps.shape[1], steps.shape[2], steps.shape[0]) if steps.ndim == 3 else steps.shape
        delay = Delay(tuple(map(int, features)), dt=dt, max_delay=entry.get("maxDelay"))
        ours = steps.transpose(1, 2, 0) if steps.ndim == 3 else steps
        delay.delay.data = to_device(np.ascontiguousarray(ours * dt, dtype=np.float32))
        stages.append(delay)
    return stages


def _layer(op: str, at: str, kind: str, entry: dict[str, Any], before: tuple[int, ...], after: tuple[int, ...]) -> Any:
    weight = np.asarray(_entry(entry, op, f"{at}/weight"))
    if weight.dtype.kind not in "iuf":
        raise TypeError(f"{op}: {at}/weight must be numbers, got {weight.dtype}")
    if kind == "dense":
        features = before or (weight.size // after[0],)
        _check_size(op, at, weight, math.prod(features) * after[0])
        dense = Dense(features, after[0])
        return _with_weight(op, at, dense, weight, (after[0], math.prod(features)))
    geometry: dict[str, Any] = {name: _pair(op, entry, at, name) for name in ("stride", "padding", "dilation")}
    kernel = _pair(op, entry, at, "kernelSize")
    if kind in ("pool", "unpool"):
        if weight.size == 0 or (weight != weight.flat[0]).any():
            raise ValueError(f"{op}: {at}/weight of a {kind} layer must be one number throughout")
        return (Pool if kind == "pool" else Unpool)(kernel, **geometry, gain=float(weight.flat[0]))
    inputs, outputs = (int(_entry(entry, op, f"{at}/{name}")) for name in ("inChannels", "outChannels"))
    options = geometry | {"groups": int(_entry(entry, op, f"{at}/groups"))}
    if kind == "convT":
        options["output_padding"] = _pair(op, entry, at, "outputPadding")
    _check_size(op, at, weight, inputs * outputs * math.prod(kernel) // max(1, options["groups"]))
    layer = (Conv if kind == "conv" else ConvTranspose)(inputs, outputs, kernel, **options)
    kernel_h, kernel_w, inner, outer = layer.weight.shape
    return _with_weight(op, at, layer, weight, (outer, inner, kernel_h, kernel_w))


def _check_size(op: str, at: str, weight: Array, size: int) -> None:
    """Raise ValueError before memory is taken for a layer of many more weights than the file has."""
    if size > max(weight.size, FEW):
        raise ValueError(f"{op}: {at}/weight has shape {weight.shape}, its layer expects {size} numbers")


def _with_weight(op: str, at: str, layer: Any, weight: Array, expected: tuple[int, ...]) -> Any:
    """Set the weight of a layer from the file's axes; return the layer."""
    # SLAYER-PyTorch drops every axis of size 1; lava-dl has one more, of time, at the end.
    if [n for n in weight.shape if n != 1] == [n for n in expected if n != 1]:
        weight = weight.reshape(expected)
    if weight.shape != expected:
        raise ValueError(f"{op}: {at}/weight has shape {weight.shape}, its layer expects {expected}")
    ours = dense_inward(weight, layer.in_features) if isinstance(layer, Dense) else conv_inward(weight)
    layer.weight.data = to_device(ours.astype(np.float32))
    return layer


def _entry(group: Any, op: str, path: str) -> Any:
    """Return the entry at the last name of a path."""
    name = path.rsplit("/", 1)[-1]
    if not isinstance(group, dict) or name not in group:
        raise ValueError(f"{op}: {path} is missing")
    return group[name]


def _pair(op: str, entry: dict[str, Any], at: str, name: str) -> tuple[int, int]:
    numbers = np.atleast_1d(_entry(entry, op, f"{at}/{name}")).tolist()
    return check.pair(op, f"{at}/{name}", numbers * (2 if len(numbers) == 1 else 1), least=0)


def _shape(op: str, name: str, value: Any) -> tuple[int, ...]:
    """Return (C, H, W) as (H, W, C), and (N, 1, 1) or (N,) as (N,)."""
    array = np.atleast_1d(value)
    if array.dtype.kind not in "iuf" or array.size > 3 or not np.isfinite(array).all():
        raise ValueError(f"{op}: {name} must be three numbers from 1, got {check.one_line(value)}")
    numbers = [int(n) for n in array.ravel()]
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise ValueError(f"{op}: {name} must be three numbers from 1, got {numbers}")
    if len(numbers) == 1 or numbers[1:] == [1, 1]:
        return (numbers[0],)
    return numbers[1], numbers[2], numbers[0]
