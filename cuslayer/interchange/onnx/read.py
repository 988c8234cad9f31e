"""Read networks of numbers from ONNX files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.interchange.axes import entry_errors
from cuslayer.interchange.onnx.axes import Axes
from cuslayer.interchange.onnx.constants import computed
from cuslayer.interchange.onnx.file import Document, Node, read_document
from cuslayer.interchange.onnx.network import INPUT, Stage, network_of
from cuslayer.interchange.onnx.operations import ENDINGS, OPERATIONS
from cuslayer.interchange.onnx.values import Ended, OtherAxes, Reading, Value, usual_frames
from cuslayer.layers import GlobalAvgPool
from cuslayer.network.network import Sequential

_CHANNELS = ("first", "last")


@check.operation
def import_onnx(path: str | os.PathLike[str], *, channels: str | None = None) -> Sequential:
    """Read a network of numbers from an ONNX file, such as torch, Keras and scikit-learn (skl2onnx) write.

    The network has `Conv`, `Dense`, `ReLU`, pooling, and `Parallel` or `Residual` where branches join: numbers in,
    numbers out, without neurons. Its output equals that of the file within the rounding of float32, for each time step
    by itself. Its layers may stand before spiking layers, trained further or not. BatchNormalization and arithmetic
    with constants go into the weights next to them. Softmax, Sigmoid and what computes classes at the end are left
    out: the output is what they take, the logits. docs/exchange.md has the operators.

    The input is (T, N, H, W, C), or (T, N, C) for features: ``x[None]`` is one time step of a batch (N, H, W, C). A
    signal (N, C, L) is a frame of one row, (T, N, 1, L, C). A file has its channels first or last; here they are last
    whatever the file has.

    Args:
        path: the file. Of other files, only one beside it is read whose name begins with its own, as the exporter of
            torch writes for weights, ``model.onnx.data``.
        channels: "first" or "last", the axis of the channels of an input of three axes that no convolution or pooling
            takes. By default they are first, or last if the last axis is shorter than the first.

    Returns:
        The network. Its weights are float32 and trained by default.

    Raises:
        ValueError: the file is missing, damaged or not ONNX; an operator is unknown or has unsupported values; a size
            is not fixed, except for the batch; branches are not nested; or a constant is not finite.
        TypeError: path is not a path.
        ImportError: the package onnx, which decodes files, is not installed.

    >>> import_onnx("no/such.onnx")
    Traceback (most recent call last):
        ...
    ValueError: import_onnx: no/such.onnx is no file
    """
    path = check.path("path", path)
    if channels is not None:
        check.one_of("channels", channels, _CHANNELS)
    if not os.path.isfile(path):
        raise ValueError(f"{check.printable(str(path))} is no file")
    with check.about(check.printable(str(path))):
        try:
            document = read_document(path)
        except OSError as problem:
            raise ValueError(f"cannot be read ({problem.strerror or type(problem).__name__})") from None
        return _network(document, channels)


def _network(document: Document, channels: str | None) -> Sequential:
    """Return the network of a file; it is read again once a layer has determined the axes of its input."""
    try:
        return _read(document, channels, None)
    except OtherAxes as other:
        opened = other.axes
    document.reset()
    return _read(document, channels, opened)


def _read(document: Document, channels: str | None, opened: Axes | None) -> Sequential:
    """Return the network, for an input with some axes as frames."""
    nodes = _needed(document)
    uses = Counter(name for node in nodes if node.operator != "Shape" for name in node.inputs)
    uses.update(document.outputs)
    reading = Reading(document, opened)
    reading.named[document.input] = reading.input
    for node in nodes:
        with entry_errors(node.where):
            for name in node.inputs:
                _define(reading, node, name)
            for name, result in zip(node.outputs, _results(reading, node), strict=False):
                if name in reading.named or name in document.tensors:
                    raise node.refused(f"has the output {check.one_line(name, 80)}, which another node has")
                if isinstance(result, Value) and uses[name] > 1:
                    result = replace(result, alone=False)
                if name:
                    reading.named[name] = result
    value = _output(reading)
    if opened is None and len(document.sizes) == 4:
        sizes = tuple(size or 0 for size in document.sizes[1:])
        raise OtherAxes(usual_frames(sizes, channels))
    return network_of(reading.stages, _finished(reading, nodes[-1], value).stage)


def _needed(document: Document) -> list[Node]:
    """Return the nodes on which an output depends, in the file's order."""
    wanted = set(document.outputs)
    needed = list[Node]()
    for node in reversed(document.nodes):
        if wanted.intersection(node.outputs) - {""}:
            wanted.update(node.inputs)
            needed.append(node)
    if not needed:
        raise ValueError("has no node that computes an output")
    return needed[::-1]


def _define(reading: Reading, node: Node, name: str) -> None:
    """Make an input of a node known: a constant of the file is converted when it is first used."""
    if name == "" or name in reading.named:
        return
    document = reading.document
    if name not in document.tensors:
        raise node.refused(f"takes {check.one_line(name, 80)}, which is the output of no node before it")
    where = f"constant {check.one_line(name, 80)}"
    reading.named[name] = document.array(document.tensors[name], where)


def _results(reading: Reading, node: Node) -> Sequence[Value | Ended | Array]:
    """Return the outputs of a node, of which operators have one, except for some."""
    given = [reading.named.get(name) for name in node.inputs]
    ended = [value for value in given if isinstance(value, Ended)]
    if ended and node.operator in ENDINGS and all(_is_end_of(value, ended[0]) for value in given):
        return [ended[0]] * len(node.outputs)
    if not any(isinstance(value, (Value, Ended)) for value in given):
        constants = [value if isinstance(value, np.ndarray) else None for value in given]
        return [computed(reading.document, node, constants)]
    if node.operator not in OPERATIONS:
        raise node.refused(f"is not read; the operators are {', '.join(OPERATIONS)}")
    result = OPERATIONS[node.operator](reading, node)
    return [result] if isinstance(result, (Value, Ended, np.ndarray)) else result


def _is_end_of(value: Value | Ended | Array | None, first: Ended) -> bool:
    return not isinstance(value, Value) and (not isinstance(value, Ended) or _is_same(value.value, first.value))


def _is_same(first: Value, second: Value) -> bool:
    """Return whether two values have the same elements."""
    return first.stage == second.stage and first.affine is second.affine and first.border == second.border


def _output(reading: Reading) -> Value:
    """Return the output of the network, from which all outputs of the graph come."""
    values = list[Value]()
    for name in reading.document.outputs:
        result = reading.named.get(name)
        if isinstance(result, Ended):
            result = result.value
        if not isinstance(result, Value):
            raise ValueError(f"output {check.one_line(name, 80)} does not depend on the input")
        values.append(result)
    for value in values[1:]:
        if not _is_same(value, values[0]):
            names = check.one_line(", ".join(reading.document.outputs), 80)
            raise ValueError(f"must have one output, or several that come from the same logits, got {names}")
    return values[0]


def _finished(reading: Reading, node: Node, value: Value) -> Value:
    """Return the output with nothing left to a next layer, and features without axes of one pixel."""
    value = reading.plain(node, value)
    if len(value.shape) == 3 and value.shape[:2] == (1, 1) and len(value.axes) == 1:
        stage = reading.add(Stage((value.stage,), node.where, GlobalAvgPool))
        return replace(value, stage=stage, shape=value.shape[2:])
    if value.stage == INPUT:
        raise ValueError("has no layer")
    return value
