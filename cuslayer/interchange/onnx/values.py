"""The values of a graph while it is read: which stage holds each, its axes, and what the next layer still has to do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cuslayer.backend import Array
from cuslayer.interchange.axes import finite_numbers
from cuslayer.interchange.onnx.axes import Axes, Part, Shape, channels_first, in_order, joined, sizes_of, spread
from cuslayer.interchange.onnx.constants import listed
from cuslayer.interchange.onnx.file import Document, Node
from cuslayer.interchange.onnx.network import INPUT, Stage, Weighted
from cuslayer.layers import ReLU

# A batch of unknown size in the arithmetic of shapes: a prime, which no product of the sizes of a network equals.
_BATCH = 1_000_003
# The features of a dense layer that only scales, and the channels of such a convolution.
_MOST_SCALED = {1: 2**12, 3: 2**16}


class OtherAxes(Exception):
    """The input of the network must be read as frames (H, W, C): `axes` has the axes of the three in our tensor."""

    def __init__(self, axes: Axes) -> None:
        super().__init__()
        self.axes = axes


@dataclass(frozen=True)
class Affine:
    """A factor and an addend that the next layer applies first, float64, which broadcast to our tensor."""

    factor: Array
    addend: Array

    def then(self, factor: Array, addend: Array) -> Affine:
        """Return both maps as one."""
        return Affine(self.factor * factor, self.addend * factor + addend)


@dataclass(frozen=True)
class Value:
    """A value of the graph.

    Attributes:
        stage: the number of the stage whose output it is.
        shape: the shape of our tensor after T and N, with the borders.
        axes: the value's axes, without the batch, in our tensor.
        alone: whether nothing else takes the output of the stage.
        open: whether the tensor has the axes of the network's input, which no layer has determined.
        affine: a map that is left to the next layer.
        border: rows before and after, columns before and after, of zeros that are left to the next layer.
        positive: whether no element is below 0.
    """

    stage: int
    shape: Shape
    axes: Axes
    alone: bool = True
    open: bool = False
    affine: Affine | None = None
    border: tuple[int, int, int, int] = (0, 0, 0, 0)
    positive: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether nothing is left to the next layer."""
        return self.affine is None and not any(self.border)


@dataclass(frozen=True)
class Ended:
    """Probabilities or a class, computed from the network's output by operators that are left out."""

    value: Value
    node: Node


