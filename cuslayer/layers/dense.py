"""The dense layer: every output is a weighted sum of all inputs."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.layers.base import Shape, Synapse, WeightHooks
from cuslayer.operations.base import saves
from cuslayer.tape import Gradient, Pullback, Tensor, differentiable, takes_packed


def check_dense(x: Array, weight: Array) -> None:
    """Validate the arguments of `dense`; errors name the operation `op`."""
    check.time_first("x", x, least_dimensions=3)
    check.floating("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"weight must be (inputs, outputs), got shape {weight.shape}")
    check_features(x.shape[2:], weight.shape[0])


def check_features(shape: Shape, expected: int) -> None:
    """Raise ValueError unless a shape after T and N has so many features."""
    features = math.prod(shape)
    if features != expected:
        raise ValueError(f"x has {features} features, weight expects {expected}")


@differentiable
@takes_packed
@saves("others")
@check.operation
def dense(x: Array, weight: Array, /) -> tuple[Array, Pullback]:
    """Multiply the input of each step by a weight matrix: ``y[t, n] = x[t, n] W``.

    Backward is ``g_x = g_y W'`` and ``g_W = sum over t, n of x[t, n]' g_y[t, n]``. On the CPU, only spikes cost time:
    each adds its row of the weight forward, and the error of its step to that row's gradient.

    Args:
        x: (T, N, ...), spikes or numbers; the axes after N are flattened in order.
        weight: (inputs, outputs), float32 or float64.

    Returns:
        The weighted input (T, N, outputs), in the weight's type.

    Raises:
        ValueError: x is not (T, N, ...), weight is not (inputs, outputs), or their sizes differ.
        TypeError: weight is not floating.

    >>> import numpy as np
    >>> dense(np.array([[[True, False]], [[True, True]]]), np.array([[1.0, 2.0], [10.0, 20.0]])).data.tolist()
    [[[1.0, 2.0]], [[11.0, 22.0]]]
    """
    check_dense(x, weight)
    k = kernels.of(weight)
    shape = x.shape
    rows = k.spikes.synapse_input(x.reshape(shape[0] * shape[1], weight.shape[0]))
    out = k.dense.forward(rows, weight).reshape(*shape[:2], weight.shape[1])

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(-1, weight.shape[1]) if g.size else g.reshape(shape[0] * shape[1], weight.shape[1])
        return (lambda: k.dense.input_adjoint(g, weight).reshape(shape), lambda: k.dense.weight_adjoint(rows, g))

    return out, pullback


class Dense(Synapse):
    """A dense layer: ``y[t, n] = x[t, n] W``, with a bias ``x[t, n] W + b``; see `functions.dense`.

    A layer with a bias and its neurons are two passes, not one.

    Args:
        in_features: the number of inputs, or their shape (H, W, C).
        out_features: the number of outputs.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(inputs)``.
        weight_hook: a function of the weight that is applied before each use; or a tuple of them, applied in order.
        bias: whether a trained constant is added at each step, initially 0; or the parameter (outputs,) itself.

    Attributes:
        weight: (inputs, outputs), inputs in H, W, C order.
        bias: (outputs,); None for none.

    Raises:
        ValueError: a size or the scale is out of range, or a bias has another shape.
        TypeError: a size is not an integer, the hook is not callable, or bias is neither a bool nor a tensor.

    >>> import numpy as np
    >>> layer = Dense((2, 2, 1), 3)
    >>> layer.weight.shape, layer(np.zeros((5, 1, 2, 2, 1), bool)).shape
    ((4, 3), (5, 1, 3))
    """

    memory = 0

    def __init__(
        self,
        in_features: int | tuple[int, ...],
        out_features: int,
        *,
        weight_scale: float = 10.0,
        weight_hook: WeightHooks = None,
        bias: bool | Tensor | None = False,
    ) -> None:
        sizes = in_features if isinstance(in_features, tuple) else (in_features,)
        self.in_features = tuple(check.integer("in_features", n, least=1) for n in sizes)
        self.out_features = check.integer("out_features", out_features, least=1)
        inputs = math.prod(self.in_features)
        super().__init__((inputs, self.out_features), inputs, weight_scale, weight_hook, bias)

    def __call__(self, x: Any) -> Tensor:
        return self.biased(dense(x, self.effective_weight()))

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape is not None:
            check_features(shape, math.prod(self.in_features))
        return (self.out_features,)

    def __repr__(self) -> str:
        sizes = self.in_features
        bias = "" if self.bias is None else ", bias=True"
        return f"Dense({sizes if len(sizes) > 1 else sizes[0]}, {self.out_features}{bias})"
