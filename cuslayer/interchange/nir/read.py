"""Read networks from NIR files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device
from cuslayer.interchange.axes import conv_inward, dense_inward
from cuslayer.interchange.hdf5_tree import read_tree
from cuslayer.interchange.nir.dialects import dialect_of
from cuslayer.interchange.nir.graph import NEURONS, RECURRENT, SYNAPSES, chain
from cuslayer.interchange.nir.neurons import Written, neuron_of, note_in, noted_neuron
from cuslayer.layers import Conv, Delay, Dense, Pool, Recurrent, Shift
from cuslayer.network.network import Sequential
from cuslayer.tape import Tensor


def import_nir(
    source: Any,
    *,
    dialect: str | None = None,
    step: float | None = None,
    dt: float | None = None,
    max_bytes: int | None = None,
) -> Sequential:
    """Read a network from a NIR file, or from a graph of the package nir.

    Read are Linear, Affine, Conv2d, SumPool2d, AvgPool2d, Flatten before Linear, Delay, LIF, CubaLIF, IF and Threshold,
    in a chain. Neurons that feed themselves through weights, in a loop of the graph or in a graph within it, become
    `Recurrent`, whose spikes come back a step later. Frames become (H, W, C). Constants of neurons become those of
    `LIF` and `CUBA`; a gain of the input that is the same for all is in theta, one that is not in the weights. The
    output of a network from `export_nir` is that of the exported one to the bit, where nothing has changed its neurons.
    A warning names what the library of the dialect does not write of its neurons, such as how snnTorch's are reset.

    Args:
        source: the file, or a graph: an object with ``to_dict()``.
        dialect: "nir", "snntorch", "norse" or "sinabs": whose the file is; by default as `export_nir` wrote it, or
            "nir". The discretization of each is in docs/exchange.md.
        step: the step in the file's unit of time; by default as written, else that of the dialect, or dt in seconds.
        dt: the step of the network, ms; by default as written, or 1.
        max_bytes: the largest number of bytes of all arrays in the file together; by default 16 MB or eight times the
            size of the file, if that is more.

    Returns:
        The network.

    Raises:
        ValueError: the file is missing, damaged or not HDF5, or has more than max_bytes; the graph is no chain, but
            for neurons that feed themselves; a node is unknown, or has values that have no form here; or a shape does
            not fit.
        TypeError: an argument has the wrong type.
        ImportError: h5py is not installed, which data needs that is compressed otherwise than by gzip.

    >>> import_nir("no/such.nir")
    Traceback (most recent call last):
        ...
    ValueError: import_nir: no/such.nir is no file
    """
    if hasattr(source, "to_dict"):
        op, graph = "import_nir: graph", source.to_dict()
    else:
        op, document = read_tree("import_nir", source, max_bytes)
        graph = document.get("node")
    nodes = chain(op, graph)
    notes = [note for _, fields in nodes if (note := note_in(fields.get("neuron", fields))) is not None]
    note = notes[0] if notes else {}
    spoken = dialect_of("import_nir", note.get("dialect", "nir") if dialect is None else dialect)
    dt = check.time_step("import_nir", "dt", note.get("dt", 1.0) if dt is None else dt)
    if step is None:
        own = 1e-3 * dt if spoken.step is None else spoken.step
        step = note.get("step", own) if note.get("dialect") == spoken.name else own
    reading = _Reading(op, Written(spoken, check.positive("import_nir", "step", step), dt))
    for name, fields in nodes:
        try:
            reading.add(name, fields)
        except (ValueError, TypeError, LookupError, ArithmeticError) as problem:
            if str(problem).startswith(op):
                raise
            raise ValueError(f"{op}: node {name} is wrong: {check.one_line(str(problem))[1:-1]}") from None
    for doubt in sorted(reading.doubts):
        check.warn(f"{op}: a file of {spoken.name} does not say {doubt}")
    return Sequential(*reading.stages)


class _Reading:
    """The layers of the nodes so far.

    Attributes:
        stages: the layers.
        shape: the shape behind them, (H, W, C) or (N,); empty if it is not known.
        flat: whether frames have been flattened, which is for a dense layer to do.
        doubts: what the file does not say of the neurons.
    """

    def __init__(self, op: str, how: Written) -> None:
        self.op, self.how = op, how
        self.stages: list[Any] = []
        self.shape: tuple[int, ...] = ()
        self.flat = False
        self.doubts = set[str]()

    def add(self, name: str, fields: dict[str, Any]) -> None:
        """Append the layers of a node."""
        kind, where = fields["type"], f"{self.op}: node {check.one_line(name)}"
        if self.flat and kind not in ("Linear", "Affine", "Output"):
            raise ValueError(f"{where} is {kind} behind Flatten, where Linear or Affine must be")
        if kind == "Input":
            self.shape = _inward(np.ravel(np.asarray(fields.get("shape", ()))).tolist())
        elif kind == "Flatten":
            self.flat = len(self.shape) == 3
        elif kind in SYNAPSES:
            self.stages.append(self._synapse(where, fields))
            self.flat = False
        elif kind in ("SumPool2d", "AvgPool2d"):
            self._pool(where, kind, fields)
        elif kind == "Delay":
            self._delay(where, fields)
        elif kind == RECURRENT:
            self._recurrent(where, fields)
        elif kind in NEURONS:
            self._neurons(where, fields)
        if kind in (*SYNAPSES, "SumPool2d", "AvgPool2d"):
            self.shape = self.stages[-1].output_shape(self.shape or None) or ()

    def _synapse(self, where: str, fields: dict[str, Any]) -> Dense | Conv:
        return self._conv(where, fields) if fields["type"] == "Conv2d" else self._dense(where, fields)

    def _dense(self, where: str, fields: dict[str, Any]) -> Dense:
        weight = _numbers(where, fields, "weight")
        if weight.ndim != 2:
            raise ValueError(f"{where}: weight must be (outputs, inputs), got shape {weight.shape}")
        bias = self._bias(where, fields, weight)
        inputs = weight.shape[1]
        if len(self.shape) == 3 and not self.flat:
            raise ValueError(f"{where} must have a Flatten before it: its input are frames")
        if self.shape and math.prod(self.shape) != inputs:
            raise ValueError(f"{where}: weight is for {inputs} inputs, got {math.prod(self.shape)}")
        features = self.shape or (inputs,)
        layer = Dense(features, weight.shape[0], bias=bias)
        layer.weight.data = to_device(dense_inward(weight, features).astype(np.float32))
        return layer

    def _conv(self, where: str, fields: dict[str, Any]) -> Conv:
        weight = _numbers(where, fields, "weight")
        if weight.ndim != 4:
            raise ValueError(f"{where}: weight must be (outputs, inputs, rows, columns), got shape {weight.shape}")
        bias = self._bias(where, fields, weight)
        groups = int(np.asarray(fields.get("groups", 1)))
        kernel = weight.shape[2:]
        options: dict[str, Any] = {key: _pair(where, fields, key, 1) for key in ("stride", "dilation")}
        padding = fields.get("padding")
        if isinstance(padding, str) and padding == "same":
            spans = [dilation * (side - 1) for dilation, side in zip(options["dilation"], kernel, strict=True)]
            if options["stride"] != (1, 1) or any(span % 2 for span in spans):
                raise ValueError(f"{where}: padding 'same' needs a stride of 1 and odd kernels")
            options["padding"] = spans[0] // 2, spans[1] // 2
        else:
            options["padding"] = (
                (0, 0) if isinstance(padding, str) and padding == "valid" else _pair(where, fields, "padding", 0)
            )
        layer = Conv(weight.shape[1] * groups, weight.shape[0], kernel, groups=groups, bias=bias, **options)
        layer.weight.data = to_device(conv_inward(weight).astype(np.float32))
        return layer

    def _pool(self, where: str, kind: str, fields: dict[str, Any]) -> None:
        kernel = _pair(where, fields, "kernel_size", 1)
        stride, padding = _pair(where, fields, "stride", 1), _pair(where, fields, "padding", 0)
        if len(self.shape) != 3:
            raise ValueError(f"{where}: the shape (C, H, W) of its input must be known")
        for side, size, every, around in zip(self.shape, kernel, stride, padding, strict=False):
            over = side + 2 * around - size
            if over < 0 or over % every:
                raise ValueError(f"{where} must divide its input of {side}: pooling here adds what is over")
        gain = 1.0 if kind == "SumPool2d" else 1.0 / math.prod(kernel)
        self.stages.append(Pool(kernel, stride=stride, padding=padding, gain=gain))

    def _steps(self, where: str, fields: dict[str, Any]) -> Array:
        """Return the delays of a node in steps."""
        steps = _numbers(where, fields, "delay").astype(np.float64) / self.how.step
        steps = np.where(abs(steps - np.rint(steps)) < 1e-4, np.rint(steps), steps)
        if (steps < 0).any():
            raise ValueError(f"{where}: delay must not be negative")
        return steps

    def _delay(self, where: str, fields: dict[str, Any]) -> None:
        steps, dt = self._steps(where, fields), self.how.dt
        if steps.size and (steps == steps.flat[0]).all():
            self.stages.append(Shift(float(steps.flat[0]) * dt, dt=dt))
            return
        steps = steps.transpose(1, 2, 0) if steps.ndim == 3 else steps
        layer = Delay(steps.shape, dt=dt)
        layer.delay.data = to_device(np.ascontiguousarray(steps * dt, dtype=np.float32))
        self.stages.append(layer)

    def _recurrent(self, where: str, fields: dict[str, Any]) -> None:
        layer, late = self._synapse(where, fields["synapse"]), 1.0
        for node in fields["delays"]:
            steps = self._steps(where, node)
            if not steps.size or (steps != steps.flat[0]).any():
                raise ValueError(f"{where}: the delay of spikes that come back must be one for all")
            late += float(steps.flat[0])
        if layer.bias is not None:
            self._add_bias(where, layer.bias.data)
            layer.bias = None
        own = layer.weight
        factor = self._neurons(where, fields["neuron"])
        own.data = own.data * to_device(factor.astype(np.float32))
        self.stages.append(Recurrent(layer, self.stages.pop(), delay=late * self.how.dt))

    def _add_bias(self, where: str, bias: Array) -> None:
        """Add the bias of weights from neurons to themselves to that of the layer before, whose sum they share."""
        before = self.stages[-1] if self.stages else None
        if not isinstance(before, (Dense, Conv)) or before.weight.shape[-1:] != bias.shape:
            raise ValueError(f"{where}: the bias of spikes that come back needs a layer with weights before it")
        if before.bias is None:
            before.bias = Tensor(bias, requires_grad=True)
        else:
            before.bias.data = before.bias.data + bias

    def _neurons(self, where: str, fields: dict[str, Any]) -> Array:
        """Append neurons; return the factor of their input, which the weights of the layer before now have."""
        kind = fields["type"]
        pooled = self.stages[-1] if self.stages and isinstance(self.stages[-1], Pool) else None
        noted = noted_neuron(kind, fields, self.shape, self.how) if self.shape else None
        if noted is not None and (pooled is not None or noted[1] == 1.0):
            (neuron, gain), factor = noted, np.ones(())
            if pooled is not None:
                taps = 1 if "SumPool2d" in self.how.dialect.reads else math.prod(pooled.kernel_size)
                pooled.gain = gain / taps
        else:
            neuron, factor = neuron_of(where, kind, fields, self.how)
            if kind in self.how.dialect.doubts:
                self.doubts.add(self.how.dialect.doubts[kind])
            if factor.size > 1:
                factor = self._scale(where, factor)
        self.stages.append(neuron)
        return factor

    def _scale(self, where: str, factor: Array) -> Array:
        """Multiply the weights of the layer before by a factor for each neuron, (N,) or (H, W, C); return it, (C,)."""
        before = self.stages[-1] if self.stages else None
        if isinstance(before, Conv) and factor.ndim == 3 and (factor == factor[:1, :1]).all():
            factor = factor[0, 0]
        if not isinstance(before, (Dense, Conv)) or factor.shape != before.weight.shape[-1:]:
            raise ValueError(f"{where}: r, w_in and v_threshold must be one for all, or for each channel of weights")
        for parameter in (before.weight, *([] if before.bias is None else [before.bias])):
            parameter.data = parameter.data * to_device(factor.astype(np.float32))
        return factor

    def _bias(self, where: str, fields: dict[str, Any], weight: Array) -> Tensor | None:
        """Return the bias of a node, None for one of 0."""
        bias = np.zeros(0) if fields["type"] == "Linear" else _numbers(where, fields, "bias")
        if not bias.any():
            return None
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"{where}: bias must have shape {weight.shape[:1]}, got {bias.shape}")
        return Tensor(to_device(bias.astype(np.float32)), requires_grad=True)


def _numbers(where: str, fields: dict[str, Any], name: str) -> Array:
    if name not in fields:
        raise ValueError(f"{where} has no {name}")
    found = np.asarray(fields[name])
    if found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise ValueError(f"{where}: {name} must be finite numbers")
    return found


def _pair(where: str, fields: dict[str, Any], name: str, least: int) -> tuple[int, int]:
    numbers = _numbers(where, fields, name).ravel().tolist()
    return check.pair(where, name, numbers * (2 if len(numbers) == 1 else 1), least=least)


def _inward(shape: list[int]) -> tuple[int, ...]:
    """Return (C, H, W) as (H, W, C), and what is one number as it is; () of others."""
    if len(shape) == 3:
        return shape[1], shape[2], shape[0]
    return (shape[0],) if len(shape) == 1 else ()
