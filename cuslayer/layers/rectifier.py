"""Rectifiers: `ReLU` and `QuantizedReLU`, the activations of networks of numbers."""

from __future__ import annotations

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._parameter import Bounded
from cuslayer._still import each_step_alone
from cuslayer._tape import Gradient, Pullback, Tensor, differentiable, saves, to_shape
from cuslayer.backend import Array, namespace, numeric
from cuslayer.layers.base import Layer


@differentiable
@saves("others")
@check.operation
def relu(x: Array, /) -> tuple[Array, Pullback]:
    """Return the positive part of each element: ``y = max(x, 0)``.

    The gradient at 0 is 0.

    Args:
        x: (T, N, ...), numbers, or spikes, which are taken as float32.

    Returns:
        The positive part, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...).

    >>> relu(np.array([[[-1.0, 0.0, 2.0]]])).data.tolist()
    [[[0.0, 0.0, 2.0]]]
    """
    check.time_first("x", x)
    x = numeric(x)
    y = namespace(x).maximum(x, x.dtype.type(0))
    return y, lambda g: g * (y > 0)


class ReLU(Layer):
    """The positive part of numbers, ``y = max(x, 0)``: the activation of networks without spikes.

    Layers with it may stand before spiking layers, such as a pretrained network that encodes images; see
    `cuslayer.import_onnx`. `cuslayer.convert` replaces it by integrate-and-fire neurons.

    >>> ReLU()(np.array([[[-1.0, 2.0]]])).data.tolist()
    [[[0.0, 2.0]]]
    """

    keeps_shape = keeps_steps = True
    memory = 0
    form = "relu"

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        """Return the positive part of x (T, N, ...); see `functions.relu`."""
        return relu(x)

    def __repr__(self) -> str:
        return "ReLU()"


@differentiable
@saves("others")
@check.operation
def quantized_relu(x: Array, limit: Array, /, *, levels: int) -> tuple[Array, Pullback]:
    """Clip numbers to ``[0, limit]`` and round them to multiples of ``limit / levels``.

    ::

        n = clip(floor(levels x / limit + 1/2), 0, levels)
        y = limit n / levels

    Backward takes rounding as the identity: ``g_x = g_y`` where ``0 < n < levels`` or x is in the interval of rounding
    that belongs to 0 or levels, else 0; and ``g_limit = sum of g_y (y - x) / limit`` there, ``g_y`` above and 0 below.

    Args:
        x: (T, N, ...), numbers, or spikes, which are taken as float32.
        limit: the largest output, positive, (): one number.
        levels: the number of steps between 0 and limit.

    Returns:
        The rounded numbers, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), limit is not one number, or levels is under 1.
        TypeError: levels is not an integer.

    Source: Bu et al. 2022 (arXiv 2303.04347), equations 8 and 9.

    >>> quantized_relu(np.array([[[-1.0, 0.6, 0.8, 9.0]]]), np.array(2.0), levels=4).data.tolist()
    [[[0.0, 0.5, 1.0, 2.0]]]
    """
    check.time_first("x", x)
    levels = check.integer("levels", levels, least=1)
    if limit.shape != ():
        raise ValueError(f"limit must be one number, got shape {limit.shape}")
    x = numeric(x)
    xp = namespace(x)
    of_type = x.dtype.type
    step = limit.astype(x.dtype) / of_type(levels)
    # The floor of a number that is not negative is its whole part.
    count = (x / step + of_type(0.5)).clip(0, levels).astype(np.int32)
    y = count.astype(x.dtype) * step
    half = step * of_type(0.5)
    most = limit.astype(x.dtype) + half

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        within = (x > -half) & (x < most)

        def of_limit() -> Array:
            share = xp.where(within, (y - x) / limit.astype(x.dtype), (x >= most).astype(x.dtype))
            return to_shape(g * share, ()).astype(limit.dtype)

        return g * within, of_limit

    return y, pullback


# The least limit that training may reach.
_LEAST = 1e-3


class QuantizedReLU(Layer):
    """A rectifier with a limit, rounded to equal steps: the activation to train for `cuslayer.convert`.

    ``y = limit / levels clip(floor(levels x / limit + 1/2), 0, levels)``: the outputs are the spike counts 0 ..
    `levels` of a neuron, times a constant. See `functions.quantized_relu`. ``convert(..., method="qcfs")`` replaces it
    by neurons whose spike counts equal these outputs exactly.

    Args:
        levels: the number of steps between 0 and the limit, and of time steps of the converted network.
        limit: the largest output, initially; it is trained.

    Attributes:
        limit: (), a parameter with a lower bound of 0.001.

    Raises:
        ValueError: levels is under 1, or limit is not positive and finite.
        TypeError: an argument has the wrong type.

    Source: Bu et al. 2022 (arXiv 2303.04347).

    >>> QuantizedReLU(4, limit=2.0)(np.array([[[-1.0, 0.6, 9.0]]])).data.tolist()
    [[[0.0, 0.5, 2.0]]]
    """

    keeps_shape = keeps_steps = True
    memory = 0
    tensors = ("limit",)
    form = "quantized_relu"

    def __init__(self, levels: int, *, limit: float | Tensor = 4.0) -> None:
        self.levels = check.integer("levels", levels, least=1)
        if not isinstance(limit, Tensor):
            limit = Bounded(np.float32(check.constant("limit", limit)), least=_LEAST)
        if limit.shape != ():
            raise ValueError(f"limit must be one number, got shape {limit.shape}")
        self.limit = limit

    @property
    def scalable(self) -> bool:
        return False

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        """Return the rounded numbers of x (T, N, ...); see `functions.quantized_relu`."""
        return quantized_relu(x, self.limit, levels=self.levels)

    def __repr__(self) -> str:
        return f"QuantizedReLU({self.levels}, limit={float(self.limit.data):.4g})"
