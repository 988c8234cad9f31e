"""Networks in the HDF5 format of lava's netx, which runs them on Loihi: write and read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.hdf5_files import checked
from cuslayer.backend import Array, to_numpy
from cuslayer.interchange import axes
from cuslayer.kernels.time.delay.steps import whole_steps
from cuslayer.layers import Average, Conv, ConvTranspose, Delay, Dense, Shift, SumPool, Unpool
from cuslayer.layers.base import form_of
from cuslayer.network.network import Sequential, chain_of
from cuslayer.neurons.base import KINDS as NEURONS
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.neurons.names import make_neuron, neuron_constants

# The file's name for each kind of layer.
# The types of layers in the file, by their form.
_TYPES = {
    "vote": "average",
    "conv": "conv",
    "conv_transpose": "convT",
    "dense": "dense",
    "pool": "pool",
    "unpool": "unpool",
}
_GEOMETRY = ("stride", "padding", "dilation")


@dataclass
class _Block:
    """A layer with the shapes of its input and output, and the neurons and delays after it."""

    kind: str
    layer: Any
    before: tuple[int, ...]
    after: tuple[int, ...]
    neuron: Neuron | None = None
    shifted: bool = False
    delay: Delay | None = None


@check.operation
def export_hdf5(net: Sequential, path: str | Path, *, input_shape: int | tuple[int, ...] | None = None) -> None:
    """Write a network's layers: the weights after their hooks, delays in whole steps, and the neurons' constants.

    The layout follows lava's netx and SLAYER-PyTorch's genModel: ``layer/<i>`` with type, shape (C, H, W), weight,
    delay (in steps), neuron, and the options of the layer; ``simulation/Ts``. Weights are (outputs, inputs), the inputs
    of a frame in C, H, W order, and (outputs, inputs, kh, kw). Lava's netx runs dense and convolutional layers of
    `Loihi` neurons with ``wgt_exp=0``, also with delays. It delays every spike by one step to the next layer, like
    `Shift`. Delays of the synapses of a dense layer become delays of the neurons before it if all synapses of a neuron
    have the same. ``layer/0`` has no neuron, so netx takes the spikes of the input directly: of frames (W, H, C), or
    flat. Frames before a dense layer are flat there, in C, H, W order; ``layer/0/frame`` has their shape for
    `import_hdf5`. Networks of other neurons that have `names`, such as `SRM`, are for `import_hdf5`. The file omits
    dropout.

    Args:
        net: the network: each layer followed by its neurons, then by a `Shift` of one step and a `Delay`, if any.
        path: the file; it is written atomically.
        input_shape: (H, W, C), (N,) or N; needed unless net is a `Network` or begins with a dense layer.

    Raises:
        ValueError: the network has branches, the format has no such layer, the neurons differ in dt, or the input's
            shape is unknown. Also if a weight before Loihi's neurons is not an integer from -256 to 255, or the file
            cannot be written.
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
    shape, library = axes.input_shape_of(net, input_shape), optional("h5py", "hdf5")
    blocks = _blocks(net, shape)
    neurons = [block.neuron for block in blocks if block.neuron is not None]
    dt = axes.only_dt(neurons)
    slow = next((n for n in neurons if n.weight_grid is not None and n.period > 1), None)  # neurons of the chip
    if slow is not None:
        message = f"netx ignores that {type(slow).__name__} neurons have a ref_delay of {slow.period}"
        check.warn(message)
    entries: list[dict[str, Any]] = [{"type": "input", "shape": _sides(shape)}]
    if blocks[0].kind == "dense" and len(shape) == 3:  # netx flattens no input
        entries[0] |= {"shape": (math.prod(shape), 1, 1), "frame": _sides(shape)}
    for block in blocks:
        if block.kind == "dense" and len(block.before) == 3 and block is not blocks[0]:
            entries.append({"type": "flatten", "shape": (math.prod(block.before), 1, 1)})
        entries.append(_entry_of(block))

    def write(memory: Any) -> None:
        with library.File(memory, "w") as file:
            _fill(file, {"simulation": {"Ts": dt}, "layer": {str(i): entry for i, entry in enumerate(entries)}})

    axes.write_file(path, write)


