"""The stages of a network that is being read, and the network of series and branches that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_device
from cuslayer.layers import Conv, Dense, Layer
from cuslayer.network.network import Parallel, Residual, Sequential

# The number of the input in the list of stages.
INPUT = -1
# Networks are nested up to 50 deep, and each join of branches nests two.
_DEEPEST = 20
# How many times as many places as layers a network may have, where branches cross.
_MOST_TIMES = 4


@dataclass
class Weighted:
    """A layer with weights, whose outputs may still be scaled and shifted.

    Attributes:
        weight: as in `Dense`, or (kh, kw, inputs / groups, outputs) as in `Conv`.
        bias: (outputs,); None for none.
        inputs: the shape of a dense layer's input; None for a convolution.
        options: stride, padding, dilation and groups of a convolution.
        trained: whether an optimizer may change it.
    """

    weight: Array
    bias: Array | None = None
    inputs: tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    trained: bool = True

    def scale(self, factor: Array, shift: Array) -> None:
        """Multiply the outputs by a factor and add a number, each (outputs,) or one for all."""
        self.weight = self.weight * factor
        bias = np.zeros(1) if self.bias is None else self.bias
        bias = np.broadcast_to(bias * factor + shift, self.weight.shape[-1:])
        self.bias = bias if self.bias is not None or bias.any() else None

    def layer(self) -> Layer:
        """Return the layer."""
        bias = None
        if self.bias is not None:
            bias = Tensor(to_device(np.array(self.bias, np.float32)), requires_grad=self.trained)
        *_, inputs, outputs = self.weight.shape
        layer: Dense | Conv
        if self.inputs is None:
            channels = inputs * self.options.get("groups", 1)
            layer = Conv(channels, outputs, self.weight.shape[:2], bias=bias, **self.options)
        else:
            layer = Dense(self.inputs if len(self.inputs) > 1 else self.inputs[0], outputs, bias=bias)
        layer.weight.data = to_device(np.array(self.weight, np.float32))
        layer.weight.requires_grad = self.trained
        return layer


@dataclass
class Stage:
    """A layer, or a join of branches, with the stages that it takes.

    Attributes:
        inputs: the numbers of these stages, `INPUT` for the input of the network.
        where: the node that it comes from, for errors.
        make: returns the layer; None for a join.
        join: how branches are joined.
        weighted: the weights of a layer that has some.
    """

    inputs: tuple[int, ...]
    where: str
    make: Callable[[], Layer] | None = None
    join: str = ""
    weighted: Weighted | None = None


class _Branches:
    """The decomposition of stages into series and branches, by the stages that all paths to a stage pass."""

    def __init__(self, stages: list[Stage]) -> None:
        self.stages = stages
        # Weighted layers by stage: one that several branches take has several places, and one weight.
        self.layers = dict[int, Layer]()
        self.room = _MOST_TIMES * len(stages)
        # The last stage before each that all paths to it pass, and the number of such stages.
        self.before = list[int]()
        self.depth = list[int]()
        for stage in stages:
            common = stage.inputs[0]
            for other in stage.inputs[1:]:
                common = self.common(common, other)
            self.before.append(common)
            self.depth.append(self._depth(common) + 1)

    def _depth(self, stage: int) -> int:
        return 0 if stage == INPUT else self.depth[stage]

    def common(self, first: int, second: int) -> int:
        """Return the last stage that all paths to two stages pass."""
        while first != second:
            if self._depth(first) >= self._depth(second):
                first = self.before[first]
            else:
                second = self.before[second]
        return first

    def series(self, first: int, last: int, nested: int = 0) -> list[Any]:
        """Return the layers after one stage up to another, in order."""
        layers = list[Any]()
        at = last
        while at != first:
            stage = self.stages[at]
            self.room -= 1
            if self.room < 0:
                raise ValueError(f"{stage.where} has an output that many branches take, which are not nested")
            if stage.make is None:
                layers.append(self.joined(stage, stage.inputs, nested + 1))
            else:
                layers.append(self._layer(at, stage, stage.make))
            at = self.before[at]
        layers.reverse()
        return layers

    def _layer(self, number: int, stage: Stage, make: Callable[[], Layer]) -> Layer:
        if stage.weighted is None:
            return make()
        if number not in self.layers:
            self.layers[number] = make()
        return self.layers[number]

    def joined(self, stage: Stage, inputs: tuple[int, ...], nested: int) -> Any:
        """Return the join of branches that end in some stages, after the last stage that they have in common."""
        if nested > _DEEPEST:
            raise ValueError(f"{stage.where} has branches within branches, nested deeper than {_DEEPEST}")
        common = inputs[0]
        for other in inputs[1:]:
            common = self.common(common, other)
        branches = list[list[Any]]()
        for together in self._grouped(stage, inputs, common):
            if len(together) == 1 or common in together:
                branches += [self.series(common, end, nested) for end in together]
                continue
            inner = together[0]
            for other in together[1:]:
                inner = self.common(inner, other)
            join = self.joined(stage, together, nested + 1)
            branches.append([*self.series(common, inner, nested), join])
        if stage.join == "add" and len(branches) == 2 and bool(branches[0]) != bool(branches[1]):
            return Residual(*branches[0], *branches[1])
        ends = [layers[0] if len(layers) == 1 else Sequential(*layers) for layers in branches]
        return Parallel(*ends, join=stage.join)

    def _grouped(self, stage: Stage, inputs: tuple[int, ...], common: int) -> list[tuple[int, ...]]:
        """Return inputs of a join together whose paths from the common stage begin alike."""
        groups = list[tuple[int, list[int]]]()
        for end in inputs:
            begin = self._after(common, end)
            # A sum has any order, a concatenation its own.
            alike = [group for first, group in groups if first == begin]
            if alike and (stage.join == "add" or groups[-1][0] == begin):
                alike[-1].append(end)
            else:
                groups.append((begin, [end]))
        return [tuple(group) for _, group in groups]

    def _after(self, common: int, end: int) -> int:
        """Return the first stage after a common one that all paths to a stage pass."""
        while end != common and self.before[end] != common:
            end = self.before[end]
        return end


def network_of(stages: list[Stage], output: int) -> Sequential:
    """Return the network that ends with a stage."""
    return Sequential(*_Branches(stages).series(INPUT, output))


def rows_in_order(weight: Array, places: Array) -> Array:
    """Return a dense weight whose row i belongs to the input at a place, in the order of places."""
    result = np.empty_like(weight)
    result[places] = weight
    return result


def padded_taps(weight: Array, before: int, after: int, axis: int) -> Array:
    """Return a kernel with taps of 0 at the ends of an axis."""
    width = [(0, 0)] * weight.ndim
    width[axis] = (before, after)
    return np.pad(weight, width)


def identity_taps(channels: int) -> Array:
    """Return the weight of a convolution of each channel by itself that passes frames on."""
    return np.ones((1, 1, 1, channels), np.float32)
