"""The neuron of Intel's Loihi: fixed-point current and voltage, threshold and reset, with SLAYER's gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar, cast

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, differentiable, save_for_backward
from cuslayer.backend import Array, namespace
from cuslayer.kernels import Kernels
from cuslayer.kernels.constants import flushed_taps
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.filters import Sampled
from cuslayer.kernels.step.kind import Kind, read_step
from cuslayer.neurons.base import (
    SURROGATE,
    USUAL_STEP,
    Names,
    Neuron,
    StepByStep,
    scaled_or_none,
    scaled_surrogate,
    set_checked,
    shape_of,
    shown,
    usual_or_step,
)
from cuslayer.neurons.states import Carried
from cuslayer.neurons.step import rint, trunc
from cuslayer.surrogates import EXPONENTIAL, Surrogate

UNIT, SHARE = 4096.0, 1 / 4096.0  # decays are multiples of 1 / 2^12
MOST = 2.0**23 - 1  # the largest state


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedPoint(StepSpiking):
    """The constants of Loihi's neurons, forward and backward.

    Attributes:
        first: the first bin that has an effect, 0 or 1.
        samples: the response with which the gradient is correlated, (K,) float64.
    """

    first: int
    samples: Array


@differentiable
@check.operation
def loihi(x: Array, /, *, constants: FixedPoint, state: _State | None = None) -> tuple[Array, Pullback]:
    """Return the spikes of Loihi's neurons for the weighted input x.

    With ``h`` the response and v the saved voltage, backward is ``g_x[t] = dt sum_k h[k] rho(v[t+k]) g[t+k]``, without
    the path through the reset.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        constants: `Loihi.constants`.
        state: the state between calls; None to begin with 0.

    Returns:
        Spikes, boolean, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...).
        TypeError: x is not floating.

    >>> import numpy as np
    >>> from cuslayer.neurons import Loihi
    >>> x = np.zeros((6, 1, 1)); x[0] = 40
    >>> loihi(x, constants=Loihi().constants).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    check.weighted_input("x", x)
    k = kernels.of(x)
    u, s = run(k, x, constants) if state is None else state.run(k, x, constants)
    potential = save_for_backward(k, u, unit=constants.theta)
    dtype = x.dtype  # not x: the closure must not keep the weighted input alive

    return s, lambda g: adjoint(k, g.astype(dtype, copy=False), potential(), constants, state)


class _State(Carried):
    """The registers of neurons and the number of steps so far, (array (3, columns), steps)."""

    def copy(self) -> Any:
        return None if self.values is None else (self.values[0].copy(), self.values[1])

    def run(self, k: Kernels, x: Array, constants: FixedPoint) -> tuple[Array, Array]:
        """Return the voltage and the spikes of the next steps x (T, N, ...)."""
        if self.values is None:
            self.values = namespace(x).zeros((3, math.prod(x.shape[1:])), x.dtype), 0
        registers, steps = self.values
        self.values = registers, steps + len(x)
        return run(k, x, constants, registers, steps)


def adjoint(k: Kernels, g: Array, u: Array, constants: FixedPoint, state: _State | None = None) -> Array:
    """Return the gradient of the weighted input, ``sum_k h[k] rho(u[t+k]) g[t+k]``, by the kernels k."""
    found: Array = k.sampled_srm.surrogate_adjoint(g, u, constants)
    if state is not None and state.whole:
        later = [] if state.later is None else [state.later]
        found = namespace(g).concatenate([found, *later], axis=0)
        state.later = found[: len(constants.samples) - 1].copy()
        return cast(Array, k.filter_bank.fir_adjoint(found, constants.samples)[: len(g)])
    if k is not kernels.cpu:
        return cast(Array, k.filter_bank.fir_adjoint(found, constants.samples))
    flat = found.reshape(len(found), math.prod(found.shape[1:]))
    k.filter_bank.adjoint_into(flat, flat, flushed_taps(constants.samples, found.dtype)[None])
    return found


def run(
    k: Kernels, x: Array, constants: FixedPoint, states: Array | None = None, steps: int = 0
) -> tuple[Array, Array]:
    """Return the voltage and the spikes of the weighted input x (T, N, ...) after `steps` steps, by the kernels k."""
    if constants.first > steps and len(x):
        x = x.copy()
        x[: constants.first - steps] = 0
    u, s, _ = k.scan.forward(x[None], namespace(x).empty((0, 1), x.dtype), constants, states)
    return u, s


# The chip's registers: the mantissa of the threshold has 17 bits, decays have 12, the refractory delay 6. The chip also
# allows a weight exponent of -8, at which the smallest positive weight, 2, gives a current of 0.
_RANGES = {
    "vth_mant": (1, 2**17 - 1),
    "v_decay": (1, 2**12 - 1),
    "i_decay": (1, 2**12 - 1),
    "ref_delay": (1, 64),
    "wgt_exp": (-7, 7),
}
_SURROGATES = ("before_reset", "recorded")