def _blocks(net: Sequential, shape: tuple[int, ...]) -> list[_Block]:
    """Return a network as blocks of the file, without dropout."""
    blocks: list[_Block] = []
    for node in [*chain_of(net), None]:
        layer: Any = None if node is None else node.stage
        form: Any = form_of(layer)
        last = blocks[-1] if blocks else None
        bare = last is not None and last.neuron is None and last.kind != "average"
        if bare and last is not None and (node is None or form in _TYPES):
            raise ValueError(f"{last.layer!r} has no neurons behind it")
        where = f"layer {node}, {check.one_line(layer)},"
        if node is None or form == "same":
            continue
        if form in _TYPES:
            if getattr(layer, "bias", None) is not None:
                raise ValueError(f"{where} has a bias, for which the file has no place")
            if getattr(layer, "delays", None) is not None:
                _delay_before(where, layer, last)
            blocks.append(_Block(_TYPES[form], layer, shape, layer.output_shape(shape)))
            shape = blocks[-1].after
            if blocks[-1].kind == "dense" and len(shape) > 1:
                raise ValueError(f"{where} has no place in the file: it maps each place of {blocks[-1].before}")
        elif bare and last is not None and is_neuron(layer) and as_neuron(layer).names is not None:
            if not as_neuron(layer).starts_at_zero:
                raise ValueError(f"{where} has states that do not begin with 0, for which the file has no place")
            last.neuron = as_neuron(layer)
        elif last is None or last.neuron is None or form != "delay":
            raise ValueError(f"{where} has no place in the file")
        elif not layer.parameters():
            if last.shifted or last.delay is not None or layer.lags() != (1, 0):
                raise ValueError(f"{where} must be one shift of one step, behind the neurons")
            last.shifted = True
        else:
            if last.delay is not None or layer.linear:
                raise ValueError(f"{where} must be one delay in whole steps, behind the neurons")
            last.delay = layer
    if not blocks:
        raise ValueError("the network has no layers")
    return blocks


def _delay_before(where: str, layer: Any, last: _Block | None) -> None:
    """Give the neurons before a layer the delays of its synapses, if all synapses of a neuron have the same."""
    lag = to_numpy(layer.delays.whole_lags())
    if (
        form_of(layer) != "dense"
        or (lag != lag[:, :1]).any()
        or last is None
        or last.neuron is None
        or last.delay is not None
    ):
        raise ValueError(
            f"{where} must have one delay for all synapses of a neuron before it: netx has a delay for each neuron, "
            "none for each synapse or of the input"
        )
    last.delay = axes.delay_layer(axes.values_first(lag[:, 0].reshape(last.after)), layer.delays.dt)


def _entry_of(block: _Block) -> dict[str, Any]:
    layer = block.layer
    entry: dict[str, Any] = {"type": block.kind, "shape": _sides(block.after)}
    if block.kind == "dense":
        weight = axes.weight_of(layer, block.before, delayed=True)
        entry |= {"inFeatures": weight.shape[1], "outFeatures": weight.shape[0], "weight": _on_grid(block, weight)}
    elif block.kind in ("conv", "convT"):
        entry |= {"inChannels": layer.in_channels, "outChannels": layer.out_channels}
        entry |= {"weight": _on_grid(block, axes.weight_of(layer)), "groups": layer.groups}
    elif block.kind in ("pool", "unpool"):
        entry["weight"] = _on_grid(block, _pooling_weight(layer))
    if block.kind not in ("dense", "average"):
        entry |= {"kernelSize": layer.kernel_size, **{name: getattr(layer, name) for name in _GEOMETRY}}
    if block.kind == "convT":
        entry["outputPadding"] = layer.output_padding
    if block.neuron is not None:
        constants = {name: value for name, value in neuron_constants(block.neuron).items() if value is not None}
        entry |= {"neuron": constants, "delayShift": block.shifted}
    if block.delay is not None:
        entry["delay"], _ = whole_steps(axes.values_first(to_numpy(block.delay.delay.data)), block.delay.dt)
        entry |= {} if block.delay.max_delay is None else {"maxDelay": block.delay.max_delay}
    return entry


