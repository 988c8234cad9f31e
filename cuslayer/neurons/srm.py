"""The spike response model: two filters, a threshold and a surrogate gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, as_tensor
from cuslayer.backend import Array
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.filters import Alpha
from cuslayer.kernels.step.kind import Kind, ago, flushed, read_step
from cuslayer.kernels.step.spike_times import constants_of, timed
from cuslayer.neurons.base import (
    GRADIENTS,
    SURROGATE,
    USUAL_SCALE,
    USUAL_STEP,
    Names,
    Neuron,
    OnePass,
    SrmForm,
    StepByStep,
    scaled_or_none,
    scaled_surrogate,
    set_checked,
    shape_of,
    shown,
    usual_or_constant,
    usual_or_step,
)
from cuslayer.neurons.dynamics import simulate
from cuslayer.neurons.states import PopulationStates
from cuslayer.surrogates import EXPONENTIAL, Surrogate

# The states of filters that decay, each with the constant by which a step multiplies it.
_RESPONSE = {"q": "decay", "p": "decay"}
_REFRACTION = {"r": "ref_decay", "h": "ref_decay"}


def _step(c, q, p, r, h, x):  # type: ignore[no-untyped-def]
    """Filter the input and the neuron's own spikes, each by an alpha function that is cut after some steps."""
    left = ago(x, c.cut)
    left_spike = ago("s", c.ref_cut)
    q = c.decay * (q + p) - c.cut_q * left
    p = c.decay * p + x - c.cut_p * left
    r = c.ref_decay * (r + h) - c.ref_cut_q * left_spike
    u = c.gain * q + c.ref_gain * r
    s = u >= c.theta
    h = c.ref_decay * h + s - c.ref_cut_p * left_spike
    return q, p, r, h, u, s


def _backward(c, q, p, r, h, u, rho, g):  # type: ignore[no-untyped-def]
    """Correlate the response with the gradient e of the potential."""
    left = ago("e", c.cut)
    e = flushed(rho * g)
    q = c.decay * (q + p) - c.cut_q * left
    p = c.decay * p + e - c.cut_p * left
    return q, p, 0.0, 0.0, c.gain * q


def _backward_exact(c, q, p, r, h, u, rho, g):  # type: ignore[no-untyped-def]
    """Add to the gradient of a spike what it changes through refraction."""
    left = ago("e", c.cut)
    left_refraction = ago("e", c.ref_cut)
    r = c.ref_decay * (r + h) - c.ref_cut_q * left_refraction
    e = flushed(rho * (g + c.ref_gain * r))
    h = c.ref_decay * h + e - c.ref_cut_p * left_refraction
    q = c.decay * (q + p) - c.cut_q * left
    p = c.decay * p + e - c.cut_p * left
    return q, p, r, h, c.gain * q


def _refract(c, r, h, a):  # type: ignore[no-untyped-def]
    """Add the response to the neuron's own spikes to a filtered input a."""
    left_spike = ago("s", c.ref_cut)
    r = c.ref_decay * (r + h) - c.ref_cut_q * left_spike
    u = a + c.ref_gain * r
    s = u >= c.theta
    h = c.ref_decay * h + s - c.ref_cut_p * left_spike
    return r, h, u, s


def _refract_backward(c, r, h, u, rho, g):  # type: ignore[no-untyped-def]
    return 0.0, 0.0, flushed(rho * g)


def _refract_backward_exact(c, r, h, u, rho, g):  # type: ignore[no-untyped-def]
    left_refraction = ago("e", c.ref_cut)
    r = c.ref_decay * (r + h) - c.ref_cut_q * left_refraction
    e = flushed(rho * (g + c.ref_gain * r))
    h = c.ref_decay * h + e - c.ref_cut_p * left_refraction
    return r, h, e


@cache
def _kinds() -> tuple[Kind, Kind]:
    """Return the kind of a spike response neuron, and the same after the spike response."""
    whole = read_step(
        "SRM",
        _step,
        ("q", "p", "r", "h"),
        (),
        backward=_backward,
        backward_exact=_backward_exact,
        fading=_RESPONSE | _REFRACTION,
    )
    refracting = read_step(
        "Refracting",
        _refract,
        ("r", "h"),
        (),
        backward=_refract_backward,
        backward_exact=_refract_backward_exact,
        fading=_REFRACTION,
    )
    return whole, refracting


