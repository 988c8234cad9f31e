"""What layers share: parameters, a call, and a weight that may pass through a hook before it is used.

Windows that slide over frames: what convolution, pooling and their transposes share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from cuslayer import check
from cuslayer.backend import generator
from cuslayer.kernels.window import Window
from cuslayer.tape import Tensor

WeightHook = Callable[[Tensor], Tensor]
WeightHooks: TypeAlias = "WeightHook | tuple[WeightHook, ...] | None"


class Layer:
    """A callable with parameters.

    Attributes:
        training: whether layers that differ in training, as dropout does, behave as in training.
    """

    training = True

    def parameters(self) -> list[Tensor]:
        """Return the tensors that an optimizer shall move."""
        return []

    def __call__(self, x: Any) -> Tensor:
        """Return the layer's output for x (T, N, ...)."""
        raise TypeError(f"{type(self).__name__}: a layer must define __call__")


class Synapse(Layer):
    """A layer with one weight, uniform in ``+-weight_scale / sqrt(fan_in)`` at first.

    The weight may pass through hooks before each use, one or a tuple of them in their order. A hook is a function of a
    tensor, or an object with a call that may have more: ``parameters()``, tensors that are trained with the weight, and
    ``attach(layer)``, which is called once, when the layer has its weight.

    Attributes:
        weight: the weight as it is trained.
        weight_hook: the hooks.
    """

    def __init__(self, shape: tuple[int, ...], fan_in: int, weight_scale: float, weight_hook: WeightHooks) -> None:
        op = type(self).__name__
        scale = check.positive(op, "weight_scale", weight_scale)
        for hook in _each(weight_hook):
            if not callable(hook):
                raise TypeError(f"{op}: weight_hook must be callable, got {type(hook).__name__}")
        bound = scale / math.sqrt(fan_in)
        self.weight = Tensor(generator().uniform(-bound, bound, shape).astype(np.float32), requires_grad=True)
        self.weight_hook = weight_hook
        for hook in _each(weight_hook):
            if hasattr(hook, "attach"):
                hook.attach(self)

    def parameters(self) -> list[Tensor]:
        hooks = [hook for hook in _each(self.weight_hook) if hasattr(hook, "parameters")]
        return [self.weight, *(p for hook in hooks for p in hook.parameters())]

    def effective_weight(self) -> Tensor:
        """Return the weight as it is used: what the hooks make of it.

        Raises:
            TypeError: a hook returns no tensor, through which a gradient could pass.
            ValueError: a hook returns another shape.
        """
        weight, op = self.weight, type(self).__name__
        for hook in _each(self.weight_hook):
            weight = hook(weight)
            if not isinstance(weight, Tensor):
                raise TypeError(f"{op}: weight_hook must return a Tensor, got {type(weight).__name__}")
            check.same_shape(op, "what weight_hook returns", weight, "weight", self.weight)
        return weight

    def by_output(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return a shape of the weight, and that of numbers of which each output has one, to multiply it with.

        Where the second has 1, the first runs over what one output is made of.
        """
        shape = self.weight.shape
        return shape, (*(1 for _ in shape[:-1]), shape[-1])


def _each(hooks: WeightHooks) -> tuple[Any, ...]:
    """Return hooks, none, one or several, as a tuple."""
    return hooks if isinstance(hooks, tuple) else () if hooks is None else (hooks,)


def differing(layer: Layer, **usual: Any) -> str:
    """Return the options of a layer that are not the usual ones, as they are written in a call."""
    return "".join(f", {name}={getattr(layer, name)}" for name, value in usual.items() if getattr(layer, name) != value)


class Sliding:
    """A layer with a window."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def _slide(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: int | tuple[int, int],
        dilation: int | tuple[int, int],
    ) -> None:
        """Check and keep the window's constants."""
        op = type(self).__name__
        self.kernel_size = check.pair(op, "kernel_size", kernel_size, least=1)
        self.stride = check.pair(op, "stride", stride, least=1)
        self.padding = check.pair(op, "padding", padding, least=0)
        self.dilation = check.pair(op, "dilation", dilation, least=1)

    @property
    def window(self) -> Window:
        """The window as kernels take it."""
        return Window(self.kernel_size, self.stride, self.padding, self.dilation)
