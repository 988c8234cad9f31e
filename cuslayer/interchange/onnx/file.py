"""ONNX files of unknown origin: nodes, constants and the input, read behind guards.

The package onnx only decodes the file. Sizes that the file states are compared with the bytes that it has before an
array is made. Subgraphs and local functions are refused. The only other file that is read is one that the exporter of
torch writes: it lies in the same folder, and its name begins with that of the model.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer.backend import Array

# Protobuf decodes no larger message.
_MOST_BYTES = 2**31 - 1
_MOST_NODES = 5_000
_MOST_SIZE = 2**31 - 1
# The number of elements that computed constants may have beside those of the file.
_ROOM = 2**20
# Before this version, binary operators broadcast by other rules.
_FIRST_OPSET = 7
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# Data types by number: the type of an array, and the field that has its elements where no bytes do.
_TYPES: dict[int, tuple[str, str]] = {
    1: ("<f4", "float_data"),
    2: ("<u1", "int32_data"),
    3: ("<i1", "int32_data"),
    4: ("<u2", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("?", "int32_data"),
    10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"),
    12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
}
FLOATING = (1, 10, 11)
_FLOAT16 = 10
_EXTERNAL = 1
_ONE_FILE = "save the model as one file, as onnx.save(onnx.load(path), path) does"


@dataclass
class Node:
    """A node of a graph: its operator, the names of its inputs and outputs, and its attributes."""

    operator: str
    where: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)

    def refused(self, why: str) -> ValueError:
        """Return the error for the node."""
        return ValueError(f"{self.where} {why}")

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is an integer."""
        value: int = self._attribute(name, int, "an integer", default)
        return value

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a finite number."""
        value: float = self._attribute(name, float, "a number", default)
        if not math.isfinite(value):
            raise self.refused(f"has {name} {value}, which must be finite")
        return value

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a text."""
        value: str = self._attribute(name, str, "a text", default)
        return value

    def integers(self, name: str) -> list[int] | None:
        """Return an attribute that is a list of integers; None if it is absent."""
        return self._list(name, int, "integers")

    def numbers(self, name: str) -> list[float] | None:
        """Return an attribute that is a list of numbers; None if it is absent."""
        return self._list(name, float, "numbers")

    def tensor(self, name: str) -> Any:
        """Return an attribute that is a tensor of the file; None if it is absent."""
        value = self.attributes.get(name)
        if value is not None and not hasattr(value, "dims"):
            raise self.refused(f"has an attribute {name} that must be a tensor")
        return value

    def _attribute(self, name: str, kind: type, what: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        if not isinstance(value, kind):
            raise self.refused(f"has an attribute {name} that must be {what}")
        return value

    def _list(self, name: str, kind: type, what: str) -> Any:
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self.refused(f"has an attribute {name} that must be a list of {what}")
        return value


@dataclass
class Document:
    """What is read of a file.

    Attributes:
        nodes: the nodes in the file's order, in which each follows the nodes whose outputs it takes.
        input: the name of the network's input.
        sizes: its shape; None for a size that is not fixed.
        outputs: the names of the outputs.
        tensors: the constants by name, as the file has them.
        room: the number of elements that computed constants may still have.
    """

    path: Path
    nodes: list[Node]
    input: str
    sizes: list[int | None]
    outputs: list[str]
    tensors: dict[str, Any]
    room: int = _ROOM
    _external: int = 0

    def array(self, tensor: Any, where: str) -> Array:
        """Return a tensor of the file as an array."""
        shape = tuple(int(size) for size in tensor.dims)
        if any(not 0 <= size <= _MOST_SIZE for size in shape):
            raise ValueError(f"{where} has the shape {check.one_line(shape, 60)}")
        if tensor.data_type not in _TYPES:
            raise ValueError(f"{where} must have numbers of float, double, float16 or integers")
        if tensor.HasField("segment"):
            raise ValueError(f"{where} is a segment of a tensor; {_ONE_FILE}")
        code, name = _TYPES[tensor.data_type]
        dtype = np.dtype(code)
        count = math.prod(shape)
        # Weights are transposed, cast and joined by nodes.
        self.room += 4 * count
        if tensor.data_location == _EXTERNAL:
            raw = self._outside(tensor, where, count * dtype.itemsize)
        elif tensor.HasField("raw_data"):
            raw = tensor.raw_data
        else:
            return _of_field(tensor, where, name, dtype, shape)
        if len(raw) != count * dtype.itemsize:
            raise ValueError(f"{where} of shape {shape} must have {count * dtype.itemsize} bytes, got {len(raw)}")
        return np.frombuffer(raw, dtype).reshape(shape)

    def reset(self) -> None:
        """Forget what has been read of the constants, before the graph is read again."""
        self._external = 0
        self.room = _ROOM

    def take_room(self, where: str, shape: Sequence[int]) -> None:
        """Raise ValueError if a computed constant of a shape would be out of proportion to the file."""
        self.room -= math.prod(shape)
        if self.room < 0:
            raise ValueError(f"{where} computes a constant of shape {check.one_line(tuple(shape), 60)}: too large")

    def _outside(self, tensor: Any, where: str, count: int) -> bytes:
        """Return the bytes of a tensor in a file beside the model."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        shown = check.one_line(name)
        beside = name.startswith(self.path.stem) and name == os.path.basename(name) and "\\" not in name
        if not beside or "\0" in name:
            raise ValueError(f"{where} is in the file {shown}, which is not read: {_ONE_FILE}")
        offset = _natural(entries.get("offset", "0"))
        length = _natural(entries.get("length", str(count)))
        if offset is None or length != count:
            raise ValueError(f"{where} must have {count} bytes in {shown}, got another length or offset")
        try:
            with _plain_file(self.path.with_name(name)) as (file, size):
                if offset + count > size:
                    raise ValueError(f"{where} reaches beyond the {size} bytes of {shown}")
                # Tensors may share their bytes, but not so often that they take much more memory than the file.
                self._external += count
                if self._external > 2 * size:
                    raise ValueError(f"{where} repeats bytes of {shown}; {_ONE_FILE}")
                file.seek(offset)
                content: bytes = file.read(count)
                return content
        except OSError as problem:
            why = problem.strerror or type(problem).__name__
            raise ValueError(f"{where} is in {shown}, which is no plain file or cannot be read ({why})") from None


@contextmanager
def _plain_file(path: Path) -> Iterator[tuple[Any, int]]:
    """Yield an open file that is neither a link nor a device, and its size."""
    # Opening a pipe would wait for its writer.
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"))
    handle = os.open(path, sum(flags, os.O_RDONLY))
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if path.is_symlink() or not stat.S_ISREG(about.st_mode):
            raise OSError("a link or a device")
        yield file, about.st_size


def _natural(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _of_field(tensor: Any, where: str, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Return the elements of a tensor that the file has as numbers."""
    values = getattr(tensor, name)
    count = math.prod(shape)
    if len(values) != count:
        raise ValueError(f"{where} of shape {shape} must have {count} numbers, got {len(values)}")
    if tensor.data_type == _FLOAT16:
        return np.array(values, np.uint16).view(dtype).reshape(shape)
    return np.array(values, dtype).reshape(shape)


def read_document(path: Path) -> Document:
    """Read an ONNX file; errors do not have its name."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(
            f"has {size:,} bytes, ONNX files have less than 2 GiB; larger models have their weights beside"
        )
    onnx = optional("onnx", "onnx")
    content = path.read_bytes()
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception:  # of several types, in the versions of protobuf
        raise ValueError("is damaged or no ONNX file") from None
    # Protobuf has bytes, or raises an error, where a name is no UTF-8.
    try:
        damaged = any(not isinstance(name, str) for name in _names(model))
    except UnicodeDecodeError:
        damaged = True
    if damaged:
        raise ValueError("is damaged: a name in it is no text")
    return _document(onnx, path, model)


def _names(model: Any) -> Iterator[object]:
    """Yield all names in a model that are read."""
    graph = model.graph
    yield from (entry.domain for entry in model.opset_import)
    yield from (value.name for value in (*graph.input, *graph.output))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (name for attribute in node.attribute for name in (attribute.name, attribute.ref_attr_name))
    attributes = (attribute for node in graph.node for attribute in node.attribute)
    for tensor in (*graph.initializer, *(attribute.t for attribute in attributes)):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _document(onnx: Any, path: Path, model: Any) -> Document:
    """Return what is read of a decoded model."""
    graph = model.graph
    if not graph.node:
        raise ValueError("has no network; is it an ONNX file?")
    if len(graph.node) > _MOST_NODES:
        raise ValueError(f"must have at most {_MOST_NODES:,} nodes, got {len(graph.node):,}")
    newest = onnx.defs.onnx_opset_version()
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    for version in versions:
        if not _FIRST_OPSET <= version <= newest:
            raise ValueError(f"must have an opset from {_FIRST_OPSET} to {newest}, got {version}")
    tensors = {}
    for tensor in graph.initializer:
        if tensor.name in tensors:
            raise ValueError(f"has two constants with the name {check.one_line(tensor.name)}")
        tensors[tensor.name] = tensor
    inputs = [value for value in graph.input if value.name not in tensors]
    if len(inputs) != 1:
        names = check.one_line(", ".join(value.name for value in inputs), 80)
        raise ValueError(f"must have one input, got {len(inputs)}: {names}")
    nodes = [_node(proto) for proto in graph.node]
    outputs = [value.name for value in graph.output]
    return Document(path, nodes, inputs[0].name, _sizes(inputs[0]), outputs, tensors)


def _sizes(value: Any) -> list[int | None]:
    """Return the shape of the input; None for a size that is not fixed."""
    of_tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not of_tensor.HasField("shape"):
        raise ValueError(f"input {check.one_line(value.name)} must be a tensor with a shape")
    if of_tensor.elem_type not in _TYPES:
        raise ValueError(f"input {check.one_line(value.name)} must have numbers")
    sizes = [int(size.dim_value) if size.HasField("dim_value") else None for size in of_tensor.shape.dim]
    if not 2 <= len(sizes) <= 8:
        raise ValueError(f"input {check.one_line(value.name)} must have a batch axis and others, got {len(sizes)} axes")
    # A batch axis of 0 or less is one that is not fixed.
    if sizes[0] is not None and sizes[0] < 1:
        sizes[0] = None
    for size in sizes[1:]:
        if size is None or not 1 <= size <= _MOST_SIZE:
            shown = ", ".join("?" if size is None else str(size) for size in sizes[1:])
            cure = "export it for one size of input"
            raise ValueError(f"input {check.one_line(value.name)} must have fixed sizes, got (N, {shown}); {cure}")
    return sizes


def _node(proto: Any) -> Node:
    """Return a node; refuse operators of other domains, and subgraphs."""
    name = check.one_line(proto.name or (proto.output[0] if proto.output else ""), 80)
    where = f"node {name} ({check.printable(proto.op_type, 40)})"
    node = Node(proto.op_type, where, list(proto.input), list(proto.output))
    if proto.domain not in _DOMAINS:
        raise node.refused(f"is an operator of {check.one_line(proto.domain, 40)}, which is not read")
    if len(node.inputs) + len(node.outputs) > _MOST_NODES:
        raise node.refused(f"must have at most {_MOST_NODES:,} inputs and outputs")
    for attribute in proto.attribute:
        node.attributes[attribute.name] = _attribute(node, attribute)
    return node


def _attribute(node: Node, attribute: Any) -> Any:
    """Return the value of an attribute; None of a kind that no operator here takes."""
    kind = attribute.type
    if attribute.HasField("g") or len(attribute.graphs) or kind in (attribute.GRAPH, attribute.GRAPHS):
        raise node.refused("has a subgraph, which is not read")
    if attribute.ref_attr_name:
        raise node.refused("belongs to a function, which is not read")
    if kind == attribute.FLOAT:
        return float(attribute.f)
    if kind == attribute.INT:
        return int(attribute.i)
    if kind == attribute.STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == attribute.TENSOR:
        return attribute.t
    if kind == attribute.FLOATS:
        return list(attribute.floats)
    if kind == attribute.INTS:
        return list(attribute.ints)
    return None
