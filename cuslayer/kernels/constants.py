"""Arguments of kernels: windows, filters in time, pooling, neurons' thresholds and surrogates, deferred gradients."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer.backend import Array, namespace
from cuslayer.kernels.host.memory import available_memory, count_elements, in_words

# The widest next layer whose product is computed within a kernel, again at each step. `matmul` computes a wider one in
# advance, and reads each of its errors for 64 outputs at a time.
WIDEST = 32


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

    def outputs(self, image: tuple[int, ...], *, ceil: bool) -> tuple[int, int]:
        """Return the numbers of windows on an image (H, W); `ceil` counts a last one that reaches beyond its end."""
        sizes = []
        for axis, name in enumerate(("rows", "columns")):
            reach, stride = self.dilation[axis] * (self.kernel[axis] - 1) + 1, self.stride[axis]
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


def least_state(dtype: Any) -> float:
    """Return the absolute value below which kernels replace a state of a recurrence by 0: 2^-66 in float32.

    The difference of two larger states, times a constant of `least_factor` at least, is not subnormal.
    """
    return float(np.finfo(dtype).tiny) / (least_factor(dtype) * float(np.finfo(dtype).eps))


def least_factor(dtype: Any) -> float:
    """Return the value below which a constant of a recurrence counts as 0: 2^-37 in float32."""
    return float(np.finfo(dtype).eps) * 2.0**-14


def flushed_taps(taps: Array, dtype: Any) -> Array:
    """Return the samples of a filter in a number type, 0 where they are below `least_state`."""
    return namespace(taps).where(abs(taps) < least_state(dtype), taps.dtype.type(0), taps).astype(dtype)


class Recurrence(NamedTuple):
    """An alpha function as a recurrence of two states, in the number type of the arrays.

    With ``cut`` samples of the filter (0: never cut) and the input x::

        q[t] = decay (q[t-1] + p[t-1]) - cut_q x[t-cut]
        p[t] = decay p[t-1] + x[t]     - cut_p x[t-cut]
        a[t] = gain q[t]
    """

    decay: Any
    gain: Any
    cut: int
    cut_p: Any
    cut_q: Any


@dataclass(frozen=True)
class Alpha:
    """The filter ``h[k] = amplitude (k dt / tau) exp(1 - k dt / tau)``, times in milliseconds.

    It is cut at the first k with ``k dt > tau`` and ``|h[k]| < cutoff``; with a cutoff of 0 it is never cut.
    """

    amplitude: float
    tau: float
    dt: float
    cutoff: float

    def value(self, k: int) -> float:
        """Return h[k], uncut."""
        x = k * self.dt / self.tau
        return self.amplitude * x * math.exp(1 - x)

    @cached_property
    def taps(self) -> int:
        """The number of samples before the cut; 0 if the filter is never cut."""
        if self.cutoff == 0:
            return 0
        return self._first_under(self.cutoff)

    def _first_under(self, level: float) -> int:
        """Return the first k after the peak with a sample below a level: after the peak they only fall."""

        def under(k: int) -> bool:
            return k * self.dt > self.tau and not abs(self.value(k)) >= level

        low = math.floor(self.tau / self.dt)
        high = low + 1
        while not under(high):
            low, high = high, high + 2 * (high - low)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if under(middle) else (middle + 1, high)
        return low

    def samples(self) -> Array:
        """Return the samples before the cut in float64; without a cut, the samples above float64 rounding.

        Raises:
            MemoryError: they do not fit in memory.
        """
        taps = self.taps or self._first_under(max(abs(self.amplitude), 1.0) * np.finfo(np.float64).eps)
        count_elements((taps,))
        needed, left = 4 * 8 * taps, available_memory()
        if taps > sys.maxsize // 64 or (left is not None and needed > left):
            free = "" if left is None else f", {in_words(left)} are free"
            raise MemoryError(
                f"response: {taps:,} samples for tau={self.tau:g} and dt={self.dt:g} need {in_words(needed)}{free}"
            )
        x = np.arange(taps) * (self.dt / self.tau)
        return self.amplitude * x * np.exp(1 - x)

    def apply(self, k: Any, x: Array) -> Array:
        """Return x (T, ...) filtered, ``a[t] = sum_k h[k] x[t-k]``, by the kernels k of its device."""
        return k.srm.psp(x, self)

    def adjoint(self, k: Any, g: Array) -> Array:
        """Return the correlation ``sum_k h[k] g[t+k]`` of g (T, ...)."""
        return k.srm.psp_adjoint(g, self)

    def recurrence(self, dtype: np.dtype[Any], steps: int) -> Recurrence:
        """Return the recurrence in a number type for `steps` steps; omit a cut after the last step."""
        real, least = dtype.type, least_factor(dtype)
        decay = math.exp(-self.dt / self.tau)
        decay = decay if decay >= least else 0.0
        cut = self.taps if self.taps < steps else 0
        tail = decay**cut if cut else 0.0
        tail = tail if tail >= least else 0.0
        gain = self.amplitude * math.e * self.dt / self.tau
        return Recurrence(real(decay), real(gain), cut, real(tail), real(cut * tail))


@dataclass(frozen=True, eq=False)
class Sampled:
    """Any filter, given by its samples (K,), the first at lag 0, and the step in milliseconds."""

    taps: Array
    dt: float

    @check.operation("psp")
    def __post_init__(self) -> None:
        if self.taps.ndim != 1:
            raise ValueError(f"response must be samples (K,), got shape {self.taps.shape}")

    def samples(self) -> Array:
        """Return the samples; see `Alpha.samples`."""
        return self.taps

    def apply(self, k: Any, x: Array) -> Array:
        """Return x (T, ...) filtered, as `Alpha.apply` does."""
        return k.filter_bank.fir(x, self.taps)

    def adjoint(self, k: Any, g: Array) -> Array:
        """Return the correlation of g (T, ...), as `Alpha.adjoint` does."""
        return k.filter_bank.fir_adjoint(g, self.taps)


class Shape(NamedTuple):
    """The shape f of a surrogate, ``dt rho(u) = height f((u - theta) / width)``."""

    code: int = 0  # its number in the kernels; 0 is the exponential, ``f(z) = exp(-|z|)``
    a: float = 0.0  # a constant of the shape, 0 where it has none
    b: float = 0.0

    @property
    def is_exponential(self) -> bool:
        """Whether it is the exponential, which has its own passes."""
        return self.code == 0


EXPONENTIAL = Shape()


class ScaledShape(Protocol):
    """The surrogate gradient of a kind of neuron."""

    @property
    def shape(self) -> Shape:
        """The shape of the surrogate."""

    def surrogate(self, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type."""

    def __hash__(self) -> int: ...