class Reading:
    """The stages of the network so far, and the values by name.

    Args:
        document: the file.
        opened: the axes of the input as frames, from `OtherAxes`; None while no layer has determined them.
    """

    def __init__(self, document: Document, opened: Axes | None) -> None:
        self.document = document
        self.stages = list[Stage]()
        # The stages that concatenate, by all their inputs.
        self.concatenated = dict[tuple[int, ...], int]()
        self.named: dict[str, Value | Ended | Array] = {}
        self.batch = document.sizes[0] or _BATCH
        sizes = [size or 0 for size in document.sizes[1:]]
        if opened is None:
            self.input = Value(INPUT, tuple(sizes), in_order(sizes), alone=False, open=True)
        else:
            shape = (*(math.prod(sizes_of((axis,))) for axis in opened),)
            self.input = Value(INPUT, shape, _moved(in_order(sizes), opened), alone=False)

    def is_live(self, node: Node, place: int) -> bool:
        """Return whether an input of a node is a value that depends on the network's input."""
        return isinstance(self.named.get(_name(node, place)), (Value, Ended))

    def has(self, node: Node, place: int) -> bool:
        """Return whether a node has an optional input."""
        return _name(node, place) != ""

    def live(self, node: Node, place: int) -> Value:
        """Return an input of a node that depends on the network's input."""
        value = self.named.get(_name(node, place))
        if isinstance(value, Ended):
            raise value.node.refused("is read at the end of a network only")
        if not isinstance(value, Value):
            raise node.refused(f"must have an input {place} that depends on the network's input")
        return value

    def constant(self, node: Node, place: int) -> Array:
        """Return an input of a node that is a constant."""
        value = self.named.get(_name(node, place))
        if not isinstance(value, np.ndarray):
            raise node.refused(f"must have a constant as input {place}")
        return value

    def weights(self, node: Node, place: int) -> Array:
        """Return an input of a node that is a constant of numbers, finite in float32."""
        value = finite_numbers(f"input {place}", self.constant(node, place))
        return value.astype(np.float32) if value.dtype.kind == "f" else value

    def list_of(self, node: Node, name: str, place: int) -> list[int] | None:
        """Return a list of integers that is an attribute or, in later opsets, an input; None if it is absent."""
        given: list[Array | None] = [None] * place
        given.append(self.constant(node, place) if self.has(node, place) else None)
        return listed(node, name, place, given)

    def add(self, stage: Stage) -> int:
        """Append a stage and return its number."""
        self.stages.append(stage)
        return len(self.stages) - 1

    def frames(self, node: Node, value: Value, axes: Sequence[int] = (0, 1, 2)) -> Value:
        """Return a value whose tensor is frames (H, W, C), which are the given axes of the value: C, H and W.

        A value of two axes has rows of one pixel, and -1 stands for an axis that it does not have.
        """
        wanted = tuple(() if axis < 0 else value.axes[axis] for axis in axes)
        channels, rows, columns = wanted
        if len(value.shape) == 3 and not value.open and wanted == channels_first(value.shape):
            return value
        if value.open:
            raise OtherAxes((rows, columns, channels))
        raise node.refused("takes frames whose rows, columns and channels an operator before it has mixed")

    def spatial(self, node: Node, value: Value) -> Value:
        """Return `frames` of a value (N, C, H, W) or (N, C, L)."""
        if len(value.axes) not in (2, 3):
            raise node.refused(f"takes frames (N, C, H, W) or (N, C, L), got {len(value.axes) + 1} axes")
        return self.frames(node, value, (0, 1, 2) if len(value.axes) == 3 else (0, -1, 1))

    def settle(self, node: Node, value: Value) -> None:
        """Determine the axes of the network's input, if a value has them and no layer has."""
        if value.open and len(value.shape) > 1:
            raise OtherAxes(usual_frames(value.shape))

    def affine(self, node: Node, value: Value, factor: Array, addend: Array) -> Value:
        """Return a value times a factor plus an addend, which broadcast to it after the batch."""
        if any(value.border):
            value = self.plain(node, value)
        ours: list[Array] = []
        for numbers in (factor, addend):
            numbers = finite_numbers("a constant", numbers).astype(np.float64)
            extra = len(value.axes) - numbers.ndim
            sizes = (*([1] * extra), *numbers.shape)
            fits = all(size in (1, full) for size, full in zip(sizes, sizes_of(value.axes), strict=False))
            if extra < 0 or not fits:
                shapes = f"{numbers.shape} and (N, {', '.join(map(str, sizes_of(value.axes)))})"
                raise node.refused(f"has shapes that do not fit, {shapes}")
            ours.append(spread(numbers.reshape(sizes), value.axes, value.shape))
        return self._scaled(value, *ours)

    def _scaled(self, value: Value, factor: Array, addend: Array) -> Value:
        weighted = None if value.stage == INPUT else self.stages[value.stage].weighted
        by_channel = math.prod(factor.shape[:-1]) == math.prod(addend.shape[:-1]) == 1
        if weighted is not None and weighted.trained and value.alone and value.affine is None and by_channel:
            weighted.scale(factor.reshape(-1), addend.reshape(-1))
            return replace(value, positive=False)
        before = Affine(np.ones(()), np.zeros(())) if value.affine is None else value.affine
        return replace(value, affine=before.then(factor, addend), positive=False)

    def plain(self, node: Node, value: Value, *, border: bool = True) -> Value:
        """Return a value with nothing left to the next layer, or with its border if `border` is False."""
        affine = value.affine
        if affine is not None:
            value = self._with_layer(node, value, affine)
        if border and any(value.border):
            channels = value.shape[-1]
            self._check_scaled(node, value)
            passed = Weighted(np.ones((1, 1, 1, channels), np.float32), trained=False)
            kernel, options = padded(node, passed.weight, value.border, (1, 1))
            passed.weight = kernel
            passed.options = {**options, "groups": channels}
            stage = self.add(Stage((value.stage,), node.where, passed.layer, weighted=passed))
            value = replace(value, stage=stage, border=(0, 0, 0, 0), alone=True)
        return value

    def _with_layer(self, node: Node, value: Value, affine: Affine) -> Value:
        """Return a value after a layer that applies a map by itself."""
        self.settle(node, value)
        self._check_scaled(node, value)
        outputs = value.shape[-1]
        factor = affine.factor
        addend = affine.addend
        if math.prod(factor.shape[:-1]) != 1 or math.prod(addend.shape[:-1]) != 1:
            raise node.refused("takes constants that differ from pixel to pixel, and are not before a dense layer")
        factor = np.broadcast_to(factor.reshape(-1), (outputs,))
        addend = np.broadcast_to(addend.reshape(-1), (outputs,))
        if len(value.shape) == 3:
            weighted = Weighted(factor.reshape(1, 1, 1, outputs), addend, options={"groups": outputs})
        else:
            weighted = Weighted(np.diag(factor), addend, inputs=value.shape)
        if not addend.any():
            weighted.bias = None
        stage = self.add(Stage((value.stage,), node.where, weighted.layer, weighted=weighted))
        return replace(value, stage=stage, affine=None, alone=True)

    def _check_scaled(self, node: Node, value: Value) -> None:
        """Raise ValueError unless a layer may scale each channel of a value."""
        most = _MOST_SCALED.get(len(value.shape), 0)
        if value.shape[-1] > most:
            raise node.refused(f"takes {value.shape[-1]:,} scaled or padded channels, at most {most:,} are read")

    def rectified(self, node: Node, value: Value) -> Value:
        """Return the positive part of a value."""
        value = self.plain(node, value, border=False)
        stage = self.add(Stage((value.stage,), node.where, ReLU))
        return replace(value, stage=stage, alone=True, positive=True)

    def joined(self, node: Node, values: Sequence[Value], how: str, shape: Shape, axes: Axes) -> Value:
        """Return the join of values, of a shape."""
        inputs = tuple(value.stage for value in values)
        if how == "concatenate":
            inputs = self._nested(inputs)
        stage = self.add(Stage(inputs, node.where, join=how))
        is_open = any(value.open for value in values)
        positive = all(value.positive for value in values)
        return Value(stage, shape, axes, open=is_open, positive=positive)

    def _nested(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """Return inputs of a concatenation with an earlier one in the place of its own: so branches are nested."""
        known = inputs
        for count in range(len(inputs) - 1, 1, -1):
            if inputs[:count] in self.concatenated:
                known = (self.concatenated[inputs[:count]], *inputs[count:])
                break
        self.concatenated[inputs] = len(self.stages)
        return known


def _name(node: Node, place: int) -> str:
    return node.inputs[place] if place < len(node.inputs) else ""


def usual_frames(sizes: Shape, channels: str | None = None) -> Axes:
    """Return the axes of an input as frames (H, W, C), where no layer determines them.

    An input of three axes has its channels first, as in ONNX, or last if the last axis is the shorter one.
    """
    axes = in_order(sizes)
    if len(sizes) == 2:
        return (), axes[1], axes[0]
    if len(sizes) != 3:
        return (), (), joined(itertools.chain.from_iterable(axes))
    first = sizes[0] <= sizes[2] if channels is None else channels == "first"
    return (axes[1], axes[2], axes[0]) if first else axes


def _moved(axes: Axes, opened: Axes) -> Axes:
    """Return axes of a tensor in order as axes of a tensor whose axes are `opened`, in terms of the first."""
    parts = [part for axis in opened for part in axis]
    strides = dict[int, Part]()
    stride = 1
    for part in reversed(parts):
        strides[part.stride] = Part(part.size, stride)
        stride *= part.size
    result = list[tuple[Part, ...]]()
    for axis in axes:
        low = axis[0].stride if axis else 1
        high = low * (axis[0].size if axis else 1)
        # The parts of an axis, the outermost first.
        within = sorted((old for old in strides if low <= old < high), reverse=True)
        result.append(joined(strides[old] for old in within))
    return tuple(result)


def padded(
    node: Node, weight: Array, border: Sequence[int], dilation: Sequence[int], *, most: int = 16
) -> tuple[Array, dict[str, tuple[int, int]]]:
    """Return a kernel and its padding for a border of zeros; taps of 0 make up for one that is not even.

    Args:
        node: the node, for errors.
        weight: (kh, kw, inputs, outputs).
        border: rows before and after, and columns.
        dilation: rows and columns between taps.
        most: the largest number of taps that may be added.
    """
    around = list[int]()
    for axis, gap in enumerate(dilation):
        before, after = border[2 * axis : 2 * axis + 2]
        taps, rest = divmod(abs(before - after), gap)
        if rest or taps > max(most, 0):
            raise node.refused(f"pads {before} before and {after} after an axis: they differ too much to be read")
        width = [(0, 0)] * 4
        width[axis] = (taps, 0) if after > before else (0, taps)
        weight = np.pad(weight, width) if taps else weight
        around.append(max(before, after))
    return weight, {"padding": (around[0], around[1])}
