"""Sigma-delta neurons: they send changes of an activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.neurons.base import SURROGATE, Names, set_checked, word_or_none
from cuslayer.neurons.dynamics import LONGEST, StepNeuron
from cuslayer.neurons.step import flushed


@check.constructed
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

    states: ClassVar[tuple[str, ...]] = ("v", "r")

    @property
    def rectifies(self) -> bool:
        """Whether the activation is ``max(v, 0)``; else it is v."""
        return bool(self.activation == "relu")

    def step(c, v, r, x):  # type: ignore[no-untyped-def]
        v = flushed(v + x if c.sums > 0 else x)
        a = 0.0 if c.rectifies > 0 and v < 0 else v
        u = flushed(a - r)
        s = abs(u) >= c.theta
        passes = not (c.rectifies > 0 and v <= 0)  # noqa: F841 backward uses it
        return v, a if s else r, u, s

    def backward(c, v, r, u, rho, g, passes):  # type: ignore[no-untyped-def]
        of_change = g + r
        r = flushed(r - of_change)
        v = flushed((of_change if passes else 0.0) + v)
        return v if c.sums > 0 else 0.0, r, v

    def backward_exact(c, v, r, u, rho, g, passes):  # type: ignore[no-untyped-def]
        size = abs(u)
        of_change = (g + r) * (size * rho + (1.0 if size >= c.theta else 0.0))
        r = flushed(r - of_change)
        v = flushed((of_change if passes else 0.0) + v)
        return v if c.sums > 0 else 0.0, r, v

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