@check.operation
def neuron(x: TensorLike, /, *, spiking: StepSpiking) -> Tensor:
    """Return ``spike(psp(x))`` in one forward and one backward pass.

    Only the potential u is saved for backward.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        spiking: the filters, the threshold and the surrogate, `SRM.spiking`.

    Returns:
        Spikes, boolean, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...).
        TypeError: x is not floating.

    Source: Shrestha and Orchard 2018, equations 1, 2 and 11.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> x = np.zeros((6, 1, 1)); x[0] = 12.0
    >>> neuron(x, spiking=SRM(tau_sr=2.0).spiking).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    x = as_tensor(x)
    check.weighted_input("x", x)
    return simulate(x, spiking=spiking)


@check.operation
def spike(a: TensorLike, /, *, spiking: StepSpiking) -> Tensor:
    """Return the spikes: where the potential after refraction reaches the threshold, ``s[t] = (u[t] >= theta)``.

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``. The step has no derivative. Backward uses the surrogate
    ``rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))``, by default with ``f(z) = exp(-|z|)``:
    ``g_a[t] = dt rho(u[t]) g_s[t]``. With ``gradient="exact"`` it also propagates through refraction:
    ``g_a[t] = dt rho(u[t]) (g_s[t] + sum_{k>=1} nu[k] g_a[t+k])``.

    Args:
        a: (T, N, ...), the filtered input, float32 or float64.
        spiking: threshold, refractory response and surrogate, `SRM.refracting`.

    Returns:
        Spikes, boolean, of a's shape.

    Raises:
        ValueError: a is not (T, N, ...).
        TypeError: a is not floating.

    Source: Shrestha and Orchard 2018, equations 2 and 11; the exact mode Bauer et al. 2022, arXiv 2205.10242.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> spike(np.full((4, 1, 1), 10.0), spiking=SRM(tau_ref=1.0, scale_ref=2.0).refracting).data.ravel().tolist()
    [True, False, False, False]
    """
    a = as_tensor(a)
    check.weighted_input("a", a)
    return simulate(a, spiking=spiking)


# Beyond this multiple of dt, neighbouring steps have the same numbers in float64.
_LONGEST = 1e15


@check.constructed
@dataclass(frozen=True)
class SRM(Neuron):
    """A spike response neuron: it filters its weighted input and fires where its potential reaches the threshold.

    With ``a[t] = sum_k eps[k] x[t-k]``::

        eps[k] = (k dt / tau_sr) exp(1 - k dt / tau_sr)
        nu[k]  = -scale_ref theta (k dt / tau_ref) exp(1 - k dt / tau_ref)
        u[t]   = a[t] + sum over earlier spikes f of nu[t - f]
        s[t]   = (u[t] >= theta)
        rho(u) = scale_rho / (tau_rho theta) exp(-|u - theta| / (tau_rho theta))

    Another surrogate has its shape f in place of the exponential.

    Args:
        theta: the threshold.
        tau_sr: time constant of the spike response, ms.
        tau_ref: time constant of the refractory response, ms.
        scale_ref: size of the refractory response, in thresholds.
        tau_rho: width of the surrogate, in thresholds.
        scale_rho: scale of the surrogate; by default 1, in a `Recurrent` 0.1.
        dt: the step, ms.
        gradient: "slayer", as published, or "exact", which includes the path through refraction. "detached" is the same
            as "slayer": refraction is a sum over spikes, so without their derivative nothing of it is left. Or
            "eventprop", the derivative of the spike times; see `StepNeuron`.
        cutoff: value below which the spike response is truncated; 0 for no truncation.
        ref_cutoff: the same for the absolute value of the refractory response.
        surrogate: the shape of the surrogate, one of `cs.surrogates` or its name.

    Raises:
        ValueError: a constant is out of its range, or gradient or surrogate is unknown.
        TypeError: a constant is not a number, or surrogate has the wrong type.

    Warns:
        UserWarning: dt looks like seconds or microseconds, or is above 5 tau_sr or below a thousandth of it.

    Source: Shrestha and Orchard 2018, section 2, and 3.1 for the surrogate.

    >>> srm = SRM(theta=10.0, tau_sr=10.0)
    >>> len(srm.response), float(srm.response[10])
    (77, 1.0)
    """

    theta: float = 10.0
    tau_sr: float = 10.0
    tau_ref: float = 1.0
    scale_ref: float = 2.0
    tau_rho: float = 1.0
    scale_rho: float = USUAL_SCALE
    dt: float = USUAL_STEP
    gradient: str = "slayer"
    cutoff: float = 0.01
    ref_cutoff: float = 0.01
    surrogate: Any = EXPONENTIAL

    names: ClassVar[Names] = Names(
        "SRMALPHA",
        needed={
            **{"theta": "theta", "tauSr": "tau_sr", "tauRef": "tau_ref", "scaleRef": "scale_ref"},
            "tauRho": "tau_rho",
        },
        options={
            **{"scaleRho": "scale_rho", "gradient": "gradient", "cutoff": "cutoff", "refCutoff": "ref_cutoff"},
            **SURROGATE,
        },
    )

    def __post_init__(self) -> None:
        check.one_of("gradient", self.gradient, GRADIENTS)
        set_checked(self, theta=check.constant, tau_sr=check.positive, tau_ref=check.positive, scale_ref=check.factor)
        set_checked(self, tau_rho=check.constant, scale_rho=usual_or_constant, dt=usual_or_step)
        set_checked(self, cutoff=check.not_negative, ref_cutoff=check.not_negative)
        check.factor("scale_ref theta", self.scale_ref * self.theta)
        scaled_surrogate(self, self.dt * self.scale_rho / self.width / self.dt)
        for name in ("tau_sr", "tau_ref"):
            check.factor(f"dt / {name}", self.dt / getattr(self, name))
            if getattr(self, name) > _LONGEST * self.dt:
                got = f"got {getattr(self, name):g} and {self.dt:g}, both in ms"
                raise ValueError(f"{name} must be at most {_LONGEST:g} dt, {got}")
        if 5 * self.tau_sr < self.dt < 1e3:  # above, `check.time_step` has warned
            got = f"got {self.dt:g} and {self.tau_sr:g}, both in ms"
            check.warn(f"dt must be less than 5 tau_sr for the response to have a sample near its peak, {got}")
        elif 1e-3 < self.dt < 1e-3 * self.tau_sr:
            got = f"got {self.dt:g} and {self.tau_sr:g}, both in ms"
            check.warn(f"dt must be at least a thousandth of tau_sr, {got}")

    @cached_property
    def filter(self) -> Alpha:
        """The spike response as an argument of operations."""
        return Alpha(1.0, self.tau_sr, self.dt, self.cutoff)

    @cached_property
    def refraction(self) -> Alpha:
        """The refractory response, a negative alpha function."""
        return Alpha(-self.scale_ref * self.theta, self.tau_ref, self.dt, self.ref_cutoff)

    @cached_property
    def spiking(self) -> StepSpiking:
        """The filters, the threshold and the surrogate as an argument of operations."""
        return self._spiking(_kinds()[0])

    @cached_property
    def refracting(self) -> StepSpiking:
        """The neuron after its spike response, as an argument of `functions.spike`."""
        return self._spiking(_kinds()[1])

    def _spiking(self, kind: Kind) -> StepSpiking:
        values = {"theta": self.theta, **_named("", self.filter), **_named("ref_", self.refraction)}
        if self.gradient == "eventprop":
            kind = timed(kind)
            values |= constants_of(self.dt)
        return StepSpiking(
            kind=kind,
            values=tuple(values[name] for name in kind.numbers),
            lags=tuple(int(values[name]) for name in kind.lags),
            theta=self.theta,
            exact=self.gradient == "exact",
            graded=False,
            width=self.width,
            height=self.dt * self.scale_rho / self.width,
            shape=shape_of(self),
        )

    @property
    def response(self) -> Array:
        """The samples of the spike response eps, (K,) float64."""
        return self.filter.samples()

    @property
    def refractory(self) -> Array:
        """The samples of the refractory response nu, (K,) float64."""
        return self.refraction.samples()

    @property
    def _plain(self) -> bool:
        """Whether the equations above hold: a subclass that overrides one of these may compute something else."""
        own = ("__call__", "psp", "spike", "fires")
        return all(getattr(type(self), name) is getattr(SRM, name) for name in own)

    @property
    def parts(self) -> str:
        return "exact" if self._plain else "partial"

    @cached_property
    def one_pass(self) -> OnePass | None:
        return OnePass((), self.spiking) if self._plain and self.spiking.fusable else None

    @property
    def srm_form(self) -> SrmForm | None:
        if not self._plain or scaled_or_none(self) not in (None, EXPONENTIAL):
            return None
        return SrmForm(self.filter, self.refraction, self.spiking, self.refracting)

    @property
    def step_by_step(self) -> StepByStep | None:
        return StepByStep(self.spiking, {}) if self._plain else None

    def continued(self) -> Callable[[Tensor], Tensor] | None:
        if not self._plain:
            return None
        states = PopulationStates()
        return lambda x: simulate(x, spiking=self.spiking, states=states)

    @property
    def relaxed(self) -> Surrogate | None:
        return scaled_or_none(self) if self._plain else None

    def spike(self, u: TensorLike) -> Tensor:
        """Return the boolean spikes of a filtered input (T, N, ...); see `functions.spike`."""
        return spike(u, spiking=self.refracting)

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...): ``spike(psp(x))`` in one pass."""
        return neuron(x, spiking=self.spiking)

    def __repr__(self) -> str:
        return shown(self)


def _named(prefix: str, alpha: Alpha) -> dict[str, float]:
    """Return the constants of a filter's recurrence by their names in a step."""
    return {f"{prefix}{name}": value for name, value in alpha.constants._asdict().items()}
