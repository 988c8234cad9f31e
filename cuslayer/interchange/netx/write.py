"""Write networks as HDF5 files that lava's netx reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.extras import optional
from cuslayer.files import write_whole
from cuslayer.interchange.axes import conv_outward, dense_outward
from cuslayer.interchange.netx.blocks import Block, blocks_of
from cuslayer.kernels.delay.steps import whole_steps
from cuslayer.network.network import Sequential
from cuslayer.neurons.names import neuron_constants
from cuslayer.tape import no_grad


def export_hdf5(net: Sequential, path: str | Path, *, input_shape: int | tuple[int, ...] | None = None) -> None:
    """Write a network's layers: the weights after their hooks, delays in whole steps, and the neurons' constants.

    The layout is that of lava's netx and of SLAYER-PyTorch's genModel: ``layer/<i>`` with type, shape (C, H, W),
    weight, delay (in steps), neuron, and the options of the layer; ``simulation/Ts``. Weights are (outputs, inputs),
    the inputs of a frame in C, H, W order, and (outputs, inputs, kh, kw). netx runs dense and convolutional layers of
    `Loihi` neurons with ``wgt_exp=0``, also with delays, and delays every spike by one step to the next layer, as
    `Shift` does. ``layer/0`` has no neuron, so that netx takes the spikes of the input as they are: of frames (W, H,
    C), or flat. Frames before a dense layer are flat there, in C, H, W order; ``layer/0/frame`` has their shape for
    `import_hdf5`. Networks of other neurons that have `names`, such as `SRM`, are for `import_hdf5`. Dropout is left
    out.

    Args:
        net: the network: each layer followed by its neurons, then by a `Shift` of one step and a `Delay`, if any.
        path: the file; it is written atomically.
        input_shape: (H, W, C), (N,) or N; needed unless net is a `Network` or begins with a dense layer.

    Raises:
        ValueError: the network has branches, a layer has no place in the file, the neurons differ in dt, a weight
            before Loihi's neurons is not an integer from -256 to 255, or the input's shape is not known.
            Also if the file cannot be written.
        TypeError: net is not a network, or input_shape is not made of integers.
        ImportError: h5py is not installed.

    Warns:
        UserWarning: Loihi's neurons have a ref_delay above 1, which netx ignores; `import_hdf5` keeps it.

    Source: the readme of lava-dl's netx, "HDF5 description protocol".

    >>> import tempfile
    >>> from cuslayer.interchange import import_hdf5
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_hdf5(Network("8x8x2-4c3-10", SRM()), f"{folder}/trained.net")
    ...     [type(layer).__name__ for layer in import_hdf5(f"{folder}/trained.net").layers]
    ['Conv', 'SRM', 'Dense', 'SRM']
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"export_hdf5: net must be a network, got {type(net).__name__}")
    library = optional("export_hdf5", "h5py", "hdf5")
    begin, blocks = blocks_of(net, input_shape)
    neurons = [block.neuron for block in blocks if block.neuron is not None]
    steps = {neuron.dt for neuron in neurons}
    if len(steps) != 1:
        raise ValueError(f"export_hdf5: neurons must have one dt, got {', '.join(f'{dt:g}' for dt in sorted(steps))}")
    slow = next((n for n in neurons if n.weight_grid is not None and n.period > 1), None)  # neurons of the chip
    if slow is not None:
        message = f"export_hdf5: netx ignores that {type(slow).__name__} neurons have a ref_delay of {slow.period}"
        check.warn(message)
    entries: list[dict[str, Any]] = [_input(begin, blocks[0])]
    for block in blocks:
        if block.kind == "dense" and len(block.before) == 3 and block is not blocks[0]:
            entries.append({"type": "flatten", "shape": (int(np.prod(block.before)), 1, 1)})
        entries.append(_entry(block))
    document = {"simulation": {"Ts": steps.pop()}, "layer": {str(i): entry for i, entry in enumerate(entries)}}
    memory = io.BytesIO()
    with library.File(memory, "w") as file:
        _fill(file, document)
    write_whole(Path(path), lambda file: file.write(memory.getbuffer()), op="export_hdf5")