def _pooling_weight(layer: Any) -> Array:
    """Return the weight (kh, kw) of a pooling layer after its hooks; the file has one number for all its inputs."""
    if not layer.weight_hook:
        return np.full(layer.kernel_size, layer.gain)
    weight = axes.weight_of(layer)[0, 0]
    if (weight != weight[0, 0]).any():
        raise ValueError(f"{layer!r} must have one weight for all its inputs, got {weight.tolist()}")
    return weight


def _on_grid(block: _Block, weight: Array) -> Array:
    """Return weights for the file: as integers before neurons with a weight grid."""
    if block.neuron is None or block.neuron.weight_grid is None:
        return weight
    step, (low, high) = block.neuron.weight_grid
    high += step - 1  # the integers between two values of the grid may be stored
    if (weight != np.rint(weight)).any() or weight.min() < low or weight.max() > high:
        raise ValueError(
            f"{block.layer!r} must have integer weights from {low:g} to {high:g} before "
            f"{type(block.neuron).__name__} neurons, got {weight.min():g} to {weight.max():g}; "
            "quantize them in its weight_hook"
        )
    return weight.astype(np.int32)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (H, W, C) as (C, H, W), and (N,) as (N, 1, 1)."""
    return axes.channels_first(shape) if len(shape) == 3 else (*shape, 1, 1)


def _fill(group: Any, document: dict[str, Any]) -> None:
    for name, value in document.items():
        if isinstance(value, dict):
            _fill(group.create_group(name), value)
        else:  # netx stores texts as arrays of one
            group.create_dataset(name, data=np.asarray([value.encode("ascii")] if isinstance(value, str) else value))


@check.operation
def import_hdf5(path: str | Path, *, max_bytes: int | None = None) -> Sequential:
    """Read a network from a file of `export_hdf5`, SLAYER-PyTorch's genModel, or the same layout.

    It has the exported network's output. Weights are final, without their hooks, and delays are in whole steps.

    Args:
        path: the file.
        max_bytes: the largest number of bytes of all arrays in the file together, checked before memory is taken; by
            default 16 MB or eight times the size of the file, if that is more.

    Returns:
        The network.

    Raises:
        ValueError: the file is missing, damaged or not HDF5, has data in or links to other files, or exceeds max_bytes;
            an entry is missing or unknown, or a shape does not fit.
        TypeError: max_bytes is not an integer.
        ImportError: h5py is not installed.

    >>> import_hdf5("no/such.net")
    Traceback (most recent call last):
        ...
    ValueError: import_hdf5: no/such.net is no file
    """
    with checked(path, max_bytes) as (_, document):
        return _Reading(document).network()


class _Reading:
    """Reads the entries of a file; `at` is the path of an entry, for errors too."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def network(self) -> Sequential:
        dt = check.positive("simulation/Ts", self._entry("simulation/Ts"))
        layers = self._entry("layer")
        if not isinstance(layers, dict):
            raise ValueError(f"layer must be a group, got {check.one_line(layers)}")
        stages: list[Any] = []
        shape: tuple[int, ...] = ()
        for number in range(len(layers)):
            at = f"layer/{number}"
            kind = check.one_of(f"{at}/type", self._entry(f"{at}/type"), ("input", "flatten", *_TYPES.values()))
            if kind == "flatten":
                continue
            after = self._shape(f"{at}/frame" if kind == "input" and "frame" in layers[str(number)] else f"{at}/shape")
            if kind == "input" and number:
                raise ValueError(f"{at}/type is input, which must be the first layer")
            with axes.entry_errors(at):
                stages += [] if kind == "input" else self._stages(at, kind, shape, after, dt)
            shape = after
        return Sequential(*stages)

    def _entry(self, at: str) -> Any:
        found: Any = self._document
        names = at.split("/")
        for i, name in enumerate(names):
            if not isinstance(found, dict) or name not in found:
                raise ValueError(f"{'/'.join(names[: i + 1])} is missing")
            found = found[name]
        return found

    def _stages(self, at: str, kind: str, before: tuple[int, ...], after: tuple[int, ...], dt: float) -> list[Any]:
        """Return the layer of an entry, with the neurons and delays after it."""
        if kind == "average":
            return [Average(after[0])]
        stages, entry = [self._layer(at, kind, before, after)], self._entry(at)
        constants = dict(self._entry(f"{at}/neuron"))
        names = getattr(NEURONS.get(constants.get("type", "")), "names", None)
        if names is not None and "theta" not in names.all:
            constants.pop("theta", None)  # SLAYER-PyTorch writes it as well as vThMant
        neuron = make_neuron(f"{at}/neuron/", constants, dt)
        stages.append(neuron)
        if entry.get("delayShift", bool(neuron.axon_delay)):
            stages.append(Shift(dt, dt=dt))
        if "delay" in entry:
            stages.append(axes.delay_layer(axes.delay_steps(f"{at}/delay", entry["delay"]), dt, entry.get("maxDelay")))
        return stages

    def _layer(self, at: str, kind: str, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
        weight = axes.finite_numbers(f"{at}/weight", self._entry(f"{at}/weight"))
        options: dict[str, Any] = {}
        if kind != "dense":
            options = {name: axes.pair_of(f"{at}/{name}", self._entry(f"{at}/{name}"), 0) for name in _GEOMETRY}
            kernel = axes.pair_of(f"{at}/kernelSize", self._entry(f"{at}/kernelSize"), 0)
        if kind in ("pool", "unpool"):
            if weight.size == 0 or (weight != weight.flat[0]).any():
                raise ValueError(f"{at}/weight of a {kind} layer must be one number throughout")
            return (SumPool if kind == "pool" else Unpool)(kernel, **options, gain=float(weight.flat[0]))
        if kind == "dense":
            features = before or (weight.size // after[0],)
            size = math.prod(features) * after[0]
        else:
            names = (f"{at}/{name}" for name in ("inChannels", "outChannels", "groups"))
            inputs, outputs, groups = (axes.whole_numbers(name, self._entry(name)).item() for name in names)
            size = inputs * outputs * math.prod(kernel) // groups
            if kind == "convT":
                options["output_padding"] = axes.pair_of(f"{at}/outputPadding", self._entry(f"{at}/outputPadding"), 0)
        # Before memory is taken for a layer of many more weights than the file has.
        if size > weight.size:
            raise ValueError(f"{at}/weight has shape {weight.shape}, its layer expects {size} numbers")
        if kind == "dense":
            layer: Any = Dense(features, after[0])
            expected: tuple[int, ...] = (after[0], math.prod(features))
        else:
            layer = (Conv if kind == "conv" else ConvTranspose)(inputs, outputs, kernel, groups=groups, **options)
            expected = (*layer.weight.shape[:1:-1], *layer.weight.shape[:2])
        # SLAYER-PyTorch drops every axis of size 1; lava-dl adds one of time at the end.
        if [n for n in weight.shape if n != 1] == [n for n in expected if n != 1]:
            weight = weight.reshape(expected)
        if weight.shape != expected:
            raise ValueError(f"{at}/weight has shape {weight.shape}, its layer expects {expected}")
        axes.set_weight(layer, weight)
        return layer

    def _shape(self, at: str) -> tuple[int, ...]:
        """Return (C, H, W) as (H, W, C), and (N, 1, 1) or (N,) as (N,)."""
        value = self._entry(at)
        numbers = np.ravel(axes.whole_numbers(at, value)).tolist()
        if len(numbers) not in (1, 3):
            raise ValueError(f"{at} must be three numbers from 1, got {check.one_line(value)}")
        return (numbers[1], numbers[2], numbers[0]) if numbers[1:] not in ([], [1, 1]) else (numbers[0],)
