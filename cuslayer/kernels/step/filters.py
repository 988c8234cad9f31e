"""Filters in time: an alpha function, which is a step of neurons that do not fire, and a filter given by samples."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, DType, namespace, numeric
from cuslayer.kernels import Kernels
from cuslayer.kernels.constants import NO_SHAPE, least_factor, no_columns
from cuslayer.kernels.host.memory import available_memory, count_elements, in_words
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.kind import Kind, ago, read_step


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
            width = high - low
            low = high
            high += 2 * width
        while low < high:
            middle = (low + high) // 2
            if under(middle):
                high = middle
            else:
                low = middle + 1
        return low

    def samples(self) -> Array:
        """Return the samples before the cut in float64; without a cut, the samples above float64 rounding.

        Raises:
            MemoryError: they do not fit in memory.
        """
        taps = self.taps or self._first_under(max(abs(self.amplitude), 1.0) * np.finfo(np.float64).eps)
        count_elements((taps,))
        needed = 4 * 8 * taps
        left = available_memory()
        if taps > sys.maxsize // 64 or (left is not None and needed > left):
            free = "" if left is None else f", {in_words(left)} are free"
            raise MemoryError(
                f"response: {taps:,} samples for tau={self.tau:g} and dt={self.dt:g} need {in_words(needed)}{free}"
            )
        x = np.arange(taps) * (self.dt / self.tau)
        return self.amplitude * x * np.exp(1 - x)

    def apply(self, k: Kernels, x: Array) -> Array:
        """Return x (T, ...) filtered, ``a[t] = sum_k h[k] x[t-k]``, by the kernels k of its device."""
        x = numeric(x)
        a: Array = k.scan.forward(x[None], no_columns(namespace(x), x.dtype), filtering(self))[0]
        return a

    def adjoint(self, k: Kernels, g: Array) -> Array:
        """Return the correlation ``sum_k h[k] g[t+k]`` of g (T, ...)."""
        # The filter's gradient does not depend on its output.
        y: Array = k.scan.adjoint(g, g, g[None][:0], no_columns(namespace(g), g.dtype), filtering(self))[0][0]
        return y

    @cached_property
    def constants(self) -> Recurrence:
        """The constants of the recurrence; decays that a float32 state does not show are 0."""
        least = least_factor(np.float32)
        decay = math.exp(-self.dt / self.tau)
        decay = decay if decay >= least else 0.0
        tail = decay**self.taps if self.taps else 0.0
        tail = tail if tail >= least else 0.0
        return Recurrence(decay, self.amplitude * math.e * self.dt / self.tau, self.taps, tail, self.taps * tail)

    def recurrence(self, dtype: DType, steps: int) -> Recurrence:
        """Return the recurrence in a number type for `steps` steps; omit a cut after the last step."""
        real = dtype.type
        decay, gain, cut, cut_p, cut_q = self.constants
        if cut >= steps:
            return Recurrence(real(decay), real(gain), 0, real(0), real(0))
        return Recurrence(real(decay), real(gain), cut, real(cut_p), real(cut_q))


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

    def apply(self, k: Kernels, x: Array) -> Array:
        """Return x (T, ...) filtered, as `Alpha.apply` does."""
        return k.filter_bank.fir(x, self.taps)

    def adjoint(self, k: Kernels, g: Array) -> Array:
        """Return the correlation of g (T, ...), as `Alpha.adjoint` does."""
        return k.filter_bank.fir_adjoint(g, self.taps)


def _step(c, q, p, x):  # type: ignore[no-untyped-def]
    left = ago(x, c.cut)
    q = c.decay * (q + p) - c.cut_q * left
    p = c.decay * p + x - c.cut_p * left
    return q, p, c.gain * q


def _backward(c, q, p, u, rho, g):  # type: ignore[no-untyped-def]
    """Correlate the filter with the gradient e of the output: the same recurrence, back in time."""
    left = ago("e", c.cut)
    e = g
    q = c.decay * (q + p) - c.cut_q * left
    p = c.decay * p + e - c.cut_p * left
    return q, p, c.gain * q


@cache
def _kind() -> Kind:
    return read_step("Filter", _step, ("q", "p"), (), backward=_backward, fading={"q": "decay", "p": "decay"})


@cache
def filtering(alpha: Alpha) -> StepSpiking:
    """Return an alpha function as neurons that do not fire, for kernels."""
    kind = _kind()
    constants = alpha.constants._asdict()
    return StepSpiking(
        kind=kind,
        values=tuple(constants[name] for name in kind.numbers),
        lags=(alpha.taps,),
        theta=math.inf,
        exact=False,
        graded=False,
        width=1.0,
        height=0.0,
        shape=NO_SHAPE,
    )
