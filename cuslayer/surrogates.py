"""Surrogate gradients: a smooth slope in place of the derivative of a spike, which is 0 or infinite.

A surrogate is a shape f. Neurons scale it to their threshold by ``tau_rho``, its width in thresholds, and
``scale_rho``::

    rho(u) = scale_rho / (tau_rho theta) f(z),   z = (u - theta) / (tau_rho theta)

Every shape except the last is 1 at the threshold. The surrogate is the slope of a smooth step, its primitive
``F(z) = integral from 0 to z of f``.

    cs.SRM(tau_rho=0.5, surrogate=cs.surrogates.Triangle())
    cs.LIF(surrogate="fast_sigmoid")
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.kernels.constants import Shape
from cuslayer.kernels.step.kind import exp, read_curve

__all__ = ["Arctan", "Boxcar", "Exponential", "FastSigmoid", "Gaussian", "MultiGaussian", "Surrogate", "Triangle"]

S = TypeVar("S", bound="Surrogate")


@dataclass(frozen=True)
@check.named
class Surrogate:
    """Base class of surrogates: ``rho(u) = height f((u - theta) / width)``.

    By itself a surrogate is its shape: theta is 0, width and height are 1. A neuron's surrogate is scaled by `scaled`,
    and compares equal to its shape.

    A surrogate of your own is a frozen dataclass with `f` and `integral`. The kernels of both devices are printed from
    `f`, which has plain arithmetic, as the step of a `StepNeuron`: ``+ - * /``, comparisons, `abs` and `exp`.

    Attributes:
        theta: the threshold.
        width: the width.
        height: the factor of the shape.
        name: the name in configuration files.

    >>> Triangle()(np.array([-0.5, 0.0, 2.0])).tolist()
    [0.5, 1.0, 0.0]
    >>> FastSigmoid().primitive(np.array([-1.0, 0.0, 3.0])).tolist()
    [-0.5, 0.0, 0.75]
    """

    theta: float = field(default=0.0, init=False, repr=False, compare=False)
    width: float = field(default=1.0, init=False, repr=False, compare=False)
    height: float = field(default=1.0, init=False, repr=False, compare=False)
    name: ClassVar[str] = ""

    def f(self, z: Array) -> Array:
        """Return the shape at z, the distance from the threshold in widths."""
        raise TypeError("a surrogate must define f")

    def integral(self, z: Array) -> Array:
        """Return the primitive of the shape, ``F(z) = integral from 0 to z of f``."""
        raise TypeError("a surrogate must define integral")

    def difference(self, z: Array, change: Array) -> Array:
        """Return ``F(z + change) - F(z)``."""
        return self.integral(z + change) - self.integral(z)

    @property
    def shape(self) -> Shape:
        """The shape for the kernels."""
        curve = read_curve(type(self).f)
        return Shape(curve, tuple(float(getattr(self, constant)) for constant in curve.numbers))

    def scaled(self: S, theta: float, width: float, height: float) -> S:
        """Return the surrogate with another threshold, width and height."""
        found = copy(self)
        for name, value in {"theta": theta, "width": width, "height": height}.items():
            object.__setattr__(found, name, value)
        return found

    def __call__(self, u: Array) -> Array:
        """Return rho(u) in u's number type; for a neuron's surrogate, per ms."""
        return u.dtype.type(self.height) * self.f(self._distance(u))

    def primitive(self, u: Array) -> Array:
        """Return the integral of rho from theta to u, in u's number type."""
        return u.dtype.type(self.height * self.width) * self.integral(self._distance(u))

    def _distance(self, u: Array) -> Array:
        real = u.dtype.type
        return (u - real(self.theta)) / real(self.width)


