"""Hooks of a layer's weight: weight normalization, rounding to multiples of a step, and integers by channel."""

from __future__ import annotations

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, differentiable, saves
from cuslayer.backend import Array, namespace
from cuslayer.layers.base import Synapse, scale_parameter

# Bits of an integer weight at most.
MOST_BITS = 8
# The relative error of a multiple of a step, both rounded to float32.
_ROUNDED = 2.0**-22


def length(v: Array, shape: tuple[int, ...]) -> Array:
    """Return the Euclidean norm of v along the axes where `shape`, of v's rank, has 1."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return namespace(v).sqrt((v * v).sum(axis=axes, keepdims=True))


@differentiable
@check.operation
def weight_norm(v: Array, scale: Array, /) -> tuple[Array, Pullback]:
    """Scale v to a given norm: ``w = scale v / |v|``.

    The Euclidean norm ``|v|`` runs along the axes where scale has 1: a weight (inputs, outputs) and a scale (1,
    outputs) have one norm for each output. Where the norm is 0, w is 0. Backward, with ``e = v / |v|``:
    ``g_scale = sum g_w e``, ``g_v = scale / |v| (g_w - e g_scale)``.

    Args:
        v: an array of any shape, float32 or float64.
        scale: of v's rank, along each axis v's size or 1; float32 or float64.

    Returns:
        The normalized weight, of v's shape.

    Raises:
        ValueError: scale does not fit v.
        TypeError: v or scale is not floating.

    Source: Salimans and Kingma 2016, arXiv 1602.07868, equations 2 and 3.

    >>> import numpy as np
    >>> weight_norm(np.array([[3.0], [4.0]]), np.array([[10.0]])).data.tolist()
    [[6.0], [8.0]]
    """
    check.floating("v", v)
    check.floating("scale", scale)
    if scale.ndim != v.ndim or any(size not in (1, own) for size, own in zip(scale.shape, v.shape, strict=True)):
        raise ValueError(f"scale must have shape {v.shape}, or 1 in it, got {scale.shape}")
    axes = tuple(axis for axis, size in enumerate(scale.shape) if size == 1)
    norm = length(v, scale.shape)
    norm = norm + (norm == 0)
    unit = v / norm

    def pullback(g: Array) -> tuple[Array, Array]:
        along = (g * unit).sum(axis=axes, keepdims=True)
        return scale / norm * (g - unit * along), along

    return scale * unit, pullback


@check.operation
def quantize(w: TensorLike, /, step: float, *, limits: tuple[float, float] | None = None) -> Tensor:
    """Round w to multiples of a step: ``step round(w / step)``, halves to the even multiple.

    Backward is the straight-through estimator, ``g_w = g``, also beyond the limits, so that a weight outside them can
    move back. As a weight hook, ``weight_hook=functools.partial(quantize, step=2)``, it trains full-precision weights
    by the effect of their rounded values.

    Args:
        w: an array of any shape, float32 or float64.
        step: the distance between two values.
        limits: the lowest and the highest value, two multiples of step, up to the rounding of float32; by default none.
            Loihi's signed 8-bit weights need ``step=2, limits=(-256, 254)``.

    Returns:
        The rounded array, of w's shape and type.

    Raises:
        ValueError: step is not positive, or limits are not two ascending multiples of it.
        TypeError: w is not floating, or step or a limit is not a number.

    Source: Bengio, Leonard and Courville 2013, arXiv 1308.3432, for the straight-through gradient.

    >>> import numpy as np
    >>> quantize(np.array([1.0, 2.9, 3.0, -300.0]), step=2, limits=(-256, 254)).data.tolist()
    [0.0, 2.0, 4.0, -256.0]
    """
    step = check.positive("step", step)
    if limits is None:
        return _quantize(w, step=step, limits=None)
    check.two("limits", limits)
    low, high = (check.number("limits", limit) for limit in limits)
    for limit in (low, high):
        if abs(limit / step - round(limit / step)) > _ROUNDED * max(1.0, abs(limit / step)):
            raise ValueError(f"limits must be multiples of step {step:g}, got {limit:g}")
    if low > high:
        raise ValueError(f"limits must ascend, got {low:g} and {high:g}")
    return _quantize(w, step=step, limits=(low, high))


@differentiable
@saves("nothing")
def _quantize(w: Array, /, *, step: float, limits: tuple[float, float] | None) -> tuple[Array, Pullback]:
    check.floating("w", w)
    rounded = namespace(w).rint(w / step) * step
    return rounded if limits is None else rounded.clip(*limits), lambda g: g


@check.named
class WeightNorm:
    """A weight hook that trains norm and direction of each output's weights separately: ``w = scale v / |v|``.

    v is the layer's weight, and ``|v|`` the Euclidean norm of one output's weights; see `functions.weight_norm`. The
    scale starts as this norm, so that w is v at first. It is a parameter of the layer, after the weight, in optimizers,
    states and checkpoints. A hook belongs to one layer.

    Attributes:
        scale: one number for each output: (1, outputs) for a dense layer, (1, 1, 1, outputs) for a convolution,
            (1, 1, outputs / groups, groups, 1) for a transposed one. It exists once the hook has a layer.

    Raises:
        ValueError: a second layer gets the hook, or the hook is used without a layer.

    Source: Salimans and Kingma 2016, arXiv 1602.07868.

    >>> from cuslayer.layers import Dense
    >>> layer = Dense(4, 3, weight_hook=WeightNorm())
    >>> [p.shape for p in layer.parameters()]
    [(4, 3), (1, 3)]
    """

    def __init__(self) -> None:
        self._view: tuple[int, ...] = ()
        self._scale: Tensor | None = None

    def attach(self, layer: Synapse) -> None:
        """Create the scale for a layer."""
        if self._scale is not None:
            raise ValueError(f"a hook serves one layer, {type(layer).__name__} is its second")
        self.measure(layer)

    def measure(self, layer: Synapse) -> None:
        """Set the scale to the norms of the layer's weight."""
        self._view, outputs = layer.per_output_shapes()
        norms = length(layer.weight.data.reshape(self._view), outputs)
        if self._scale is None:
            self._scale = Tensor(norms, requires_grad=True)
        else:
            self._scale.data = norms

    @property
    @check.method
    def scale(self) -> Tensor:
        if self._scale is None:
            raise ValueError("it must be the weight_hook of a layer, got a call without one")
        return self._scale

    def scale_output(self, factor: float) -> None:
        """Multiply the scale by a factor."""
        scale_parameter(self.scale, factor)

    def parameters(self) -> list[Tensor]:
        """Return the scale."""
        return [self.scale]

    def __call__(self, weight: Tensor) -> Tensor:
        scale = self.scale
        return weight_norm(weight.reshape(self._view), scale).reshape(weight.shape)

    def __repr__(self) -> str:
        return "WeightNorm()"