class ScaledSurrogate:
    """Base class of the constants of neurons with the surrogate ``dt rho(u) = height f((u - theta) / width)``."""

    theta: float
    width: float
    height: float

    def surrogate(self, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type."""
        real = dtype.type
        return real(self.theta), real(1 / self.width), real(self.height)


@dataclass(frozen=True)
class Spiking(ScaledSurrogate):
    """Threshold, refractory response and surrogate gradient."""

    theta: float
    refractory: Alpha  # the response of the potential to the neuron's own spike
    width: float  # ``tau_rho theta``, the unit of the surrogate's argument
    height: float  # ``dt scale_rho / (tau_rho theta)``, the factor of its shape, times the step in milliseconds
    shape: Shape = EXPONENTIAL  # the shape of the surrogate; fused passes have only the exponential

    def placed(self, response: Any, like: Array, features: tuple[int, ...]) -> Any:
        """Return the spike response of neurons of a shape for fused passes."""
        return response

    def fire(self, k: Any, x: Array, response: Any) -> tuple[Array, Array]:
        """Return the potentials and spikes for a weighted input (T, columns), which may be overwritten."""
        u, s = k.srm.neuron(x, response, self, overwrite=True)
        return u, s

    def fire_adjoint(self, k: Any, g: Array, u: Array, response: Any, exact: bool, *, overwrite: bool = True) -> Array:
        """Return the gradient of the weighted input in `fire`; with `overwrite`, it may overwrite u."""
        return k.srm.neuron_adjoint(g, u, response, self, exact, overwrite=overwrite)


@dataclass(frozen=True, kw_only=True)
class DynamicSpiking(ScaledSurrogate):
    """Base class of the constants of neurons with states: threshold and surrogate gradient."""

    theta: float
    exact: bool  # whether backward includes the path through the changes that a spike makes
    graded: bool  # whether a spike carries the potential
    width: float  # ``tau_rho theta``, the unit of the surrogate's argument
    height: float  # ``dt scale_rho / (tau_rho theta)``, the factor of its shape, times the step in milliseconds
    shape: Shape = EXPONENTIAL


@dataclass(frozen=True, kw_only=True)
class DeltaSpiking(DynamicSpiking):
    """Threshold, activation and surrogate gradient of sigma-delta neurons.

    The threshold is the least change sent. With `exact`, backward includes it; else backward sends every change.
    """

    sums: bool  # whether the input is summed over time; else it is the signal
    rectifies: bool  # whether the activation is ``max(v, 0)``; else it is v


class SurrogateNumbers(NamedTuple):
    """A surrogate, ``dt rho(u) = height f((u - theta) steep)``, in the number type of the arrays."""

    code: int  # the number of the shape f
    theta: Any
    steep: Any  # 1 / width
    height: Any  # the factor of f
    a: Any  # a constant of the shape
    b: Any


def surrogate_numbers(spiking: ScaledShape, dtype: np.dtype[Any]) -> SurrogateNumbers:
    """Return the surrogate of neurons in a number type."""
    real, shape = dtype.type, spiking.shape
    return SurrogateNumbers(shape.code, *spiking.surrogate(dtype), real(shape.a), real(shape.b))


class Pooling(NamedTuple):
    """Sum pooling and the neurons after it."""

    window: Window  # the rows and columns that are summed
    gain: float  # the weight of every input
    response: Any  # the spike response of the neurons; for neurons written as a step, their constants
    spiking: Any  # their threshold, refractory response and surrogate, or their `StepSpiking`


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
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""
        return self.errors.dtype

    def materialize(self) -> Array:
        """Return the matrix."""
        g: Array = kernels.of(self.errors).dense.input_adjoint(self.errors, self.weight)
        return g


def narrow(g: Array | Product) -> Array | Product:
    """Return a gradient unchanged, but a product of no inputs, or of more than `WIDEST`, as an array."""
    return g.materialize() if isinstance(g, Product) and not 0 < g.errors.shape[1] <= WIDEST else g
