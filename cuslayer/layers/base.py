"""Base classes of layers: parameters and output shapes, a weight with hooks, a window that slides over frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from cuslayer import check
from cuslayer.backend import generator
from cuslayer.kernels.constants import Window
from cuslayer.tape import Tensor

WeightHook = Callable[[Tensor], Tensor]
WeightHooks: TypeAlias = "WeightHook | tuple[WeightHook, ...] | None"
Shape: TypeAlias = "tuple[int, ...]"
Pair: TypeAlias = "int | tuple[int, int]"


class Layer:
    """Base class of layers: a callable with parameters.

    Attributes:
        training: whether layers that behave differently in training, such as dropout, do so.
        keeps_shape: whether the output always has the shape of the input.
    """

    training = True
    keeps_shape = False

    def parameters(self) -> list[Tensor]:
        """Return the tensors that an optimizer updates."""
        return []

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """Return the shape of the output after T and N, without running the layer.

        Args:
            shape: the shape of the input after T and N; None where it is not known.

        Returns:
            The shape; None where it depends on something unknown.

        Raises:
            ValueError: an input of this shape does not fit the layer.
        """
        return shape if self.keeps_shape else None

    def __call__(self, x: Any) -> Tensor:
        """Return the layer's output for x (T, N, ...)."""
        raise TypeError(f"{type(self).__name__}: a layer must define __call__")


class Synapse(Layer):
    """Base class of layers with one weight, initially uniform in ``+-weight_scale / sqrt(fan_in)``.

    The weight may pass through hooks before each use: one, or a tuple that is applied in order. A hook is a function
    from a tensor to a tensor. It may also have ``parameters()``, tensors that are trained with the weight, and
    ``attach(layer)``, which is called once when the layer has its weight.

    Attributes:
        weight: the trained weight.
        weight_hook: the hooks.
    """

    def __init__(self, shape: tuple[int, ...], fan_in: int, weight_scale: float, weight_hook: WeightHooks) -> None:
        op = type(self).__name__
        scale = check.positive(op, "weight_scale", weight_scale)
        for hook in _as_tuple(weight_hook):
            if not callable(hook):
                raise TypeError(f"{op}: weight_hook must be callable, got {type(hook).__name__}")
        bound = scale / math.sqrt(fan_in)
        self.weight = Tensor(generator().uniform(-bound, bound, shape).astype(np.float32), requires_grad=True)
        self.weight_hook = weight_hook
        for hook in _as_tuple(weight_hook):
            if hasattr(hook, "attach"):
                hook.attach(self)

    def parameters(self) -> list[Tensor]:
        hooks = [hook for hook in _as_tuple(self.weight_hook) if hasattr(hook, "parameters")]
        return [self.weight, *(p for hook in hooks for p in hook.parameters())]

    def effective_weight(self) -> Tensor:
        """Return the weight after its hooks, as the layer uses it.

        Raises:
            TypeError: a hook returns something that is not a tensor, so that no gradient could pass.
            ValueError: a hook returns another shape.
        """
        weight, op = self.weight, type(self).__name__
        for hook in _as_tuple(self.weight_hook):
            weight = hook(weight)
            if not isinstance(weight, Tensor):
                raise TypeError(f"{op}: weight_hook must return a Tensor, got {type(weight).__name__}")
            check.same_shape(op, "what weight_hook returns", weight, "weight", self.weight)
        return weight

    def per_output_shapes(self) -> tuple[Shape, Shape]:
        """Return a shape for the weight, and the shape that one number for each output needs to broadcast with it.

        The axes where the second shape has 1 run over the weights of one output.
        """
        shape = self.weight.shape
        return shape, (*(1 for _ in shape[:-1]), shape[-1])


def _as_tuple(hooks: WeightHooks) -> tuple[Any, ...]:
    """Return no, one or several hooks as a tuple."""
    return hooks if isinstance(hooks, tuple) else () if hooks is None else (hooks,)


def changed_options(layer: Layer, **defaults: Any) -> str:
    """Return the options of a layer that differ from their defaults, as they are written in a call."""
    changed = {name: getattr(layer, name) for name, default in defaults.items() if getattr(layer, name) != default}
    return "".join(f", {name}={value}" for name, value in changed.items())


def check_frames(op: str, shape: tuple[Any, ...]) -> None:
    """Raise ValueError unless a shape is (T, N, H, W, C)."""
    if len(shape) != 5:
        hint = "; one sample needs a batch axis, x[:, None]" if len(shape) == 4 else ""
        raise ValueError(f"{op}: x must be (T, N, H, W, C), got shape {shape}{hint}")


class Sliding:
    """Mixin of layers with a window that slides over frames."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def _set_window(self, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
        """Validate and set the window's constants."""
        window = Window.of(type(self).__name__, kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride, self.padding, self.dilation = window

    @property
    def window(self) -> Window:
        """The window in the form that kernels take."""
        return Window(self.kernel_size, self.stride, self.padding, self.dilation)
