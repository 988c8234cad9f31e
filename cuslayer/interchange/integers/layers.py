"""Layers of integers without weights: whole numbers of the input, sums of branches, and the numbers of the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cuslayer._still import each_step_alone
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, saves
from cuslayer.backend import Array
from cuslayer.interchange.integers.fixed import Factor, saturated
from cuslayer.layers import AvgPool, GlobalAvgPool, Layer
from cuslayer.layers.base import Shape, count_synapses
from cuslayer.layers.pool import pool
from cuslayer.network.join import Join

# Bits of a value, as which a layer of weights takes numbers.
VALUE_BITS = 16


def no_gradient(g: Array) -> Any:
    """Raise TypeError: integers have no gradient."""
    raise TypeError("a network of integers has no gradient; train the network that it was made of")


def whole(x: Array) -> Array:
    """Return whole numbers of any type as int64."""
    numbers: Array = np.rint(x).astype(np.int64)
    return numbers


@differentiable
@saves("nothing")
def _mapped(*branches: Array, function: Callable[..., Array]) -> tuple[Array, Pullback]:
    """Return the result of a function of arrays, without a gradient."""
    return function(*branches), no_gradient


class _StepLayer(Layer):
    """A layer that maps the elements of each step one by one."""

    keeps_shape = keeps_steps = True
    memory = 0

    @each_step_alone
    def __call__(self, x: Any) -> Tensor:
        return _mapped(as_tensor(x), function=self.mapped)

    def mapped(self, x: Array) -> Array:
        """Return the output for an input (T, N, ...)."""
        raise NotImplementedError


class Rounded(_StepLayer):
    """Numbers as whole numbers of 16 bits: the nearest multiple of ``2^-point``, halves to even; made by `quantize`.

    Attributes:
        point: the bits after the point, which may be below 0.
    """

    integers = VALUE_BITS

    def __init__(self, point: int) -> None:
        self.point = point

    def mapped(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            scaled = x.astype(np.float32) * np.float32(2.0**self.point)
        return saturated(np.rint(scaled.astype(np.float64)), VALUE_BITS)

    @property
    def described(self) -> str:
        """The numbers that the output stands for, as text."""
        most = 2.0 ** (VALUE_BITS - 1 - self.point)
        return f"multiples of {2.0**-self.point:g} from {-most:g} to below {most:g}"

    def __repr__(self) -> str:
        return f"Rounded(point={self.point})"


class Rescaled(_StepLayer):
    """Whole numbers times a factor, as whole numbers of 16 bits; made by `quantize`.

    Attributes:
        factor: a number for all neurons or for each.
        added: what is added.
    """

    integers = VALUE_BITS

    def __init__(self, factor: Factor, added: Array) -> None:
        self.factor, self.added = factor, added

    def mapped(self, x: Array) -> Array:
        return saturated(self.factor.times(whole(x)) + self.added, VALUE_BITS).astype(np.float64)

    def __repr__(self) -> str:
        return f"Rescaled(bits={VALUE_BITS})"


class Numbers(_StepLayer):
    """Whole numbers as the numbers that they stand for, at the end of a network; made by `quantize`.

    Attributes:
        scale: the number of 1, float32, for all neurons or for each.
        added: what is added.
    """

    def __init__(self, scale: Array, added: Array) -> None:
        self.scale, self.added = scale.astype(np.float32), added.astype(np.float32)

    def mapped(self, x: Array) -> Array:
        return whole(x).astype(np.float32) * self.scale + self.added

    def __repr__(self) -> str:
        return "Numbers()"


class IntegerJoin(Join):
    """The sum or the concatenation of branches of whole numbers, each times a factor; made by `quantize`.

    Attributes:
        factors: the factor of each branch.
        added: what is added to each.
    """

    form = "join"
    memory = 0
    integers = 32

    def __init__(self, how: str, factors: Sequence[Factor], added: Sequence[Array]) -> None:
        super().__init__(how)
        self.factors, self.added = tuple(factors), tuple(added)

    def __call__(self, *branches: Any) -> Tensor:
        return _mapped(*map(as_tensor, branches), function=self._joined)

    def _joined(self, *branches: Array) -> Array:
        terms = zip(branches, self.factors, self.added, strict=True)
        parts = [factor.times(whole(branch)) + added for branch, factor, added in terms]
        joined = np.sum(parts, axis=0) if self.how == "add" else np.concatenate(parts, axis=-1)
        return joined.astype(np.float64)


class Counts(AvgPool):
    """`AvgPool` of whole numbers: the sum of each window; made by `quantize`."""

    gain = 1.0
    integers = 32

    def fan_out(self, shape: Shape) -> Array | None:
        return count_synapses(self, shape)


class GlobalCounts(GlobalAvgPool):
    """`GlobalAvgPool` of whole numbers: the sum of each channel; made by `quantize`."""

    form = "global_mean"
    memory = 0
    integers = 32

    @each_step_alone
    def __call__(self, x: Any) -> Tensor:
        x = as_tensor(x)
        channels = self._channels(x.shape)
        return pool(x, kernel_size=x.shape[2:4], gain=1.0).reshape(*x.shape[:2], channels)
