"""Arguments of kernels: windows, filters in time, pooling, neurons' constants and surrogates, deferred gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer.backend import Array, DType, namespace, sent_once
from cuslayer.kernels.step.kind import Curve

# The widest next layer whose product a GPU computes within a kernel, again at each step. `matmul` computes a wider one
# in advance, and reads each of its errors for 64 outputs at a time.
WIDEST_ON_GPU = 32


class Window(NamedTuple):
    """A window of rows and columns: kernel size, stride, padding and dilation."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, kernel: object, stride: object, padding: object, dilation: object) -> Window:
        """Return the window of integers or pairs of them. Errors: see `check.pair`."""
        return cls(
            check.pair("kernel_size", kernel, least=1),
            check.pair("stride", stride, least=1),
            check.pair("padding", padding, least=0),
            check.pair("dilation", dilation, least=1),
        )

    @property
    def tiles(self) -> bool:
        """Whether the windows lie next to each other, without padding and dilation."""
        return self.stride == self.kernel and self.padding == (0, 0) and self.dilation == (1, 1)

    @property
    def tap_type(self) -> DType:
        """The type of the number of a tap, in row order."""
        return np.dtype(np.uint8 if self.kernel[0] * self.kernel[1] <= 256 else np.int32)

    def outputs(self, image: tuple[int, ...], *, ceil: bool) -> tuple[int, int]:
        """Return the numbers of windows on an image (H, W); `ceil` counts a last one that reaches beyond its end."""
        sizes = []
        for axis, name in enumerate(("rows", "columns")):
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            stride = self.stride[axis]
            padded = image[axis] + 2 * self.padding[axis]
            if padded < reach and not (ceil and image[axis] > 0):
                raise ValueError(f"the window spans {reach} {name}, the padded image has {padded}")
            steps = max(0, -(-(padded - max(reach, stride)) // stride)) if ceil else (padded - reach) // stride
            sizes.append(steps + 1)
        return sizes[0], sizes[1]

    def image(self, outputs: tuple[int, ...], extra: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Return the rows and columns of the smallest image with so many windows, plus `extra`."""
        sizes = []
        for axis, name in enumerate(("rows", "columns")):
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            size = (outputs[axis] - 1) * self.stride[axis] - 2 * self.padding[axis] + reach + extra[axis]
            for what, count in (("x", outputs[axis]), ("the result", size)):
                if count < 1:
                    raise ValueError(f"{what} must have {name}, got {count}")
            sizes.append(size)
        return sizes[0], sizes[1]


# exp of a step in float32 is 2^n for the nearest whole n, times the polynomial in the rest r = x - n ln 2, the highest
# power first; its relative error is below 3e-7. ln 2 has two parts: the product of the first with n is exact.
EXP_LOG2_E = 1.4426950408889634
EXP_LN2 = (0.693359375, -2.1219444005469057e-4)
EXP_TERMS = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0)
# No float32 but 0 and infinity is below or above e to the power of this.
EXP_MOST = 105.0


def lowest(dtype: DType) -> float:
    """Return the value that no other is below: minus infinity for numbers, False or 0 for spikes."""
    return dtype.type(-np.inf if dtype.kind == "f" else 0)


def least_state(dtype: Any) -> float:
    """Return the absolute value below which kernels replace a state of a recurrence by 0: 2^-66 in float32.

    The difference of two larger states, times a constant of `least_factor` at least, is not subnormal.
    """
    return float(np.finfo(dtype).tiny) / (least_factor(dtype) * float(np.finfo(dtype).eps))


def least_factor(dtype: Any) -> float:
    """Return the value below which a constant of a recurrence counts as 0: 2^-37 in float32."""
    return float(np.finfo(dtype).eps) * 2.0**-14


def flushed_taps(taps: Array, dtype: DType) -> Array:
    """Return the samples of a filter in a number type, 0 where they are below `least_state`."""
    return namespace(taps).where(abs(taps) < least_state(dtype), taps.dtype.type(0), taps).astype(dtype)


class Shape(NamedTuple):
    """The shape f of a surrogate, ``dt rho(u) = height f((u - theta) / width)``."""

    curve: Curve
    constants: tuple[float, ...]  # in the order of ``curve.numbers``


# The shape of neurons that do not fire, f(z) = z: no gradient depends on it.
NO_SHAPE = Shape(Curve("", "z", (), (), "z"), ())


class ScaledShape(Protocol):
    """The surrogate gradient of a kind of neuron."""

    @property
    def shape(self) -> Shape:
        """The shape of the surrogate."""

    def surrogate(self, dtype: DType) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type."""

    def __hash__(self) -> int: ...


class ScaledSurrogate:
    """Base class of the constants of neurons with the surrogate ``dt rho(u) = height f((u - theta) / width)``."""

    theta: float
    width: float
    height: float

    def surrogate(self, dtype: DType) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type."""
        real = dtype.type
        return real(self.theta), real(1 / self.width), real(self.height)


@dataclass(frozen=True, kw_only=True)
class DynamicSpiking(ScaledSurrogate):
    """Base class of the constants of neurons with states: threshold and surrogate gradient."""

    theta: float
    exact: bool  # whether backward includes the path through the changes that a spike makes
    graded: bool  # whether a spike carries the potential
    width: float  # ``tau_rho theta``, the unit of the surrogate's argument
    height: float  # ``dt scale_rho / (tau_rho theta)``, the factor of its shape, times the step in milliseconds
    shape: Shape


def surrogate_numbers(spiking: ScaledShape, dtype: DType) -> dict[str, Any]:
    """Return the constants of ``dt rho(u) = height f((u - theta) steep)`` in a number type, by their names in CUDA."""
    shape = spiking.shape
    constants = {
        f"shape_{name}": dtype.type(value) for name, value in zip(shape.curve.numbers, shape.constants, strict=True)
    }
    return dict(zip(("theta", "steep", "height"), spiking.surrogate(dtype), strict=True)) | constants


def per_column(name: str, constants: Array, like: Array, features: tuple[int, ...]) -> Array:
    """Return constants that broadcast to neurons of a shape for kernels, (K,) in an array's number type.

    Column m has the constant m % K. Constants below `least_factor` are 0.
    """
    xp = namespace(like)
    flat = constants
    if constants.shape not in ((), (1,), features[-1:]):
        try:
            flat = xp.broadcast_to(constants, features)
        except ValueError:
            raise ValueError(f"{name} must broadcast to the neurons {features}, got shape {constants.shape}") from None
    flat = flat.reshape(-1)
    flat = xp.where(abs(flat) < least_factor(like.dtype), 0, flat)
    return xp.ascontiguousarray(check.as_type(name, flat, like.dtype))


def side_by_side(names: Sequence[str], constants: Sequence[Array], like: Array, features: tuple[int, ...]) -> Array:
    """Return constants that broadcast to neurons of a shape for kernels, (constants, K).

    Column m has number m % K of each. They are on the device of an array, in its number type; constants of the host are
    sent to a device once.
    """
    xp = namespace(like)
    if len(constants) != len(names):
        raise ValueError(f"constants must be {', '.join(names) or 'none'}, got {len(constants)} arrays")
    if not names:
        return no_columns(xp, like.dtype)
    if xp is np or any(namespace(values) is not np for values in constants):
        return _spread(names, constants, like, features)
    return sent_once(_spread(names, list(map(np.asarray, constants)), np.empty(0, like.dtype), features), like)


def no_columns(xp: Any, dtype: DType) -> Array:
    """Return no constants of neurons, for kernels, on the device in use."""
    none: Array = _none_on_the_host(dtype) if xp is np else xp.empty((0, 1), dtype)
    return none


@cache
def _none_on_the_host(dtype: DType) -> Array:
    return np.empty((0, 1), dtype)


def _spread(names: Sequence[str], constants: Sequence[Array], like: Array, features: tuple[int, ...]) -> Array:
    xp = namespace(like)
    columns = [per_column(name, column, like, features) for name, column in zip(names, constants, strict=True)]
    if not all(column.size for column in columns):  # there are no neurons
        return cast(Array, xp.zeros((len(columns), 1), like.dtype))
    most = max(column.size for column in columns)
    rows = [xp.broadcast_to(column, (most // column.size, column.size)).reshape(1, most) for column in columns]
    return cast(Array, xp.concatenate(rows, axis=0))


class Pooling(NamedTuple):
    """Sum pooling and the neurons after it."""

    window: Window  # the rows and columns that are summed
    gain: float  # the weight of every input
    constants: Any  # the constants that differ between the neurons
    spiking: Any  # their `StepSpiking`


class ClassCounts(NamedTuple):
    """Desired spike counts of classes by label."""

    labels: Array  # the class of each sample, (N,) int64, on the device of the spikes
    true: float  # the desired count of the labelled class
    false: float  # the desired count of the others


@dataclass(frozen=True, eq=False)
class Product:
    """The gradient of the spikes in front of a dense layer, ``errors @ weight.T``.

    A kernel that takes a product computes each element when it needs it, and stores no matrix.
    """

    errors: Array  # the gradient of the layer's weighted input, (rows, next)
    weight: Array  # the layer's weight, (outputs, next)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the matrix, (rows, outputs)."""
        return self.errors.shape[0], self.weight.shape[0]

    @property
    def dtype(self) -> DType:
        """The type of its elements."""
        return self.errors.dtype

    def materialize(self) -> Array:
        """Return the matrix."""
        g: Array = kernels.of(self.errors).dense.input_adjoint(self.errors, self.weight)
        return g


def places_of(shape: tuple[int, ...], inputs: int) -> tuple[int, ...]:
    """Return the axes of the places of a shape after T and N, each of which a weight of some inputs maps by itself.

    There are none where all features of a sample are the inputs.
    """
    features = math.prod(shape)
    if features == inputs:
        return ()
    if len(shape) > 1 and shape[-1] == inputs:
        return shape[:-1]
    of_place = f", {shape[-1]} on the last axis" if len(shape) > 1 else ""
    raise ValueError(f"x has {features} features{of_place}, weight expects {inputs}")


def narrow(g: Array | Product, widest: int) -> Array | Product:
    """Return a gradient unchanged, but a product of no inputs, or of more than `widest`, as an array."""
    return g.materialize() if isinstance(g, Product) and not 0 < g.errors.shape[1] <= widest else g
