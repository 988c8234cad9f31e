"""The spike response model: a neuron's two filters, its threshold and its surrogate gradient."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from cuslayer import check, functions
from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.tape import Tensor


@dataclass(frozen=True)
class SRM:
    """A spike response neuron: it filters its weighted input and fires where its potential reaches the threshold.

    With ``a[t] = sum_k eps[k] x[t-k]``::

        eps[k] = (k dt / tau_sr) exp(1 - k dt / tau_sr)
        nu[k]  = -scale_ref theta (k dt / tau_ref) exp(1 - k dt / tau_ref)
        u[t]   = a[t] + sum over earlier spikes f of nu[t - f]
        s[t]   = (u[t] >= theta)
        rho(u) = scale_rho / (tau_rho theta) exp(-|u - theta| / (tau_rho theta))

    Args:
        theta: the threshold.
        tau_sr: time constant of the spike response, ms.
        tau_ref: time constant of the refractory response, ms.
        scale_ref: size of the refractory response, in thresholds.
        tau_rho: width of the surrogate, in thresholds.
        scale_rho: scale of the surrogate.
        dt: the step, ms.
        gradient: "slayer", as published, or "exact", which keeps the path through refraction.
        cutoff: the spike response ends where it has fallen under this; 0 never.
        ref_cutoff: the refractory response ends where its absolute value has fallen under this; 0 never.

    Raises:
        ValueError: a constant is out of its range, or gradient is an unknown word.
        TypeError: a constant is no number.

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
    scale_rho: float = 1.0
    dt: float = 1.0
    gradient: str = "slayer"
    cutoff: float = 0.01
    ref_cutoff: float = 0.01

    def __post_init__(self) -> None:
        check.one_of("SRM", "gradient", self.gradient, ("slayer", "exact"))
        for field in fields(self):
            if field.name != "gradient":
                rule = check.not_negative if field.name in ("scale_ref", "cutoff", "ref_cutoff") else check.positive
                object.__setattr__(self, field.name, rule("SRM", field.name, getattr(self, field.name)))

    @cached_property
    def filter(self) -> Alpha:
        """The spike response as operations take it."""
        return Alpha(1.0, self.tau_sr, self.dt, self.cutoff)

    @cached_property
    def spiking(self) -> Spiking:
        """Threshold, refractory response and surrogate as operations take them."""
        width = self.tau_rho * self.theta
        refractory = Alpha(-self.scale_ref * self.theta, self.tau_ref, self.dt, self.ref_cutoff)
        return Spiking(self.theta, refractory, width, self.dt * self.scale_rho / width)

    @property
    def response(self) -> Array:
        """The samples of the spike response eps, (K,) float64."""
        return self.filter.samples()

    @property
    def refractory(self) -> Array:
        """The samples of the refractory response nu, (K,) float64."""
        return self.spiking.refractory.samples()

    def psp(self, x: Any) -> Tensor:
        """Filter x (T, N, ...), spikes or numbers: ``a[t] = sum_k eps[k] x[t-k]``; see `functions.psp`."""
        return functions.psp(x, response=self.filter)

    def spike(self, u: Any) -> Tensor:
        """Refract and threshold a filtered input (T, N, ...) to boolean spikes; see `functions.spike`."""
        return functions.spike(u, spiking=self.spiking, exact=self.gradient == "exact")

    def __call__(self, x: Any) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...): ``spike(psp(x))`` in one pass."""
        return functions.neuron(x, response=self.filter, spiking=self.spiking, exact=self.gradient == "exact")
