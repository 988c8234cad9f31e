"""What layers share: parameters, a call, and a weight that may pass through a hook before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import generator
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor

WeightHook = Callable[[Tensor], Tensor]


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

    def fire(self, x: Any, srm: SRM) -> Tensor:
        """Return the spikes of neurons behind the layer, ``srm(self(x))``, in one pass where there is one."""
        return srm(self(x))


class Synapse(Layer):
    """A layer with one weight, uniform in ``+-weight_scale / sqrt(fan_in)`` at first."""

    def __init__(self, shape: tuple[int, ...], weight_scale: float, weight_hook: WeightHook | None) -> None:
        op = type(self).__name__
        scale = check.positive(op, "weight_scale", weight_scale)
        if weight_hook is not None and not callable(weight_hook):
            raise TypeError(f"{op}: weight_hook must be callable, got {type(weight_hook).__name__}")
        bound = scale / math.sqrt(math.prod(shape[:-1]))
        self.weight = Tensor(generator().uniform(-bound, bound, shape).astype(np.float32), requires_grad=True)
        self.weight_hook = weight_hook

    def parameters(self) -> list[Tensor]:
        return [self.weight]

    def effective_weight(self) -> Tensor:
        """Return the weight as it is used: what the hook makes of it."""
        return self.weight if self.weight_hook is None else self.weight_hook(self.weight)


def differing(layer: Layer, **usual: Any) -> str:
    """Return the options of a layer that are not the usual ones, as they are written in a call."""
    return "".join(f", {name}={getattr(layer, name)}" for name, value in usual.items() if getattr(layer, name) != value)