@differentiable
@saves("nothing")
def _round_channels(w: Array, /, *, bits: int, view: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Array, Pullback]:
    """Return `whole_channels` times their scale; the gradient passes unchanged."""
    numbers, scale = whole_channels(w, bits, view, axes)
    return (numbers * scale).astype(w.dtype).reshape(w.shape), lambda g: g


def whole_channels(w: Array, bits: int, view: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return a weight in another shape as whole numbers, float64, and their scale for each channel."""
    xp = namespace(w)
    wide = w.reshape(view).astype(np.float64)
    largest = xp.abs(wide).max(axis=axes, keepdims=True)
    scale = xp.where(largest > 0, largest, 1.0) / ((1 << (bits - 1)) - 1)
    return xp.rint(wide / scale), scale


@check.named
class IntegerWeight:
    """A weight hook that trains weights by the effect of their integers.

    The weight of each output channel becomes ``scale round(w / scale)``, ``scale = max |w| / (2^(bits-1) - 1)``.
    Backward is the straight-through estimator: the gradient passes unchanged.

    `interchange.quantize` with as many bits then takes the same integers. A hook belongs to one layer.

    Args:
        bits: bits of a weight, 2 to 8.

    Raises:
        ValueError: bits is out of range, a second layer gets the hook, or it is used without a layer.
        TypeError: bits is not an integer.

    Source: Bengio, Leonard and Courville 2013, arXiv 1308.3432, for the straight-through gradient.

    >>> from cuslayer.layers import Dense
    >>> layer = Dense(4, 3, weight_hook=IntegerWeight(4))
    >>> layer.effective_weight().shape
    (4, 3)
    """

    def __init__(self, bits: int) -> None:
        self.bits = check.integer("bits", bits, least=2)
        if self.bits > MOST_BITS:
            raise ValueError(f"bits must be 2 to {MOST_BITS}, got {bits}")
        self._view: tuple[int, ...] = ()
        self._axes: tuple[int, ...] = ()

    def attach(self, layer: Synapse) -> None:
        """Take the channels of a layer."""
        if self._view:
            raise ValueError(f"a hook serves one layer, {type(layer).__name__} is its second")
        self._view, per_output = layer.per_output_shapes()
        self._axes = tuple(axis for axis, size in enumerate(per_output) if size == 1)

    def __call__(self, weight: Tensor) -> Tensor:
        if not self._view:
            raise ValueError("it must be the weight_hook of a layer, got a call without one")
        return _round_channels(weight, bits=self.bits, view=self._view, axes=self._axes)

    def __repr__(self) -> str:
        return f"IntegerWeight({self.bits})"
