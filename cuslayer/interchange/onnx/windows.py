"""Operators with a window: convolution, and mean and maximum pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cuslayer._base import check
from cuslayer.interchange.onnx.axes import Axes, Axis, Shape, channels_first
from cuslayer.interchange.onnx.constants import axes_of
from cuslayer.interchange.onnx.dense import weigh
from cuslayer.interchange.onnx.file import Node
from cuslayer.interchange.onnx.network import Stage, Weighted
from cuslayer.interchange.onnx.values import Reading, Value, padded
from cuslayer.layers import AvgPool, GlobalAvgPool, Layer, MaxPool

# Rows and columns of a window, its distances and its padding.
_MOST_SIZE = 4096
_AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
Four = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Window:
    """A window of two axes, and the rows and columns of its outputs.

    Attributes:
        border: what it pads, rows before and after, columns before and after.
        outputs: the number of windows along each axis.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    border: Four
    outputs: tuple[int, int]

    def ends(self, image: Sequence[int]) -> list[int]:
        """Return how far the last windows reach beyond the rows and the columns of an image."""
        return [
            (outputs - 1) * stride + dilation * (kernel - 1) + 1 - before - size
            for outputs, stride, dilation, kernel, before, size in zip(
                self.outputs, self.stride, self.dilation, self.kernel, self.border[::2], image, strict=False
            )
        ]

    def needed(self, value: Value) -> Four:
        """Return the border that the windows reach, with a value's own, and even where that is possible."""
        border = list[int]()
        for axis, end in enumerate(self.ends(value.shape[:2])):
            before = self.border[2 * axis] + value.border[2 * axis]
            after = end + value.border[2 * axis + 1]
            # More by less than a stride adds no window.
            is_even = after <= before < after + self.stride[axis]
            border += [before, before if is_even else max(after, 0)]
        return border[0], border[1], border[2], border[3]


def _listed(node: Node, name: str, count: int, default: int, least: int) -> list[int]:
    """Return an attribute of `count` sizes."""
    values = node.integers(name)
    values = [default] * count if values is None else values
    if len(values) != count or not all(least <= value <= _MOST_SIZE for value in values):
        got = check.one_line(values, 60)
        raise node.refused(f"must have {count} {name} from {least} to {_MOST_SIZE:,}, got {got}")
    return values