@check.constructed
@dataclass(frozen=True)
class Exponential(Surrogate):
    """SLAYER's surrogate, Laplace's density: ``f(z) = exp(-|z|)``, ``F(z) = sgn(z) (1 - exp(-|z|))``.

    Other papers write ``c alpha / 2 exp(-alpha |u - theta|)`` with area c: ``tau_rho = 1 / (alpha theta)`` and
    ``scale_rho = c / 2``, for a dt of 1.

    Source: Shrestha and Orchard 2018, section 3.1.

    >>> Exponential()(np.array([0.0])).tolist()
    [1.0]
    """

    name: ClassVar[str] = "exponential"

    def f(self, z: Array) -> Array:
        return exp(-abs(z))

    def integral(self, z: Array) -> Array:
        xp = namespace(z)
        return xp.copysign(-xp.expm1(-abs(z)), z)

    def difference(self, z: Array, change: Array) -> Array:
        xp = namespace(z)
        low, high = xp.minimum(z, z + change), xp.maximum(z, z + change)
        # On one side of the threshold, a difference of exponentials; across it, the sum of both sides.
        near = xp.exp(-xp.minimum(abs(low), abs(high)))
        one_side = near * -xp.expm1(-abs(change))
        across = -xp.expm1(xp.minimum(low, 0.0)) - xp.expm1(-xp.maximum(high, 0.0))
        return xp.copysign(xp.where((low < 0) & (high > 0), across, one_side), change)


EXPONENTIAL = Exponential()


@check.constructed
@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """The derivative of a fast sigmoid: ``f(z) = 1 / (1 + |z|)^2``, ``F(z) = z / (1 + |z|)``.

    Source: Zenke and Ganguli 2018, "SuperSpike", doi 10.1162/neco_a_01086.

    >>> FastSigmoid()(np.array([0.0, 1.0])).tolist()
    [1.0, 0.25]
    """

    name: ClassVar[str] = "fast_sigmoid"

    def f(self, z: Array) -> Array:
        below = 1 + abs(z)
        return 1 / (below * below)

    def integral(self, z: Array) -> Array:
        return z / (1 + abs(z))


@check.constructed
@dataclass(frozen=True)
class Arctan(Surrogate):
    """The derivative of the arc tangent: ``f(z) = 1 / (1 + z^2)``, ``F(z) = arctan z``.

    Source: Fang et al. 2021, "Incorporating learnable membrane time constant", arXiv 2007.05785, whose alpha is
    ``2 / (pi tau_rho theta)``.

    >>> Arctan()(np.array([0.0, 1.0])).tolist()
    [1.0, 0.5]
    """

    name: ClassVar[str] = "arctan"

    def f(self, z: Array) -> Array:
        return 1 / (1 + z * z)

    def integral(self, z: Array) -> Array:
        return namespace(z).arctan(z)


@check.constructed
@dataclass(frozen=True)
class Triangle(Surrogate):
    """A triangle: ``f(z) = max(0, 1 - |z|)``, ``F(z) = sgn(z) (m - m^2 / 2)`` with ``m = min(|z|, 1)``.

    Source: Bellec et al. 2018, "Long short-term memory and learning-to-learn in networks of spiking neurons", arXiv
    1803.09574.

    >>> Triangle()(np.array([0.0, 0.75, 1.5])).tolist()
    [1.0, 0.25, 0.0]
    """

    name: ClassVar[str] = "triangle"

    def f(self, z: Array) -> Array:
        height = 1 - abs(z)
        return 0.5 * (height + abs(height))

    def integral(self, z: Array) -> Array:
        m = abs(z).clip(None, 1)
        return namespace(z).copysign(m - m * m / 2, z)


@check.constructed
@dataclass(frozen=True)
class Gaussian(Surrogate):
    """A Gaussian: ``f(z) = exp(-z^2 / 2)``, ``F(z) = sqrt(pi / 2) erf(z / sqrt 2)``.

    Source: Yin et al. 2020, "Effective and efficient computation with multiple-timescale spiking recurrent neural
    networks", arXiv 2005.11633.

    >>> Gaussian()(np.array([0.0])).tolist()
    [1.0]
    """

    name: ClassVar[str] = "gaussian"

    def f(self, z: Array) -> Array:
        return exp(-0.5 * (z * z))

    def integral(self, z: Array) -> Array:
        return _gaussian_integral(z)


@check.constructed
@dataclass(frozen=True)
class Boxcar(Surrogate):
    """A box: ``f(z) = 1`` for ``|z| <= 1``, else 0; ``F(z) = z`` clipped to -1 .. 1.

    Source: Courbariaux et al. 2016, "Binarized neural networks", arXiv 1602.02830, the straight-through estimator.

    >>> Boxcar()(np.array([-1.0, 0.0, 1.5])).tolist()
    [1.0, 1.0, 0.0]
    """

    name: ClassVar[str] = "boxcar"

    def f(self, z: Array) -> Array:
        return abs(z) <= 1

    def integral(self, z: Array) -> Array:
        return z.clip(-1, 1)


