"""Delays in time: the shift operation, a fixed delay, and trained delays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._parameter import Bounded
from cuslayer._tape import Pullback, Tensor, differentiable, grad_enabled, saves
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.kernels.time.delay.steps import whole_steps
from cuslayer.layers.base import Layer, Shape, changed_options, draw_uniform
from cuslayer.neurons.base import USUAL_STEP, usual_or_step

MODES = ("floor", "linear")


@check.operation
def shift(x: TensorLike, /, *, delay: npt.ArrayLike, dt: float = 1.0, mode: str = "floor") -> Tensor:
    """Delay x in time, by whole steps or fractions of a step, with zeros before its start.

    With ``n = floor(delay / dt)`` and ``f = delay / dt - n``::

        floor    y[t] = x[t - n]                            spikes stay spikes
        linear   y[t] = (1 - f) x[t - n] + f x[t - n - 1]   spikes become numbers

    The gradient of x is the adjoint. A delay that is a tensor gets a gradient too, summed over all neurons that share
    it. In the linear mode it is ``-sum_t g[t] (x[t-n] - x[t-n-1]) / dt``, which is exact. The floor mode has no
    derivative; it uses ``-sum_t g[t] (y[t] - y[t-1]) / dt`` with y[-1] = 0.

    Args:
        x: (T, N, ...), spikes or numbers.
        delay: ms; one number, one for each channel (C,) of images, or one for each neuron (x's shape after N). A
            negative delay advances.
        dt: the step, ms.
        mode: "floor", or "linear" for analog signals.

    Returns:
        The delayed signal, of x's shape and type. In the linear mode spikes become float32, or the delay's type if it
        is a tensor.

    Delays on a GPU, such as a layer's, are not read back: a delay that is not finite raises no error there. Its spikes
    never arrive, and its numbers are NaN.

    Raises:
        ValueError: x is not (T, N, ...), delay is not finite or fits neither channels nor neurons, dt is not positive,
            or mode is unknown.
        TypeError: delay or dt is not real.

    Source: Shrestha and Orchard 2018, for the gradient of a delay.

    >>> import numpy as np
    >>> shift(np.array([[[1.0, 1.0]], [[2.0, 2.0]], [[3.0, 3.0]]]), delay=[1.0, -1.0]).data[:, 0].tolist()
    [[0.0, 2.0], [1.0, 3.0], [2.0, 0.0]]
    >>> shift(np.array([[[4.0]], [[8.0]], [[0.0]]]), delay=0.25, mode="linear").data.ravel().tolist()
    [3.0, 7.0, 2.0]
    """
    if isinstance(delay, Tensor):
        if delay.requires_grad and grad_enabled():
            return _trained_shift(x, delay, dt=dt, mode=mode)
        return _fixed(x, delay=delay.data, dt=dt, mode=mode, spikes_as=delay.dtype)
    return _fixed(x, delay=delay, dt=dt, mode=mode)


@differentiable
@saves("nothing")
def _fixed(
    x: Array, /, *, delay: npt.ArrayLike, dt: float, mode: str, spikes_as: npt.DTypeLike = np.float32
) -> tuple[Array, Pullback]:
    move = _Shift(x, delay, dt, mode)
    return move.forward(x, spikes_as), move.backward


@differentiable
def _trained_shift(x: Array, delay: Array, /, *, dt: float, mode: str) -> tuple[Array, Pullback]:
    move = _Shift(x, delay, dt, mode)
    y = move.forward(x, delay.dtype)
    # The floor mode saves y rather than x: the next operation keeps y anyway.
    saved, steps = (x, move.steps) if mode == "linear" else (y, namespace(y).zeros_like(move.steps))

    def of_delay(g: Array) -> Array:
        of_columns = kernels.of(g).delay.shift_delay_adjoint(g, saved, steps)
        sharing = (math.prod(y.shape[1 : y.ndim - delay.ndim]), delay.size)
        return (of_columns.reshape(sharing).sum(axis=0) / dt).reshape(delay.shape)

    return y, lambda g: (lambda: move.backward(g), lambda: of_delay(g))


class _Shift:
    """Forward and backward of a delay for each column of x."""

    def __init__(self, x: Array, delay: Any, dt: float, mode: str) -> None:
        check.time_first("x", x)
        dt = check.time_step("dt", dt)
        self.linear = check.one_of("mode", mode, MODES) == "linear"
        on_device = namespace(delay) is not np and delay.dtype.kind == "f"
        given = delay if on_device else np.asarray(to_numpy(delay))
        if given.dtype.kind not in "iuf":
            raise TypeError(f"delay must be numbers, got {given.dtype}")
        if not on_device and given.size:
            check_delays(given.min(), given.max())
        neuron = x.shape[2:]
        if given.shape not in ((), neuron[-1:], neuron):
            raise ValueError(f"delay has shape {given.shape}, a neuron of x each has shape {neuron}")
        given = given if given.dtype == np.float32 else given.astype(np.float64)
        if namespace(x) is not namespace(given):
            # A single number is a kernel argument, which a captured step allows; an array would be copied.
            one = given.size == 1
            given = namespace(x).zeros(given.shape, given.dtype) + given.item() if one else to_device(given)
        self.steps, fraction = kernels.of(x).delay.delay_steps(given, x.shape[1:], dt, len(x) + 1)
        self.weights = (1 - fraction, fraction) if self.linear else ()

    def forward(self, x: Array, spikes_as: npt.DTypeLike) -> Array:
        """Return x delayed; in the linear mode spikes become numbers of type `spikes_as`."""
        k = kernels.of(x)
        if self.linear:
            x = x.astype(spikes_as) if x.dtype == bool else x
            return k.delay.shift_linear(x, self.steps, *(weight.astype(x.dtype) for weight in self.weights))
        return (k.delay.shift_spikes if x.dtype == bool else k.delay.shift)(x, self.steps)

    def backward(self, g: Array) -> Array:
        """Return the gradient of x."""
        k = kernels.of(g)
        if self.linear:
            near, far = (weight.astype(g.dtype) for weight in self.weights)
            return k.delay.shift_linear(g, -self.steps - 1, far, near)
        return k.delay.shift(g, -self.steps)


def check_delays(least: float, most: float) -> None:
    """Raise ValueError unless delays, given by the least and the most, are finite and within 2^31 ms."""
    for end in (least, most):
        check.signed_factor("delay", end)


def _memory(delay: object, dt: float) -> int | None:
    """Return the number of earlier steps on which a step of the output depends; None if it depends on later ones."""
    steps = whole_steps(delay, dt)[0]
    return int(steps.max()) + 1 if steps.min() >= 0 else None


class Shift(Layer):
    """A fixed delay of all neurons: ``y[t] = x[t - floor(delay / dt)]``; see `functions.shift`.

    Args:
        delay: ms; a negative delay advances.
        dt: the step, ms; by default that of the neurons in its network, or 1.

    Raises:
        ValueError: delay is not finite or beyond 2^31 ms, or dt is not positive.
        TypeError: either is not a number.

    >>> import numpy as np
    >>> Shift(1.0)(np.array([[[1.0]], [[2.0]]])).data.ravel().tolist()
    [0.0, 1.0]
    """

    keeps_shape = keeps_steps = True
    passes_spikes = True
    form = "delay"
    linear = False

    def __init__(self, delay: float, *, dt: float = USUAL_STEP) -> None:
        self.delay = check.number("delay", delay)
        check_delays(delay, delay)
        self.dt = usual_or_step("dt", dt)

    @property
    def memory(self) -> int | None:
        return _memory(self.delay, self.dt)

    @property
    def own_dt(self) -> float | None:
        return self.dt

    def lags(self) -> tuple[Array, Array]:
        """Return the delay in whole steps, and the rest as a share of a step."""
        return whole_steps(self.delay, self.dt)

    def __call__(self, x: TensorLike) -> Tensor:
        return shift(x, delay=self.delay, dt=self.dt)

    def __repr__(self) -> str:
        return f"Shift({self.delay:g}, dt={self.dt:g})"


class Delay(Layer):
    """A delay of each neuron or of each channel, trained with the weights: ``y[t] = x[t - floor(delay / dt)]``.

    Spikes stay spikes. The linear mode, for analog signals, interpolates between two steps; see `functions.shift`, also
    for the gradients. Each step of an optimizer keeps the delays within ``0 .. max_delay``.

    Args:
        features: the number of delays: one for each neuron of a flat layer, or for each channel of images. The shape
            (H, W, C) of an image gives each of its neurons a delay.
        dt: the step, ms; by default that of the neurons in its network, or 1.
        max_delay: the longest delay, ms; None for no limit.
        mode: "floor", or "linear" for analog signals.
        initial: initial delays are uniform between 0 and this, ms, or max_delay if that is less.

    Attributes:
        delay: ms, of the shape of the features.

    Raises:
        ValueError: a size or a constant is out of range, or mode is unknown.
        TypeError: a size is not an integer, or a constant is not a number.

    Source: Shrestha and Orchard 2018, arXiv 1810.08646.

    >>> import numpy as np
    >>> layer = Delay(3, dt=1.0, max_delay=62.0)
    >>> layer.delay.data[:] = [0.0, 1.5, 2.0]
    >>> layer(np.eye(3, dtype=bool)[:, None]).data[:, 0].astype(int).tolist()
    [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    """

    keeps_shape = keeps_steps = True
    passes_spikes = True
    form = "delay"

    def __init__(
        self,
        features: int | tuple[int, ...],
        *,
        dt: float = USUAL_STEP,
        max_delay: float | None = None,
        mode: str = "floor",
        initial: float = 1.0,
    ) -> None:
        sizes = features if isinstance(features, tuple) else (features,)
        self.features = tuple(check.integer("features", n, least=1) for n in sizes)
        self.dt = usual_or_step("dt", dt)
        self.max_delay = None if max_delay is None else check.factor("max_delay", max_delay)
        self.mode = check.one_of("mode", mode, MODES)
        initial = check.factor("initial", initial)
        longest = initial if self.max_delay is None else min(initial, self.max_delay)
        start = draw_uniform(0.0, longest, self.features)
        self.delay = Bounded(start, least=0.0, most=self.max_delay)

    def _first_parameters(self) -> dict[str, Tensor]:
        return {"delay": self.delay}

    @property
    def memory(self) -> int | None:
        return _memory(to_numpy(self.delay.data), self.dt)

    @property
    def own_dt(self) -> float | None:
        return self.dt

    @property
    def linear(self) -> bool:
        """Whether the layer interpolates between two steps, which makes numbers of spikes."""
        return self.mode == "linear"

    def lags(self) -> tuple[Array, Array]:
        """Return the delays in whole steps, and the rests as shares of a step."""
        return whole_steps(to_numpy(self.delay.data), self.dt)

    def least_change(self, p: Tensor) -> float | None:
        return None if self.linear else self.dt

    @check.operation("shift")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is not None:
            # Rows and columns of frames may be unknown here.
            known = shape if all(isinstance(size, int) for size in shape) else (*self.features[:-1], shape[-1])
            if self.features not in (shape[-1:], known):
                raise ValueError(f"delay has shape {self.features}, a neuron of x each has shape {shape}")
        return shape

    def __call__(self, x: TensorLike) -> Tensor:
        return shift(x, delay=self.delay, dt=self.dt, mode=self.mode)

    def __repr__(self) -> str:
        sizes = self.features
        rest = changed_options(self, max_delay=None) + ("" if self.mode == "floor" else f", mode={self.mode!r}")
        return f"Delay({sizes if len(sizes) > 1 else sizes[0]}, dt={self.dt:g}{rest})"