def _window(node: Node, image: Shape, axes: int, kernel: list[int]) -> _Window:
    """Return the window of a node on an image; a window of one axis has one row."""
    stride = _listed(node, "strides", axes, 1, 1)
    dilation = _listed(node, "dilations", axes, 1, 1)
    pads = _listed(node, "pads", 2 * axes, 0, 0)
    auto = check.one_of("auto_pad", node.text("auto_pad", "NOTSET"), _AUTO_PADS)
    ceil = node.integer("ceil_mode", 0) != 0
    border = list[int]()
    outputs = list[int]()
    for axis in range(axes):
        size = image[axis + 2 - axes]
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        before = pads[axis]
        after = pads[axis + axes]
        if auto == "VALID":
            before = after = 0
        elif auto != "NOTSET":
            whole = max(0, (math.ceil(size / stride[axis]) - 1) * stride[axis] + reach - size)
            after = whole // 2
            before = whole - after
            if auto == "SAME_UPPER":
                before, after = after, before
        over = size + before + after - reach
        if over < 0:
            raise node.refused(f"has a window that spans {reach} of {size + before + after}")
        count = (math.ceil(over / stride[axis]) if ceil else over // stride[axis]) + 1
        # No window begins in the border after the image.
        if ceil and (count - 1) * stride[axis] >= size + before:
            count -= 1
        border += [before, after]
        outputs.append(count)
    if axes == 1:
        border = [0, 0, *border]
        kernel, stride, dilation, outputs = [1, *kernel], [1, *stride], [1, *dilation], [1, *outputs]
    return _Window(_two(kernel), _two(stride), _two(dilation), (*border,), _two(outputs))  # type: ignore[arg-type]


def _two(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]


def _of_axes(shape: Shape, count: int) -> Axes:
    """Return the axes (C, H, W) of frames, or (C, L)."""
    channels, rows, columns = channels_first(shape)
    return (channels, rows, columns) if count == 3 else (channels, columns)


def conv(reading: Reading, node: Node) -> Value:
    """Read Conv; a map before it goes into its weights, where its border does not forbid it."""
    value = reading.live(node, 0)
    weight = reading.weights(node, 1)
    bias = reading.weights(node, 2) if reading.has(node, 2) else None
    if weight.ndim not in (3, 4) or weight.ndim != len(value.axes) + 1:
        raise node.refused(f"must have frames of one or two dimensions, and a kernel for them, got {weight.shape}")
    outputs, inputs, *kernel = weight.shape
    if bias is not None and bias.shape != (outputs,):
        raise node.refused(f"must have a bias of shape ({outputs},), got {bias.shape}")
    if _listed(node, "kernel_shape", len(kernel), 0, 0) not in (kernel, [0] * len(kernel)):
        raise node.refused(f"must have the kernel_shape {tuple(kernel)} of its weight")
    groups = node.integer("group", 1)
    channels = _channels(value)
    if groups < 1 or inputs * groups != channels or outputs % groups or min(weight.shape) < 1:
        raise node.refused(
            f"has a weight of shape {weight.shape} in {groups} groups, its input has {channels} channels"
        )
    ours = weight.reshape(outputs, inputs, *([1] * (4 - weight.ndim)), *kernel).transpose(2, 3, 1, 0)
    if value.shape == (channels,) and not value.open and set(kernel) == {1} and groups == 1 and not _pads(node):
        # Features without pixels, as a mean over all pixels has: a dense layer.
        dense = weigh(reading, node, replace(value, axes=value.axes[:1]), ours[0, 0], bias)
        return replace(dense, axes=(*dense.axes, *([()] * len(kernel))))
    value = reading.spatial(node, value)
    window = _window(node, value.shape[:2], len(kernel), kernel)
    border = window.needed(value)
    if value.affine is not None and (value.affine.addend.any() and any(border)):
        value = reading.plain(node, value, border=False)
    weighted = Weighted(ours, bias)
    if value.affine is not None:
        value = _merged(reading, node, value, weighted, groups)
    weighted.weight, options = padded(node, weighted.weight, border, window.dilation, most=min(ours.shape[:2]))
    weighted.options = {**options, "stride": window.stride, "dilation": window.dilation, "groups": groups}
    stage = reading.add(Stage((value.stage,), node.where, weighted.layer, weighted=weighted))
    shape = (*window.outputs, outputs)
    return Value(stage, shape, _of_axes(shape, len(kernel) + 1))


def _pads(node: Node) -> bool:
    return any(node.integers("pads") or [])


def _channels(value: Value) -> int:
    return math.prod(part.size for part in value.axes[0])


def _sum(first: Four, second: Four) -> Four:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2], first[3] + second[3]


def _merged(reading: Reading, node: Node, value: Value, weighted: Weighted, groups: int) -> Value:
    """Put the map before a convolution into its weights, or into a layer before it if it differs between pixels."""
    affine = value.affine
    if affine is None or math.prod(affine.factor.shape[:-1]) != 1 or math.prod(affine.addend.shape[:-1]) != 1:
        return reading.plain(node, value, border=False)
    channels = value.shape[-1]
    inputs, outputs = weighted.weight.shape[2:]
    # The input channel of each weight.
    group = np.arange(outputs) * groups // outputs
    channel = np.arange(inputs)[:, None] + group * inputs
    factor = np.broadcast_to(affine.factor.reshape(-1), (channels,))[channel]
    addend = np.broadcast_to(affine.addend.reshape(-1), (channels,))[channel]
    bias = (weighted.weight * addend).sum(axis=(0, 1, 2))
    weighted.weight = weighted.weight * factor
    if weighted.bias is not None or bias.any():
        weighted.bias = bias + (0.0 if weighted.bias is None else weighted.bias)
    return replace(value, affine=None)


def _pooled(reading: Reading, node: Node, value: Value, window: _Window, make: Callable[[], Layer]) -> Value:
    """Append a pooling layer."""
    stage = reading.add(Stage((value.stage,), node.where, make))
    shape = (*window.outputs, value.shape[2])
    return Value(stage, shape, _of_axes(shape, len(value.axes)), positive=value.positive)


def _evenly(reading: Reading, node: Node, value: Value, border: Four) -> tuple[Value, tuple[int, int]]:
    """Return a value and the padding of the next layer; a layer before it makes a border that is not even."""
    if border[0] == border[1] and border[2] == border[3]:
        return value, (border[0], border[2])
    return reading.plain(node, replace(value, border=border)), (0, 0)


def _kernel(node: Node, value: Value) -> list[int]:
    kernel = _listed(node, "kernel_shape", len(value.axes) - 1, 0, 1)
    if node.integer("storage_order", 0):
        raise node.refused("has a storage_order other than 0")
    return kernel


