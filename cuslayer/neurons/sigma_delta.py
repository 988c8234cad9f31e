"""Sigma-delta neurons: they send changes of an activation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._tape import Pullback, Tensor, differentiable, save_for_backward
from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import DeltaSpiking
from cuslayer.neurons.base import SURROGATE, Names, set_checked, word_or_none
from cuslayer.neurons.dynamics import LONGEST, StepNeuron
from cuslayer.neurons.states import States


@differentiable
@check.operation
def sigma_delta(x: Array, /, *, spiking: DeltaSpiking, states: States | None = None) -> tuple[Array, Pullback]:
    """Return the changes that sigma-delta neurons send, for the weighted input x; the equations are in `SigmaDelta`.

    Unless ``spiking.exact``, backward treats every change as sent.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        spiking: threshold, activation and surrogate.
        states: the states between calls; None to begin with 0.

    Returns:
        The changes, of x's shape and type, 0 for no change.

    Raises:
        ValueError: x is not (T, N, ...).
        TypeError: x is not floating.

    >>> import numpy as np
    >>> x = np.array([0.5, 0.25, 0.25, 0.0, -2.0]).reshape(5, 1, 1)
    >>> sigma_delta(x, spiking=SigmaDelta(theta=0.4).spiking).data.ravel().tolist()
    [0.5, 0.0, 0.5, 0.0, -1.0]
    """
    check.weighted_input("x", x)
    k = kernels.of(x)
    held = None if states is None else states.begin(x, 2)
    u, s, passes = k.sigma_delta.forward(x, spiking, held)
    out = namespace(x).where(s, u, u.dtype.type(0))
    potential, dtype = save_for_backward(k, u), x.dtype

    def pullback(g: Array) -> Array:
        g = g.astype(dtype, copy=False)
        later = None if states is None else states.end(g, 2)
        return k.sigma_delta.adjoint(g, potential(), passes, spiking, later)

    return out, pullback


@dataclass(frozen=True, eq=False, repr=False)
class SigmaDelta(StepNeuron):
    """A sigma-delta neuron: it sums changes, applies an activation, and sends the activation's changes.

    ::

        v[t] = v[t-1] + x[t]                        x[t] with sums=False
        a[t] = max(v[t], 0)                         v[t] with activation=None
        u[t] = a[t] - r[t-1]
        s[t] = (|u[t]| >= theta)
        y[t] = u[t] s[t]                            the output: numbers, 0 for none
        r[t] = r[t-1] + y[t]                        the receivers' sum of a

    The sum of the output differs from a by less than theta. So a network of these neurons approximates a network of the
    activation, and sends little where its input changes little. The first layer encodes a signal with ``sums=False``.
    With sums, `psp` and the losses that use it sum the output over time, as its receivers do.

    Backward differentiates ``y[t] = a[t] - a[t-1]``, as in lava-dl. With ``gradient="exact"`` it differentiates the
    equations, with ``ds/du = dt rho(|u|) sign(u)``.

    Args:
        theta: the smallest change that a neuron sends.
        activation: "relu", or "none" or None.
        sums: whether the neuron sums its input over time: the input is changes, not the signal itself.
        tau_rho, scale_rho, dt, gradient, surrogate, stateful: see `StepNeuron`.

    Raises:
        ValueError: as in `StepNeuron`, or activation is unknown, graded is False, or trained is True: spikes always
            have a size, and there are no time constants.

    Source: O'Connor and Welling 2016, "Sigma delta quantized networks", arXiv 1611.02024; the documentation of
    lava-dl's sigma-delta neuron for the equations.

    >>> import numpy as np
    >>> neuron = SigmaDelta(theta=0.5, sums=False)
    >>> neuron(np.array([0.0, 0.3, 0.6, 0.7, 0.0]).reshape(5, 1, 1)).data.ravel().tolist()
    [0.0, 0.0, 0.6, 0.0, -0.6]
    """

    theta: float = 0.1
    activation: Any = "relu"
    sums: bool = True
    graded: bool = True

    names: ClassVar[Names] = Names(
        "SIGMADELTA",
        needed={"theta": "theta"},
        options={
            **{"activation": "activation", "sums": "sums", "tauRho": "tau_rho", "scaleRho": "scale_rho"},
            **{"gradient": "gradient", **SURROGATE},
        },
    )

    def __post_init__(self) -> None:
        set_checked(self, activation=word_or_none("relu", "none"), sums=check.flag)
        super().__post_init__()
        for name, only in (("graded", True), ("trained", False)):
            if getattr(self, name) is not only:
                raise ValueError(f"{name} must be {only}, got {not only}")

    @cached_property
    def spiking(self) -> DeltaSpiking:
        """Threshold, activation and surrogate as an argument of operations."""
        return DeltaSpiking(sums=self.sums, rectifies=self.activation == "relu", **self._constants())

    @property
    def columns(self) -> dict[str, Any]:
        return {}

    @property
    def response(self) -> Array:
        """The change of the activation after an input of 1, (K,) float64: 1, with sums in each of 65,536 steps."""
        return np.ones(LONGEST if self.sums else 1)

    @property
    def gap(self) -> float:
        """The change that is sent, theta: at rest nothing changes."""
        return self.theta

    @property
    def parts(self) -> str:
        return "none"

    @property
    def pool_gain(self) -> float:
        """The weight of a pooling layer before these neurons: 1, the sum of the changes."""
        return 1.0

    def fires(self, u: Array) -> Array:
        """Return where neurons send a change u: ``|u| >= theta``."""
        return abs(u) >= u.dtype.type(self.theta)

    def operate(self, x: Any, states: States | None, *more: Any) -> Tensor:
        return sigma_delta(x, spiking=self.spiking, states=states)