@check.constructed
@dataclass(frozen=True)
class Loihi(Neuron):
    """The current-based neuron of Intel's Loihi, in the chip's integers.

    Each step is, with w the weighted input and ``>>`` on integers::

        i = sgn(i) ((|i| (4096 - i_decay)) >> 12) + 2^(6 + wgt_exp) w
        v = sgn(v) ((|v| (4096 - v_decay)) >> 12) + i
        s = (v > theta)                 theta = 64 vth_mant

    After a spike v stays 0, for ref_delay bins including the spike's. Both states saturate at +-(2^23 - 1), the range
    of signed 24-bit integers. ``2^(6 + wgt_exp) w`` is rounded to the nearest integer, halves to even; integer weights
    with a wgt_exp of at least -6 need no rounding. The chip's weights are multiples of 2; a layer's `weight_hook` can
    round to them.

    The gradient follows SLAYER-PyTorch: a correlation with h, half the integer response to an input of 2::

        g_w[t] = dt sum_k h[k] rho(v[t+k]) g_s[t+k]
        rho(v) = scale_rho / (max(h) tau_rho theta) exp(-|v - theta| / (tau_rho theta))

    Args:
        vth_mant: mantissa of the threshold, 1 to 131071.
        v_decay: decay of the voltage in 4096ths a step, 1 to 4095.
        i_decay: decay of the current in 4096ths a step, 1 to 4095.
        ref_delay: bins in which the voltage stays 0, including the spike's, 1 to 64.
        wgt_exp: exponent of the weights, -7 to 7.
        tau_rho: width of the surrogate, in thresholds.
        scale_rho: scale of the surrogate.
        dt: the step, ms. The chip's integers do not depend on it.
        first_bin: whether the input of bin 0 has an effect; False as in SLAYER-PyTorch. The gradient follows the
            formula in both cases.
        surrogate_at: the v of the surrogate at a spike: "before_reset", or "recorded", which is v_decay, as in
            SLAYER-PyTorch. In both modes v is 0 in the other refractory bins.
        surrogate: the shape of the surrogate in place of the exponential, one of `cs.surrogates` or its name.

    Raises:
        ValueError: a constant is out of its range, or surrogate_at is unknown.
        TypeError: a constant has the wrong type.

    Source: Davies et al. 2018, "Loihi: a neuromorphic manycore processor with on-chip learning"; the bounds of the
    states as in Lava's bit-accurate LIF. That one clips the voltage, and lets the current wrap.

    >>> neuron = Loihi()
    >>> neuron.theta, len(neuron.response), float(neuron.response.max())
    (5120.0, 110, 195.0)
    """

    vth_mant: int = 80
    v_decay: int = 128
    i_decay: int = 1024
    ref_delay: int = 1
    wgt_exp: int = 0
    tau_rho: float = 1.0
    scale_rho: float = 1.0
    dt: float = USUAL_STEP
    first_bin: bool = True
    surrogate_at: str = "before_reset"
    surrogate: Any = EXPONENTIAL

    parts: ClassVar[str] = "none"
    # SLAYER-PyTorch starts the weights before Loihi's neurons at this scale, and rounds them to signed 8-bit numbers.
    # On the chip a spike takes one step from layer to layer, and the longest delay is 62 steps.
    weight_scale: ClassVar[float] = 100.0
    weight_grid: ClassVar[tuple[float, tuple[float, float]]] = (2.0, (-256.0, 254.0))
    axon_delay: ClassVar[int] = 1
    max_delay: ClassVar[int] = 62
    names: ClassVar[Names] = Names(
        "LOIHI",
        needed={
            **{"vThMant": "vth_mant", "vDecay": "v_decay", "iDecay": "i_decay", "refDelay": "ref_delay"},
            **{"wgtExp": "wgt_exp", "tauRho": "tau_rho", "scaleRho": "scale_rho"},
        },
        options={"firstBin": "first_bin", "surrogateAt": "surrogate_at", **SURROGATE},
    )

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = check.integer(name, getattr(self, name), least=least)
            if value > most:
                raise ValueError(f"{name} must be at most {most}, got {value}")
            object.__setattr__(self, name, value)
        set_checked(self, tau_rho=check.constant, scale_rho=check.constant, dt=usual_or_step, first_bin=check.flag)
        check.one_of("surrogate_at", self.surrogate_at, _SURROGATES)
        scaled_surrogate(self, self._height / self.dt)

    @property
    def theta(self) -> float:
        """The threshold, ``64 vth_mant``."""
        return 64.0 * self.vth_mant

    @cached_property
    def response(self) -> Array:
        """Half the integer voltage after an input of 2, up to its first 0: (K,) float64."""
        i = v = 1 << (7 + self.wgt_exp)
        found = [v]
        while v > 0:
            i = (i * (4096 - self.i_decay)) >> 12
            v = ((v * (4096 - self.v_decay)) >> 12) + i
            found.append(v)
        samples = np.array(found) / 2
        samples.setflags(write=False)
        return samples

    @cached_property
    def filter(self) -> Sampled:
        """The response divided by its peak, the filter for `psp` and losses."""
        return Sampled(self.response / self.peak, self.dt)

    @cached_property
    def constants(self) -> FixedPoint:
        """The arguments of operations; the scale of the surrogate is divided by the peak of the response."""
        kind = self.kind()
        return FixedPoint(
            kind=kind,
            values=tuple(float(getattr(self, name)) for name in kind.numbers),
            exact=False,
            graded=False,
            first=0 if self.first_bin else 1,
            samples=self.response,
            theta=self.theta,
            width=self.width,
            height=self._height,
            shape=shape_of(self),
        )

    # The integers are floats: none exceeds 2^24, so that float32 represents each exactly.
    @property
    def gain(self) -> float:
        """The factor of the weighted input, a power of two."""
        return 2.0 ** (6 + self.wgt_exp)

    @property
    def i_keep(self) -> int:
        """The decay factor of the current, in 4096ths."""
        return 4096 - self.i_decay

    @property
    def v_keep(self) -> int:
        """The decay factor of the voltage, in 4096ths."""
        return 4096 - self.v_decay

    @property
    def hold(self) -> int:
        """The number of bins after a spike in which the voltage stays 0."""
        return self.ref_delay - 1

    @property
    def mark(self) -> int:
        """The recorded voltage at a spike; 0 for the voltage itself."""
        return self.v_decay if self.surrogate_at == "recorded" else 0

    def step(c, i, v, wait, x):  # type: ignore[no-untyped-def]
        # A state times its decay has 35 bits: the upper and lower 12 bits of the state multiply separately.
        upper = trunc(i * SHARE)
        lower = i - upper * UNIT
        current = upper * c.i_keep + trunc(lower * c.i_keep * SHARE) + rint(x * c.gain)
        current = MOST if current > MOST else current if current >= -MOST else -MOST  # NaN: the smallest state
        upper = trunc(v * SHARE)
        lower = v - upper * UNIT
        free = upper * c.v_keep + trunc(lower * c.v_keep * SHARE) + current
        free = MOST if free > MOST else free if free >= -MOST else -MOST
        value = 0 if wait > 0 else free
        s = value > c.theta
        recorded = (c.mark if c.mark != 0 else value) if s else value
        left = 0 if s else value
        waits = c.hold if s else wait - 1
        return current, left, waits, recorded, s

    @property
    def _height(self) -> float:
        return self.dt * self.scale_rho / (self.width * self.peak)

    @property
    def pool_gain(self) -> float:
        """The weight of a pooling layer before these neurons: one spike gives about ``1.1 theta``; a multiple of 2."""
        return 2.0 * round(1.1 * self.theta / (2 * self.peak))

    @property
    def period(self) -> int:
        """The minimum number of steps from one spike to the next, ``ref_delay``."""
        return self.ref_delay

    @property
    def peak(self) -> float:
        """The largest sample of the response."""
        return float(self.response.max())

    @property
    def relaxed(self) -> Surrogate | None:
        return scaled_or_none(self)

    @property
    def as_step(self) -> StepByStep | None:
        return StepByStep(self.constants, {}) if type(self).__call__ is Loihi.__call__ else None

    @property
    def simulation(self) -> StepByStep | None:
        return self.as_step

    def continued(self) -> Callable[[Tensor], Tensor] | None:
        if type(self).__call__ is not Loihi.__call__:
            return None
        state = _State()
        return lambda x: loihi(x, constants=self.constants, state=state)

    def fires(self, u: Array) -> Array:
        """Return where voltages u make a spike: ``u > theta``."""
        return u > u.dtype.type(self.theta)

    def current(self, x: Array) -> Array:
        """Return the current i (T, N, ...) for the weighted input x (T, N, ...): the chip's integers, in x's type.

        >>> Loihi(i_decay=2048).current(np.array([[[1.0]], [[0.0]], [[-1.0]]])).ravel().tolist()
        [64.0, 32.0, -48.0]
        """
        xp, c = namespace(x), self.constants
        out, i = xp.empty(x.shape, x.dtype), xp.zeros(x.shape[1:])
        for t in range(len(x)):
            drive = xp.rint(x[t] * self.gain) if t >= c.first else 0.0
            # In float64 the product of 35 bits is exact. NaN becomes the smallest state, as in the kernels.
            i = xp.trunc(i * self.i_keep / 4096) + drive
            i = out[t] = xp.where(i > MOST, MOST, xp.where(i >= -MOST, i, -MOST))
        return out

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...); see `functions.loihi`."""
        return loihi(x, constants=self.constants)

    @staticmethod
    @cache
    def kind() -> Kind:
        """Return the step in the form that kernels take."""
        return read_step("Loihi", Loihi.step, ("i", "v", "wait"), (), derived=False)

    def __repr__(self) -> str:
        return shown(self)
