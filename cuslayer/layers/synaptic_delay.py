"""A trained delay for each synapse: weights over lags, as Gaussians that narrow to one lag."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._parameter import Bounded
from cuslayer._tape import Gradient, Pullback, Tensor, differentiable, note_change
from cuslayer.backend import Array, namespace
from cuslayer.layers.base import Layer, Shape, changed_options, draw_uniform
from cuslayer.neurons.base import USUAL_STEP, usual_or_step

# The least width of a Gaussian whose delay learns, and the width for a Gaussian of 0, in steps.
_NARROW, _ONE_LAG = 0.5, 1e-3
# Far above any delay of use: a file asks for more memory with each lag, and has one number for all of them.
MOST_LAGS = 1 << 16


@differentiable
@check.operation
def lagged(x: Array, /, *, lags: int, groups: int = 1) -> tuple[Array, Pullback]:
    """Put the last steps of each channel beside each other: ``y[t, ..., l, c] = x[t - l, ..., c]``.

    Args:
        x: (T, N, ..., C), spikes or numbers.
        lags: the number of lags l, from 0 on.
        groups: the number of groups of channels; the lags of a group stand together.

    Returns:
        (T, N, ..., lags C), of x's type; 0 before the first step.

    Raises:
        ValueError: x is not (T, N, ..., C), lags is less than 1, or groups does not divide C.

    >>> import numpy as np
    >>> lagged(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), lags=2).data[:, 0].tolist()
    [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]]
    """
    check.time_first("x", x, least_dimensions=3)
    lags, xp, shape = check.integer("lags", lags, least=1), namespace(x), x.shape
    if shape[-1] % check.integer("groups", groups, least=1):
        raise ValueError(f"groups must divide the channels, got {groups} and {shape[-1]}")
    inputs = (*shape[:-1], groups, shape[-1] // groups)
    out = xp.zeros((*inputs[:-1], lags, inputs[-1]), x.dtype)
    for lag in range(min(lags, len(x))):
        out[lag:, ..., lag, :] = x.reshape(inputs)[: len(x) - lag]

    def pullback(g: Array) -> Array:
        parts, total = g.reshape(*inputs[:-1], lags, inputs[-1]), xp.zeros(inputs, g.dtype)
        for lag in range(min(lags, len(total))):
            total[: len(total) - lag] += parts[lag:, ..., lag, :]
        return total.reshape(shape)

    return out.reshape(*shape[:-1], lags * shape[-1]), pullback


@differentiable
@check.operation
def weights_over_lags(weight: Array, delay: Array, /, *, lags: int, width: float | Array) -> tuple[Array, Pullback]:
    """Spread each weight over lags, as a Gaussian around its delay whose sum is 1.

    ::

        W[l, i, j] = w[i, j] k[l] / sum over m of k[m]        k[l] = exp(-(l - d[i, j])^2 / (2 width^2))

    With a width of 0 the lag nearest to the delay has the weight, and the gradient of the delay is 0.

    Args:
        weight: (..., inputs, outputs), float32 or float64.
        delay: the delays d in steps, of the same shape.
        lags: the number of lags l, from 0 on.
        width: in steps; a number, or an array of one number.

    Returns:
        (..., lags inputs, outputs), inputs of lag 0 first.

    Raises:
        ValueError: the shapes differ or have fewer than two axes, or a number is out of range.

    Source: Hammouamri, Khalfaoui-Hassani and Masquelier 2024, "Learning delays in spiking neural networks using dilated
    convolutions with learnable spacings", arXiv 2306.17670.

    >>> import numpy as np
    >>> weights_over_lags(np.array([[2.0]]), np.array([[1.2]]), lags=3, width=0.0).data.ravel().tolist()
    [0.0, 2.0, 0.0]
    """
    check.floating("weight", weight)
    check.same_shape("delay", delay, "weight", weight)
    if weight.ndim < 2:
        raise ValueError(f"weight must be (..., inputs, outputs), got shape {weight.shape}")
    lags = check.integer("lags", lags, least=1)
    xp, dtype, shape = namespace(weight), weight.dtype, weight.shape
    width = xp.zeros(1) + (width if hasattr(width, "ndim") else check.not_negative("width", width))
    lag, one = xp.ones((lags, 1, 1)).cumsum(axis=0) - 1, width == 0
    # In float64, so that the weights of a CPU and of a GPU are the same numbers of float32 but for rare cases.
    center, width = delay.astype(np.float64), xp.where(one, _ONE_LAG, width)
    off = lag - xp.where(one, xp.rint(center).clip(0, lags - 1), center)[..., None, :, :]
    exponents = off * off * (-0.5 / width**2)
    shares = xp.exp(exponents - exponents.max(axis=-3, keepdims=True))
    shares /= shares.sum(axis=-3, keepdims=True)
    out = (weight[..., None, :, :] * shares).astype(dtype)

    def of_weight(g: Array) -> Array:
        return (g * shares).sum(axis=-3).astype(dtype)

    def of_delay(g: Array) -> Array:
        slopes = off / width**2
        slopes = shares * (slopes - (shares * slopes).sum(axis=-3, keepdims=True))
        return (weight * (g * slopes).sum(axis=-3)).astype(delay.dtype)

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(out.shape)
        return lambda: of_weight(g), lambda: of_delay(g)

    return out.reshape(*shape[:-2], lags * shape[-2], shape[-1]), pullback


class _Delays(Bounded):
    """Delays that an optimizer clips, and changes in its first steps only; each step narrows their Gaussians."""

    __slots__ = ("before", "steps", "taken")

    def __init__(self, data: TensorLike, *, least: float, most: float, taken: Tensor, steps: int) -> None:
        super().__init__(data, least=least, most=most)
        self.taken, self.steps, self.before = taken, steps, self.data

    def prepare(self) -> None:
        self.before = self.data.copy()

    def clamp(self) -> None:
        # After the last step, neither momentum nor weight decay changes them, in a captured graph either.
        self.data[...] = namespace(self.data).where(self.taken.data < self.steps, self.data, self.before)
        super().clamp()
        note_change(self.taken)
        self.taken.data += 1


class SynapticDelays(Layer):
    """The delays of the synapses of a layer, trained with its weights; the argument `delays` of `Dense` and `Conv`.

    In training a weight is spread over lags by a Gaussian around its delay, see `functions.weights_over_lags`. Each
    step k of the optimizer that has the delays narrows the Gaussians, from `width` ms to half a step::

        w[k] = width (dt / (2 width))^(k / steps)          k < steps

    From then on each weight has one lag, the nearest to its delay, as in evaluation and where the delays are frozen
    (``requires_grad`` False). Steps no longer change the delays, and the weights adapt to them. So train for more than
    `steps` steps. Gradients need memory for (T, N, ..., lags, inputs).

    Args:
        max_delay: the longest delay, ms.
        dt: the step, ms; by default that of the neurons in its network, or 1.
        steps: the number of steps of the optimizer that change the delays.
        width: of the Gaussians at the beginning, ms; by default a third of max_delay, and at least half a step.

    Attributes:
        delay: ms, of the shape of the weight, initially uniform in ``0 .. max_delay``; None before a layer has it.
        taken: the number of steps so far, a tensor (1,).

    Layers whose weights have the same shape may share it, and then have the same delays.

    Raises:
        ValueError: a number is out of range, or max_delay has 65,536 steps or more.
        TypeError: an argument is not a number.

    Source: Hammouamri, Khalfaoui-Hassani and Masquelier 2024, arXiv 2306.17670.

    >>> from cuslayer.layers import Dense
    >>> layer = Dense(3, 2, delays=SynapticDelays(20.0, steps=300))
    >>> layer.delays.delay.shape, layer.delays.lags
    ((3, 2), 21)
    """

    keeps_steps = True

    def __init__(
        self, max_delay: float, *, dt: float = USUAL_STEP, steps: int = 1000, width: float | None = None
    ) -> None:
        self.max_delay = check.not_negative("max_delay", max_delay)
        self.dt = usual_or_step("dt", dt)
        if self.max_delay / self.dt >= MOST_LAGS:
            raise ValueError(f"max_delay must be under {MOST_LAGS:,} steps of {self.dt:g} ms, got {self.max_delay:g}")
        self.steps = check.integer("steps", steps, least=1)
        self.width = self.max_delay / 3 if width is None else check.not_negative("width", width)
        self.delay: _Delays | None = None
        self.taken = Tensor(np.zeros(1, np.float32))

    @property
    def lags(self) -> int:
        """The number of lags."""
        return math.floor(self.max_delay / self.dt + 0.5) + 1

    @property
    def memory(self) -> int:
        return self.lags - 1

    @property
    def own_dt(self) -> float | None:
        return self.dt

    def attach(self, shape: Shape) -> SynapticDelays:
        """Draw the delays of a weight of a shape, unless there are some; return the object."""
        if self.taken.data.any():
            raise ValueError("delays must be new, these have been trained; make SynapticDelays for each network")
        if self.delay is None:
            drawn = draw_uniform(0.0, self.max_delay, shape)
            self.delay = _Delays(drawn, least=0.0, most=self.max_delay, taken=self.taken, steps=self.steps)
        if self.delay.shape != shape:
            raise ValueError(f"delays must fit a weight of shape {shape}, got {self.delay.shape}")
        return self

    def width_now(self) -> Array:
        """Return the width of the Gaussians in steps, an array of one number."""
        first, share = max(self.width / self.dt, _NARROW), self.taken.data / self.steps
        xp = namespace(share)
        return xp.where(share < 1.0, first * xp.exp(share * math.log(_NARROW / first)), share * 0)

    def whole_lags(self) -> Array:
        """Return the delay of each weight in evaluation, in steps, int32."""
        delay = cast(_Delays, self.delay).data
        found: Array = namespace(delay).rint(delay * (1.0 / self.dt)).clip(0, self.lags - 1).astype(np.int32)
        return found

    def over_lags(self, weight: Tensor) -> Tensor:
        """Return a weight (..., inputs, outputs) as (..., lags inputs, outputs)."""
        delay = cast(_Delays, self.delay)
        check.memory("the weights over lags", (self.lags, *weight.shape), weight.data.itemsize)
        width = self.width_now() if self.training and delay.requires_grad else 0.0
        if isinstance(delay, _Delays):
            delay.steps = self.steps
        return weights_over_lags(weight, delay * (1.0 / self.dt), lags=self.lags, width=width)

    def __repr__(self) -> str:
        options = changed_options(self, dt=1.0, steps=1000, width=self.max_delay / 3)
        return f"SynapticDelays({self.max_delay:g}{options})"
