"""Operators that weigh features: products, BatchNormalization, arithmetic with constants, scikit-learn's models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cuslayer.backend import Array
from cuslayer.interchange.axes import finite_numbers
from cuslayer.interchange.onnx.axes import Part, channels_first, joined, places, size_of
from cuslayer.interchange.onnx.file import Node
from cuslayer.interchange.onnx.network import Stage, Weighted, rows_in_order
from cuslayer.interchange.onnx.values import Ended, Reading, Value

_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def weigh(reading: Reading, node: Node, value: Value, weight: Array, bias: Array | None = None) -> Value:
    """Return the product of the last axis of a value with a weight (inputs, outputs), plus a bias (outputs,)."""
    *others, last = value.axes
    inputs, outputs = weight.shape
    if size_of(last) != inputs or outputs < 1 or inputs < 1:
        raise node.refused(f"has a weight for {inputs} inputs, got {size_of(last)}")
    if bias is not None and bias.shape != (outputs,):
        raise node.refused(f"must have a bias of shape ({outputs},), got {bias.shape}")
    if any(others):
        return _of_each_place(reading, node, value, weight, bias)
    if any(value.border):
        value = reading.plain(node, value)
    weight = rows_in_order(weight, places(last))
    affine = value.affine
    if affine is not None:
        factor = np.broadcast_to(affine.factor, value.shape).reshape(-1, 1)
        addend = np.broadcast_to(affine.addend, value.shape).reshape(-1)
        shift = addend @ weight
        weight = weight * factor
        if bias is not None or shift.any():
            bias = shift + (0.0 if bias is None else bias)
    weighted = Weighted(weight, bias, inputs=value.shape)
    stage = reading.add(Stage((value.stage,), node.where, weighted.layer, weighted=weighted))
    return Value(stage, (outputs,), (*others, joined([Part(outputs, 1)])))


def _of_each_place(reading: Reading, node: Node, value: Value, weight: Array, bias: Array | None) -> Value:
    """Return the product at each pixel: a convolution with a window of one pixel."""
    count = len(value.axes)
    if count > 3:
        raise node.refused(f"weighs the last of {count + 1} axes")
    value = reading.frames(node, value, (2, 0, 1) if count == 3 else (1, -1, 0))
    value = reading.plain(node, value)
    weighted = Weighted(weight[None, None], bias)
    stage = reading.add(Stage((value.stage,), node.where, weighted.layer, weighted=weighted))
    shape = (*value.shape[:2], weight.shape[1])
    channels, rows, columns = channels_first(shape)
    return Value(stage, shape, (rows, columns, channels) if count == 3 else (columns, channels))


def gemm(reading: Reading, node: Node) -> Value:
    """Read Gemm."""
    value = reading.live(node, 0)
    weight = reading.weights(node, 1)
    if node.integer("transA", 0) or weight.ndim != 2 or len(value.axes) != 1:
        raise node.refused("must multiply features (N, inputs) by a weight of two axes, without transA")
    weight = (weight.T if node.integer("transB", 0) else weight) * node.number("alpha", 1.0)
    bias = None
    if reading.has(node, 2):
        addend = reading.weights(node, 2) * node.number("beta", 1.0)
        bias = _one_row(node, addend, weight.shape[1])
    return weigh(reading, node, value, weight, bias)


def _one_row(node: Node, addend: Array, outputs: int) -> Array:
    """Return what is added to each sample, (outputs,)."""
    if addend.size not in (1, outputs) or addend.ndim > 2 or addend.shape[:-1] not in ((), (1,)):
        raise node.refused(f"must add ({outputs},), got {addend.shape}")
    return np.broadcast_to(addend.reshape(-1), (outputs,))


def matmul(reading: Reading, node: Node) -> Value:
    """Read MatMul of a value by a weight."""
    value = reading.live(node, 0)
    weight = reading.weights(node, 1)
    if weight.ndim != 2:
        raise node.refused(f"must multiply by a weight of two axes, got {weight.ndim}")
    return weigh(reading, node, value, weight)


def batch_norm(reading: Reading, node: Node) -> Value:
    """Read BatchNormalization in evaluation: a factor and an addend for each channel."""
    value = reading.live(node, 0)
    if node.integer("training_mode", 0):
        raise node.refused("is in training mode; export the model in evaluation, as model.eval() sets it")
    gain, offset, mean, variance = (reading.weights(node, place).astype(np.float64) for place in range(1, 5))
    channels = size_of(value.axes[0])
    if not gain.shape == offset.shape == mean.shape == variance.shape == (channels,):
        raise node.refused(f"must have four constants for each of {channels} channels")
    with np.errstate(all="ignore"):
        factor = gain / np.sqrt(variance + node.number("epsilon", 1e-5))
    sizes = (channels, *([1] * (len(value.axes) - 1)))
    return reading.affine(node, value, factor.reshape(sizes), (offset - mean * factor).reshape(sizes))


def arithmetic(reading: Reading, node: Node) -> Value:
    """Read Add, Sub, Mul and Div of a value and a constant, and Add of values."""
    if node.operator == "Add" and reading.is_live(node, 0) and reading.is_live(node, 1):
        return add(reading, node)
    place = 0 if reading.is_live(node, 0) else 1
    value = reading.live(node, place)
    if reading.is_live(node, 1 - place) or (node.operator == "Div" and place == 1):
        raise node.refused("is read for a value and a constant only")
    constant = reading.weights(node, 1 - place).astype(np.float64)
    if constant.ndim > len(value.axes):
        # The batch axis.
        if constant.ndim != len(value.axes) + 1 or constant.shape[0] != 1:
            raise node.refused(f"takes a constant of shape {constant.shape}, which differs between samples")
        constant = constant[0]
    one = np.ones(())
    zero = np.zeros(())
    if node.operator == "Add":
        return reading.affine(node, value, one, constant)
    if node.operator == "Sub":
        return (
            reading.affine(node, value, one, -constant) if place == 0 else reading.affine(node, value, -one, constant)
        )
    if node.operator == "Mul":
        return reading.affine(node, value, constant, zero)
    with np.errstate(all="ignore"):
        return reading.affine(node, value, 1.0 / constant, zero)


def negative(reading: Reading, node: Node) -> Value:
    """Read Neg."""
    return reading.affine(node, reading.live(node, 0), -np.ones(()), np.zeros(()))


def add(reading: Reading, node: Node) -> Value:
    """Read Add or Sum of values: the join of branches."""
    values = [reading.plain(node, reading.live(node, place)) for place in range(len(node.inputs))]
    first = values[0]
    for other in values[1:]:
        if other.shape != first.shape or other.axes != first.axes:
            raise node.refused("adds values of different shapes, or with axes in another order")
    return reading.joined(node, values, "add", first.shape, first.axes)


def _rows(node: Node, name: str, count: int) -> Array:
    """Return an attribute that is `count` rows of finite numbers."""
    numbers = finite_numbers(name, node.numbers(name) or [])
    if count < 1 or not numbers.size or numbers.size % count:
        raise node.refused(f"must have {name} for {count} outputs, got {numbers.size}")
    return numbers.astype(np.float32).reshape(count, -1)


def linear_classifier(reading: Reading, node: Node) -> Sequence[Value | Ended]:
    """Read LinearClassifier of scikit-learn: a dense layer; its labels and probabilities are left out."""
    intercepts = node.numbers("intercepts")
    labels = node.integers("classlabels_ints") or node.attributes.get("classlabels_strings") or [0, 1]
    outputs = len(intercepts) if intercepts else len(labels)
    value = _linear(reading, node, outputs)
    if node.text("post_transform", "NONE") not in _TRANSFORMS:
        raise node.refused("has an unknown post_transform")
    return Ended(value, node), Ended(value, node)


def linear_regressor(reading: Reading, node: Node) -> Value:
    """Read LinearRegressor of scikit-learn: a dense layer."""
    if node.text("post_transform", "NONE") != "NONE":
        raise node.refused("has a post_transform, which is not read")
    return _linear(reading, node, node.integer("targets", 1))


def _linear(reading: Reading, node: Node, outputs: int) -> Value:
    weight = _rows(node, "coefficients", outputs).T
    bias = _rows(node, "intercepts", outputs).reshape(-1) if node.numbers("intercepts") else None
    value = reading.live(node, 0)
    if len(value.axes) != 1:
        raise node.refused("must have features (N, inputs)")
    return weigh(reading, node, value, weight, bias)


def scaler(reading: Reading, node: Node) -> Value:
    """Read Scaler of scikit-learn: (x - offset) scale."""
    value = reading.live(node, 0)
    offset = finite_numbers("offset", node.numbers("offset") or [0.0]).astype(np.float64)
    scale = finite_numbers("scale", node.numbers("scale") or [1.0]).astype(np.float64)
    return reading.affine(node, value, scale, -offset * scale)


def rectifier(reading: Reading, node: Node) -> Value:
    """Read Relu."""
    return reading.rectified(node, reading.live(node, 0))


def clip(reading: Reading, node: Node) -> Value:
    """Read Clip from 0, without an upper bound."""
    low = reading.weights(node, 1) if reading.has(node, 1) else np.array(node.attributes.get("min", -np.inf))
    high = reading.constant(node, 2) if reading.has(node, 2) else np.array(node.attributes.get("max", np.inf))
    value = reading.live(node, 0)
    is_bound = low.size == high.size == 1 and low.dtype.kind in "iuf" and high.dtype.kind in "iuf"
    if not is_bound or low.reshape(-1)[0] != 0 or high.reshape(-1)[0] < np.finfo(np.float32).max:
        bounds = f"{np.ravel(low)[:1].tolist()} to {np.ravel(high)[:1].tolist()}"
        raise node.refused(f"clips from {bounds}; it is read as Relu, from 0 without an upper bound")
    return reading.rectified(node, value)


def maximum(reading: Reading, node: Node) -> Value:
    """Read Max of a value and 0, which is Relu."""
    places_live = [place for place in range(len(node.inputs)) if reading.is_live(node, place)]
    others = [reading.weights(node, place) for place in range(len(node.inputs)) if place not in places_live]
    if len(places_live) != 1 or len(others) != 1 or others[0].size != 1 or others[0].any():
        raise node.refused("is read for a value and 0 only")
    return reading.rectified(node, reading.live(node, places_live[0]))


def dropout(reading: Reading, node: Node) -> Value:
    """Read Dropout in evaluation, where it does nothing."""
    if reading.has(node, 2) and reading.constant(node, 2).any():
        raise node.refused("is in training mode; export the model in evaluation, as model.eval() sets it")
    return replace(reading.live(node, 0))