@check.constructed
@dataclass(frozen=True)
class MultiGaussian(Surrogate):
    """A Gaussian with negative sides: errors with the wrong sign far from the threshold prevent silent neurons.

    ::

        f(z) = (1 + h) exp(-z^2 / 2) - h / s (exp(-(z - 1)^2 / (2 s^2)) + exp(-(z + 1)^2 / (2 s^2)))

    This is ``sqrt(2 pi) sigma`` times the published sum of three normal densities, with z in units of sigma. The
    published sum times gamma has ``tau_rho = sigma / theta`` and ``scale_rho = gamma / sqrt(2 pi)``, for a dt of 1.

    Args:
        h: the weight of the sides.
        s: the width of the sides, in widths of the middle.

    Raises:
        ValueError: h is negative, or s is not positive.
        TypeError: a constant is not a number.

    Source: Yin, Corradi and Bohte 2021, "Accurate and efficient time-domain classification with adaptive spiking
    recurrent neural networks", doi 10.1038/s42256-021-00397-w, with h = 0.15 and s = 6.

    >>> bool(MultiGaussian()(np.array([4.0]))[0] < 0)
    True
    """

    h: float = 0.15
    s: float = 6.0

    name: ClassVar[str] = "multi_gaussian"

    def __post_init__(self) -> None:
        object.__setattr__(self, "h", check.factor("h", self.h))
        object.__setattr__(self, "s", check.constant("s", self.s))

    def f(self, z: Array) -> Array:
        narrow = 0.5 / (self.s * self.s)
        sides = exp(-narrow * ((z - 1) * (z - 1))) + exp(-narrow * ((z + 1) * (z + 1)))
        return (1 + self.h) * exp(-0.5 * (z * z)) - self.h / self.s * sides

    def integral(self, z: Array) -> Array:
        sides = _gaussian_integral((z - 1) / self.s) + _gaussian_integral((z + 1) / self.s)
        return (1 + self.h) * _gaussian_integral(z) - self.h * sides


# The surrogates, by their names in files.
SURROGATES: dict[str, type[Surrogate]] = {
    kind.name: kind for kind in (Exponential, FastSigmoid, Arctan, Triangle, Gaussian, Boxcar, MultiGaussian)
}


def as_surrogate(given: object) -> Surrogate:
    """Return a surrogate, given as itself, by its name, or as a mapping of ``type`` and constants.

    >>> as_surrogate("triangle"), as_surrogate({"type": "multi_gaussian", "h": 0.2})
    (Triangle(), MultiGaussian(h=0.2, s=6.0))
    """
    if isinstance(given, Surrogate):
        return given
    if isinstance(given, Mapping):
        constants = dict(given)
        kind = SURROGATES[check.one_of("surrogate", constants.pop("type", None), SURROGATES)]
        known = [each.name for each in fields(kind) if each.init]
        for name in constants:
            if name not in known:
                raise ValueError(f"surrogate has no constant {name}{check.nearest(name, known)}")
        return kind(**constants)
    if not isinstance(given, str):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise TypeError(f"surrogate must be a surrogate of cs.surrogates or its name, got {what}")
    return SURROGATES[check.one_of("surrogate", given, SURROGATES)]()


def as_constant(surrogate: Surrogate) -> object:
    """Return a surrogate for a file, in a form for `as_surrogate`: None for the exponential, a name, or a mapping."""
    constants = {each.name: getattr(surrogate, each.name) for each in fields(surrogate) if each.init}
    if not constants:
        return None if surrogate == EXPONENTIAL else surrogate.name
    return {"type": surrogate.name} | constants


def _gaussian_integral(z: Array) -> Array:
    """Return the integral of exp(-z^2 / 2) from 0 to z."""
    flat = to_numpy(z).ravel()
    values = np.array([math.erf(each / math.sqrt(2)) for each in flat.tolist()], flat.dtype).reshape(z.shape)
    return math.sqrt(math.pi / 2) * (values if namespace(z) is np else to_device(values))
