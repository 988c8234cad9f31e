"""Layers without weights: dropout, competition, the mean over groups, and decimation in time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, saves
from cuslayer.backend import Array, contiguous, namespace, numeric, numeric_type
from cuslayer.layers.base import Layer, Shape
from cuslayer.neurons.states import Carried


@differentiable
@saves("nothing")
@check.operation
def dropout(x: Array, /, *, p: float) -> tuple[Array, Pullback]:
    """Silence each neuron of each sample with probability p at all steps; scale the others by ``1 / (1 - p)``.

    The seeded generator draws the neurons; a GPU draws others than the CPU, but the same for the same seed. The output
    is numbers: a scaled spike is not a spike.

    Args:
        x: (T, N, ...), spikes (taken as float32) or numbers.
        p: the probability, 0 <= p < 1.

    Returns:
        The scaled signal, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or p lies outside [0, 1).
        TypeError: p is not a number.

    >>> import numpy as np
    >>> dropout(np.ones((2, 1, 3)), p=0.0).data.tolist()
    [[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]]
    """
    check.time_first("x", x)
    p = check.fraction("p", p)
    y, scale = kernels.of(x).random.dropout(x, p)
    return y, lambda g: g * scale


class Dropout(Layer):
    """Silence each neuron of each sample with probability p in training; see `functions.dropout`.

    In evaluation the output is the input. Arguments and errors: see the function.

    >>> import numpy as np
    >>> layer = Dropout(0.5)
    >>> layer.training = False
    >>> layer(np.ones((1, 1, 2), bool)).data.tolist()
    [[[True, True]]]
    """

    keeps_shape = keeps_steps = True
    of_batch = True
    form = "same"

    def __init__(self, p: float) -> None:
        self.p = check.fraction("p", p)

    def __call__(self, x: TensorLike) -> Tensor:
        if self.training:
            return dropout(x, p=self.p)
        return as_tensor(x)

    def continued(self) -> Callable[..., Tensor] | None:
        if type(self).__call__ is not Dropout.__call__:
            return super().continued()
        factors = Carried()  # where the first chunk runs again, it draws again

        def run(x: Tensor) -> Tensor:
            if self.training and factors.values is None:
                ones = namespace(x.data).ones((1, *x.shape[1:]), numeric_type(x.dtype))
                factors.values = self(ones).data
            return x * Tensor(factors.values) if self.training else x

        return run

    def for_sample(self, x: Tensor, sample: slice) -> Callable[..., Tensor]:
        if not self.training:
            return self
        ones = namespace(x.data).ones((1, *x.shape[1:]), numeric_type(x.dtype))
        factors = self(ones).data[:, sample]
        return lambda of_sample: of_sample * Tensor(factors)

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"


AMONG = ("layer", "channels")


@differentiable
@saves("nothing")
@check.operation
def k_winners(x: Array, /, *, k: int, among: str = "layer") -> tuple[Array, Pullback]:
    """Keep the k largest elements of each step and sample, and set all others to 0.

    Among equal elements, the lowest index wins. Only winners get a gradient; it is 0 for all others.

    Args:
        x: (T, N, ...), numbers.
        k: the number of winners.
        among: "layer", for winners among all neurons, or "channels", for winners among the channels of each pixel.

    Returns:
        The winners, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), k is below 1 or above the number of neurons, or among is unknown.
        TypeError: x is not floating, or k is not an integer.

    >>> import numpy as np
    >>> k_winners(np.array([[[3.0, 1.0, 2.0, 3.0]]]), k=2).data.tolist()
    [[[3.0, 0.0, 0.0, 3.0]]]
    """
    check.time_first("x", x, least_dimensions=3)
    check.floating("x", x)
    k = check.integer("k", k, least=1)
    check.one_of("among", among, AMONG)
    count = _check_count(k, among, x.shape[2:])
    xp, shape = namespace(x), x.shape
    rows = x.reshape(x.size // count, count)
    # Both find the k-th largest; on a CPU a partition is faster.
    ordered = np.partition(rows, count - k, axis=1) if xp is np else xp.sort(rows, axis=1)
    least = ordered[:, count - k : count - k + 1]
    above, equal = rows > least, rows == least
    left = k - above.sum(axis=1, keepdims=True)
    wins = (above | (equal & (equal.cumsum(axis=1) <= left))).reshape(shape)
    return xp.where(wins, x, x.dtype.type(0)), lambda g: xp.where(wins, g, g.dtype.type(0))


def _check_count(k: int, among: str, shape: Shape) -> int:
    """Return the number of competing neurons of a layer; raise ValueError if k is more."""
    # Rows and columns of frames may be unknown here.
    known = among == "channels" or all(isinstance(size, int) for size in shape)
    count = shape[-1] if among == "channels" else math.prod(shape) if known else k
    if k > count:
        raise ValueError(f"k must be at most the {count} neurons that compete, got {k}")
    return count


class KWinners(Layer):
    """Competition before neurons: at each step the k largest weighted inputs pass, all others are 0.

    It goes between a layer and its neurons. Arguments and errors: see `functions.k_winners`.

    >>> import numpy as np
    >>> KWinners(1)(np.array([[[0.5, 2.0]], [[-1.0, -3.0]]])).data.tolist()
    [[[0.0, 2.0]], [[-1.0, 0.0]]]
    """

    keeps_shape = keeps_steps = True
    memory = 0
    form = "winners"

    def __init__(self, k: int, *, among: str = "layer") -> None:
        self.k = check.integer("k", k, least=1)
        self.among = check.one_of("among", among, AMONG)

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is not None:
            _check_count(self.k, self.among, shape)
        return shape

    def __call__(self, x: TensorLike) -> Tensor:
        return k_winners(x, k=self.k, among=self.among)

    def __repr__(self) -> str:
        return f"KWinners({self.k}{'' if self.among == 'layer' else ', among=' + repr(self.among)})"


class Average(Layer):
    """The mean over equal groups of channels: each group is a population of neurons that votes for a class.

    Group i is channels ``i C / groups .. (i+1) C / groups - 1``; for frames, the mean is over all pixels too::

        y[t, n, i] = mean of x[t, n, ..., c] over group i

    The mean of spikes is a number from 0 to 1; summed over time it is the mean spike count of the group.

    Args:
        groups: the number of groups, one for each class.

    Raises:
        ValueError: groups is under 1.
        TypeError: groups is not an integer.

    >>> import numpy as np
    >>> Average(2)(np.array([[[True, True, False, True]]])).data.tolist()
    [[[1.0, 0.5]]]
    """

    memory = 0
    keeps_steps = True
    passes_spikes = True
    form = "vote"

    def __init__(self, groups: int) -> None:
        self.groups = check.integer("groups", groups, least=1)

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the means (T, N, groups) of x (T, N, C) or (T, N, H, W, C).

        Raises:
            ValueError: x has no channels, or their number is not a multiple of groups.
        """
        x = as_tensor(x)
        check.time_first("x", x, least_dimensions=3)
        steps, batch, *pixels, channels = x.shape
        self.output_shape(x.shape[2:])
        split = x.reshape(steps, batch, *pixels, self.groups, channels // self.groups)
        return split.mean(axis=(*range(2, 2 + len(pixels)), split.ndim - 1))

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape and shape[-1] % self.groups:
            raise ValueError(f"x must have a multiple of {self.groups} channels, got {shape[-1]}")
        return (self.groups,)

    def __repr__(self) -> str:
        return f"Average({self.groups})"


HOW = ("sum", "mean", "max", "last")


@differentiable
@saves("nothing")
@check.operation
def decimate(x: Array, /, *, factor: int, how: str = "sum") -> tuple[Array, Pullback]:
    """Make one step of several: with f the factor, ``y[t]`` combines the steps ``f t .. f t + f - 1`` of x.

    It is their sum, mean or maximum, or the last one. Steps after the end are 0. Backward gives a step's gradient to
    all steps of a sum, and an equal part to all steps of a mean. For the last one and the maximum, it gives the
    gradient to this step; equal maxima share it evenly.

    Args:
        x: (T, N, ...), spikes or numbers.
        factor: the number of steps that become one.
        how: "sum", "mean", "max" or "last"; with the last two, spikes stay spikes.

    Returns:
        (ceil(T / factor), N, ...).

    Raises:
        ValueError: x is not (T, N, ...), factor is under 1, or how is unknown.
        TypeError: factor is not an integer.

    >>> import numpy as np
    >>> decimate(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), factor=2).data.ravel().tolist()
    [3.0, 3.0]
    """
    check.time_first("x", x)
    factor = check.integer("factor", factor, least=1)
    check.one_of("how", how, HOW)
    xp, steps, rest = namespace(x), len(x), x.shape[1:]
    x = numeric(x) if how in ("sum", "mean") else x
    missing = -steps % factor
    if missing:
        x = xp.concatenate([x, xp.zeros((missing, *rest), x.dtype)], axis=0)
    grouped = x.reshape(-1 if x.size else len(x) // factor, factor, *rest)
    shape, share = grouped.shape, None
    if how == "last":
        y: Array = contiguous(grouped[:, factor - 1])
    elif how == "max":
        y = grouped.max(axis=1)
        largest: Array = grouped == y[:, None]
        share = largest, largest.sum(axis=1, keepdims=True)
    else:
        y = grouped.sum(axis=1)
        y = y / y.dtype.type(factor) if how == "mean" else y

    def pullback(g: Array) -> Array:
        spread = xp.broadcast_to(g[:, None], shape)
        if share is not None:
            found = spread * share[0] / share[1].astype(g.dtype)
        elif how == "last":
            found = xp.zeros(shape, g.dtype)
            found[:, factor - 1] = g
        else:
            found = spread / g.dtype.type(factor) if how == "mean" else spread
        return contiguous(found).reshape(len(found) * factor, *rest)[:steps].astype(g.dtype, copy=False)

    return y, pullback


class Decimate(Layer):
    """Decimation in time: ``factor`` steps become one; see `functions.decimate`.

    Neurons after it have a dt that is ``factor`` times as long. `stream` cannot run it, and `explain` works only before
    it. Arguments and errors: see the function.

    >>> import numpy as np
    >>> Decimate(2, how="max")(np.array([[[True]], [[False]], [[False]], [[False]]])).data.ravel().tolist()
    [True, False]
    """

    keeps_shape = True
    passes_spikes = True

    def __init__(self, factor: int, *, how: str = "sum") -> None:
        self.factor = check.integer("factor", factor, least=1)
        self.how = check.one_of("how", how, HOW)

    def __call__(self, x: TensorLike) -> Tensor:
        return decimate(x, factor=self.factor, how=self.how)

    def __repr__(self) -> str:
        return f"Decimate({self.factor}{'' if self.how == 'sum' else f', how={self.how!r}'})"