def average_pool(reading: Reading, node: Node) -> Value:
    """Read AveragePool."""
    value = reading.spatial(node, reading.live(node, 0))
    value = reading.plain(node, value, border=False)
    kernel = _kernel(node, value)
    window = _window(node, value.shape[:2], len(kernel), kernel)
    ends = window.ends(value.shape)
    counted = window.border[1::2] if node.integer("count_include_pad", 0) else (0, 0)
    before = window.border[::2] if not node.integer("count_include_pad", 0) else (0, 0)
    if any(before) or ends[0] > counted[0] or ends[1] > counted[1]:
        why = "takes the mean of fewer pixels at the border, which is not read"
        raise node.refused(f"{why}; use count_include_pad=1 and no ceil_mode, or no padding")
    value, padding = _evenly(reading, node, value, window.needed(value))

    def make() -> Layer:
        return AvgPool(window.kernel, stride=window.stride, padding=padding, dilation=window.dilation)

    return _pooled(reading, node, value, window, make)


def max_pool(reading: Reading, node: Node) -> Value:
    """Read MaxPool; a border that is not even becomes zeros, where no pixel is below 0."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refused("has the places of its maxima as an output, which is not read")
    value = reading.spatial(node, reading.live(node, 0))
    value = reading.plain(node, value, border=not value.positive)
    kernel = _kernel(node, value)
    window = _window(node, value.shape[:2], len(kernel), kernel)
    border = window.needed(value)
    if not value.positive and (border[0] != border[1] or border[2] != border[3]):
        raise node.refused("pads one side more than the other, which is read after Relu only")
    value, padding = _evenly(reading, node, value, border)

    def make() -> Layer:
        return MaxPool(window.kernel, stride=window.stride, padding=padding, dilation=window.dilation)

    return _pooled(reading, node, value, window, make)


def global_average_pool(reading: Reading, node: Node) -> Value:
    """Read GlobalAveragePool."""
    value = reading.live(node, 0)
    return _mean(reading, node, reading.spatial(node, value), list(range(1, len(value.axes))), keep=True)


def global_max_pool(reading: Reading, node: Node) -> Value:
    """Read GlobalMaxPool."""
    value = reading.live(node, 0)
    return _largest(reading, node, reading.spatial(node, value), list(range(1, len(value.axes))), keep=True)


def reduce_mean(reading: Reading, node: Node) -> Value:
    """Read ReduceMean over all pixels."""
    value, axes, keep = _reduction(reading, node)
    return _mean(reading, node, value, axes, keep=keep)


def reduce_max(reading: Reading, node: Node) -> Value:
    """Read ReduceMax over all pixels."""
    value, axes, keep = _reduction(reading, node)
    return _largest(reading, node, value, axes, keep=keep)


def _reduction(reading: Reading, node: Node) -> tuple[Value, list[int], bool]:
    """Return a value, the axes over which a node reduces it, without the batch, and whether they stay as 1."""
    value = reading.live(node, 0)
    reading.settle(node, value)
    axes = reading.list_of(node, "axes", 1)
    count = len(value.axes) + 1
    if not axes:
        raise node.refused("must name the axes of rows and columns, over which it reduces")
    chosen = axes_of(node, axes, count)
    if 0 in chosen:
        raise node.refused("reduces over the batch")
    return value, [axis - 1 for axis in chosen], node.integer("keepdims", 1) != 0


def _reduced_axes(node: Node, value: Value, axes: list[int], *, keep: bool) -> Axes:
    """Return the axes that are left of the channels; raise ValueError if pixels would be left, or channels reduced."""
    channels = value.shape[-1]
    lost = [part for axis in axes for part in value.axes[axis]]
    left = [part for axis, parts in enumerate(value.axes) if axis not in axes for part in parts]
    if any(part.stride < channels for part in lost) or any(part.stride >= channels for part in left):
        raise node.refused("must reduce over all rows and columns, and not over channels")
    return tuple(() if axis in axes else parts for axis, parts in enumerate(value.axes) if keep or axis not in axes)


def _mean(reading: Reading, node: Node, value: Value, axes: list[int], *, keep: bool) -> Value:
    left = _reduced_axes(node, value, axes, keep=keep)
    if len(value.shape) == 1:
        return replace(value, axes=left)
    value = reading.plain(node, value)
    stage = reading.add(Stage((value.stage,), node.where, GlobalAvgPool))
    return Value(stage, value.shape[-1:], left, positive=value.positive)


def _largest(reading: Reading, node: Node, value: Value, axes: list[int], *, keep: bool) -> Value:
    left = _reduced_axes(node, value, axes, keep=keep)
    if len(value.shape) == 1:
        return replace(value, axes=left)
    value = reading.plain(node, value)
    rows, columns, channels = value.shape
    stage = reading.add(Stage((value.stage,), node.where, lambda: MaxPool((rows, columns))))
    return Value(stage, (1, 1, channels), left, positive=value.positive)


def pad(reading: Reading, node: Node) -> Value:
    """Read Pad with zeros around frames, which the next layer adds."""
    value = reading.live(node, 0)
    reading.settle(node, value)
    mode = node.text("mode", "constant")
    filled = reading.constant(node, 2) if reading.has(node, 2) else np.full(1, node.number("value", 0.0))
    if mode != "constant" or np.any(filled != 0):
        raise node.refused("pads with something else than zeros")
    pads = reading.list_of(node, "pads", 1) or []
    count = len(value.axes) + 1
    chosen = reading.constant(node, 3) if reading.has(node, 3) else np.arange(count)
    axes = axes_of(node, [int(axis) for axis in chosen.reshape(-1)], count)
    if len(pads) != 2 * len(axes) or not all(0 <= size <= _MOST_SIZE for size in pads):
        raise node.refused(f"must have two pads for each axis, from 0 to {_MOST_SIZE:,}")
    given = {axis: (pads[place], pads[place + len(axes)]) for place, axis in enumerate(axes)}
    if not any(pads):
        return value
    if value.affine is not None:
        value = reading.plain(node, value, border=False)
    return _bordered(node, value, given)


def _bordered(node: Node, value: Value, given: dict[int, tuple[int, int]]) -> Value:
    """Return a value with a wider border, by axes of the value with the batch."""
    if len(value.shape) != 3:
        raise node.refused("pads something else than frames")
    channels, rows, columns = channels_first(value.shape)
    border = [0, 0, 0, 0]
    for axis, sizes in given.items():
        if not any(sizes):
            continue
        parts = value.axes[axis - 1] if axis else ()
        place = {rows: 0, columns: 2}.get(parts)
        if place is None or not parts:
            raise node.refused("pads an axis that is neither rows nor columns, or has one pixel")
        border[place : place + 2] = sizes
    height, width, depth = value.shape
    shape = (height + border[0] + border[1], width + border[2] + border[3], depth)
    now = dict(zip((channels, rows, columns), channels_first(shape), strict=True))
    if any(parts and parts not in now for parts in value.axes):
        raise node.refused("pads frames whose axes are joined or split")
    axes = tuple(now[parts] if parts else () for parts in value.axes)
    added = (border[0], border[1], border[2], border[3])
    return replace(value, shape=shape, axes=axes, border=_sum(value.border, added), open=False)


def concat(reading: Reading, node: Node) -> Value:
    """Read Concat of channels."""
    values = [reading.plain(node, reading.live(node, place)) for place in range(len(node.inputs))]
    for value in values:
        reading.settle(node, value)
    first = values[0]
    count = len(first.axes) + 1
    axis = axes_of(node, [node.integer("axis", 1)], count)[0] - 1
    joins = axis >= 0
    for value in values:
        joins = joins and len(value.axes) + 1 == count and value.shape[:-1] == first.shape[:-1]
        joins = joins and value.axes[axis] == _last(value.shape)
    if not joins:
        raise node.refused("must join channels of frames of one size, or features")
    channels = sum(value.shape[-1] for value in values)
    others = [_widened(value, axis, channels) for value in values]
    if any(other != others[0] for other in others):
        raise node.refused("joins values whose axes differ in order")
    shape = (*first.shape[:-1], channels)
    return reading.joined(node, values, "concatenate", shape, others[0])


def _last(shape: Shape) -> Axis:
    """Return the axis of the channels of a shape."""
    return channels_first((1, 1, shape[-1]))[0]


def _widened(value: Value, axis: int, channels: int) -> Axes:
    """Return the axes of a value whose last axis in our tensor has more channels."""
    own = value.shape[-1]
    axes = list[Axis]()
    for place, parts in enumerate(value.axes):
        if place == axis:
            axes.append(channels_first((1, 1, channels))[0])
        else:
            axes.append(tuple(part._replace(stride=part.stride // own * channels) for part in parts))
    return tuple(axes)