def _input(shape: tuple[int, ...], first: Block) -> dict[str, Any]:
    """Return the entry of the input: its shape, flat before a dense layer, since netx flattens no input."""
    entry: dict[str, Any] = {"type": "input", "shape": _channels_first(shape)}
    if first.kind == "dense" and len(shape) == 3:
        entry |= {"shape": (int(np.prod(shape)), 1, 1), "frame": _channels_first(shape)}
    return entry


def _entry(block: Block) -> dict[str, Any]:
    layer = block.layer
    entry: dict[str, Any] = {"type": block.kind, "shape": _channels_first(block.after)}
    if block.kind == "dense":
        with no_grad():
            weight = dense_outward(to_numpy(layer.effective_weight().data), block.before)
        entry |= {"inFeatures": weight.shape[1], "outFeatures": weight.shape[0], "weight": _checked(block, weight)}
    elif block.kind in ("conv", "convT"):
        with no_grad():
            weight = conv_outward(to_numpy(layer.effective_weight().data))
        entry |= {"inChannels": layer.in_channels, "outChannels": layer.out_channels}
        entry |= {"weight": _checked(block, weight), "groups": layer.groups}
    elif block.kind in ("pool", "unpool"):
        entry["weight"] = _checked(block, _pooling_weight(layer))
    if block.kind not in ("dense", "average"):
        entry["kernelSize"] = layer.kernel_size
        entry |= {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
    if block.kind == "convT":
        entry["outputPadding"] = layer.output_padding
    if block.neuron is not None:
        entry |= {"neuron": neuron_constants(block.neuron), "delayShift": block.shifted}
    if block.delay is not None:
        delay = to_numpy(block.delay.delay.data)
        entry["delay"], _ = whole_steps(delay.transpose(2, 0, 1) if delay.ndim == 3 else delay, block.delay.dt)
        entry |= {} if block.delay.max_delay is None else {"maxDelay": block.delay.max_delay}
    return entry


def _pooling_weight(layer: Any) -> Array:
    """Return the weight (kh, kw) of a pooling layer after its hooks; the file has one number for all its inputs."""
    if not layer.weight_hook:
        return np.full(layer.kernel_size, layer.gain)
    with no_grad():
        weight = to_numpy(layer.effective_weight().data)[:, :, 0, 0]
    if (weight != weight[0, 0]).any():
        raise ValueError(f"export_hdf5: {layer!r} must have one weight for all its inputs, got {weight.tolist()}")
    return weight


def _checked(block: Block, weight: Array) -> Array:
    """Return weights as they are stored: as integers before neurons with a weight grid."""
    if block.neuron is None or block.neuron.weight_grid is None:
        return weight
    step, (low, high) = block.neuron.weight_grid
    high += step - 1  # the integers between two values of the grid may be stored
    if (weight != np.rint(weight)).any() or weight.min() < low or weight.max() > high:
        raise ValueError(
            f"export_hdf5: {block.layer!r} must have integer weights from {low:g} to {high:g} before "
            f"{type(block.neuron).__name__} neurons, got {weight.min():g} to {weight.max():g}; "
            "quantize them in its weight_hook"
        )
    return weight.astype(np.int32)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (H, W, C) as (C, H, W), and (N,) as (N, 1, 1)."""
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else (shape[0], 1, 1)


def _fill(group: Any, document: dict[str, Any]) -> None:
    for name, value in document.items():
        if isinstance(value, dict):
            _fill(group.create_group(name), value)
        elif isinstance(value, str):
            # netx stores strings as arrays of one element.
            group.create_dataset(name, data=np.array([value.encode("ascii")]))
        else:
            group.create_dataset(name, data=np.asarray(value))
