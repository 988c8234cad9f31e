"""The operators of ONNX that are read, and those that only move axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.interchange.onnx import dense, windows
from cuslayer.interchange.onnx.axes import reshaped, sizes_of
from cuslayer.interchange.onnx.constants import (
    added_axes,
    axis_of,
    new_sizes,
    order_of,
    shape_of,
    squeezed,
)
from cuslayer.interchange.onnx.file import FLOATING, Node
from cuslayer.interchange.onnx.values import Ended, Reading, Value

Result: TypeAlias = "Value | Ended | Array | Sequence[Value | Ended]"


def _same(reading: Reading, node: Node) -> Value:
    return reading.live(node, 0)


def _cast(reading: Reading, node: Node) -> Value:
    if node.integer("to", 1) not in FLOATING:
        raise node.refused(f"casts numbers to the type {node.integer('to', 1)}, which is not read")
    return reading.live(node, 0)


def _with_sizes(reading: Reading, node: Node, value: Value, sizes: Sequence[int]) -> Value:
    """Return a value of other sizes, which begin with the batch."""
    if not sizes or sizes[0] != reading.batch:
        raise node.refused("moves the batch, which must stay the first axis")
    axes = reshaped(value.axes, sizes[1:])
    if axes is None:
        raise node.refused(f"mixes axes, from {sizes_of(value.axes)} to {check.one_line(list(sizes[1:]), 60)}")
    return replace(value, axes=axes)


def _sizes(reading: Reading, value: Value) -> list[int]:
    return [reading.batch, *sizes_of(value.axes)]


def _reshape(reading: Reading, node: Node) -> Value | Ended:
    value = reading.live(node, 0)
    wanted = reading.list_of(node, "shape", 1)
    if wanted is None:
        raise node.refused("must have a shape")
    sizes = new_sizes(node, _sizes(reading, value), wanted)
    # skl2onnx puts the outputs of all samples into one column; only the end of a network may do so.
    if sizes[-1:] == [1] and len(sizes) == 2 and sizes[0] != reading.batch:
        return Ended(value, node)
    return _with_sizes(reading, node, value, sizes)


def _flatten(reading: Reading, node: Node) -> Value:
    value = reading.live(node, 0)
    sizes = _sizes(reading, value)
    axis = axis_of(node, node.integer("axis", 1), len(sizes) + 1)
    return _with_sizes(reading, node, value, [math.prod(sizes[:axis]), math.prod(sizes[axis:])])


def _transpose(reading: Reading, node: Node) -> Value:
    value = reading.live(node, 0)
    order = order_of(node, len(value.axes) + 1)
    if order[0] != 0:
        raise node.refused("moves the batch, which must stay the first axis")
    return replace(value, axes=tuple(value.axes[axis - 1] for axis in order[1:]))


def _squeeze(reading: Reading, node: Node) -> Value:
    value = reading.live(node, 0)
    sizes = _sizes(reading, value)
    axes = reading.list_of(node, "axes", 1)
    if axes is None:
        # A batch of one sample stays.
        sizes[0] = 0
    removed = squeezed(node, sizes, axes)
    if 0 in removed:
        raise node.refused("removes the batch")
    return replace(value, axes=tuple(axis for place, axis in enumerate(value.axes, 1) if place not in removed))


def _unsqueeze(reading: Reading, node: Node) -> Value:
    value = reading.live(node, 0)
    added = added_axes(node, len(value.axes) + 1, reading.list_of(node, "axes", 1))
    if 0 in added:
        raise node.refused("adds an axis before the batch")
    axes = list(value.axes)
    for place in added:
        axes.insert(place - 1, ())
    return replace(value, axes=tuple(axes))


def _shape(reading: Reading, node: Node) -> Array:
    return shape_of(node, _sizes(reading, reading.live(node, 0)))


def _size(reading: Reading, node: Node) -> Array:
    return np.array(math.prod(_sizes(reading, reading.live(node, 0))) % 2**63, np.int64)


def _end(reading: Reading, node: Node) -> Ended:
    return Ended(reading.live(node, 0), node)


OPERATIONS: dict[str, Callable[[Reading, Node], Result]] = {
    "Add": dense.arithmetic,
    "ArgMax": _end,
    "AveragePool": windows.average_pool,
    "BatchNormalization": dense.batch_norm,
    "Cast": _cast,
    "Clip": dense.clip,
    "Concat": windows.concat,
    "Conv": windows.conv,
    "Div": dense.arithmetic,
    "Dropout": dense.dropout,
    "Flatten": _flatten,
    "Gemm": dense.gemm,
    "GlobalAveragePool": windows.global_average_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "Identity": _same,
    "LinearClassifier": dense.linear_classifier,
    "LinearRegressor": dense.linear_regressor,
    "LogSoftmax": _end,
    "MatMul": dense.matmul,
    "Max": dense.maximum,
    "MaxPool": windows.max_pool,
    "Mul": dense.arithmetic,
    "Neg": dense.negative,
    "Pad": windows.pad,
    "ReduceMax": windows.reduce_max,
    "ReduceMean": windows.reduce_mean,
    "Relu": dense.rectifier,
    "Reshape": _reshape,
    "Scaler": dense.scaler,
    "Shape": _shape,
    "Sigmoid": _end,
    "Size": _size,
    "Softmax": _end,
    "Squeeze": _squeeze,
    "Sub": dense.arithmetic,
    "Sum": dense.add,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "ZipMap": _end,
}
# What may follow the output of the network, and is left out: probabilities, and classes as numbers or texts.
ENDINGS = (
    *("ArgMax", "ArrayFeatureExtractor", "Binarizer", "Cast", "Clip", "Concat", "Div", "Flatten", "Gather", "Greater"),
    *("Identity", "LabelEncoder", "LogSoftmax", "Log", "Mul", "Neg", "Normalizer", "ReduceSum", "Reshape", "Sigmoid"),
    *("Softmax", "Squeeze", "Sub", "TopK", "Transpose", "Unsqueeze", "Where", "ZipMap", "Add", "Not", "Less", "Equal"),
)
