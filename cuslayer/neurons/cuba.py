"""Current-based leaky integrate-and-fire neurons: a current and a voltage that decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.neurons.base import Names
from cuslayer.neurons.dynamics import NAMED, in_64ths, tau_of_decay
from cuslayer.neurons.lif import Leaky
from cuslayer.neurons.step import flushed


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class CUBA(Leaky):
    """A current-based leaky integrate-and-fire neuron, lava-dl's CUBA in floating point.

    ::

        i[t] = a i[t-1] + x[t]                      a = exp(-dt / tau_i)
        u[t] = b r[t-1] + i[t]                      b = exp(-dt / tau_v)
        s[t] = (u[t] >= theta)
        r[t] = u[t] (1 - s[t])                      reset="zero"
               u[t] - theta s[t]                    reset="subtract"
               u[t]                                 reset=None
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    lava-dl's decays are ``1 - a`` and ``1 - b``: ``tau = -dt / log(1 - decay)``. Backward is as in `LIF`, then ``g_x[t]
    = a g_x[t+1] + g_u[t]``.

    Args:
        tau_i: time constant of the current, ms: a number, or an array that broadcasts to the layer's neurons, such as
            (C,) for one per channel. A `Bounded` is trained. Layers that share a neuron share it.
        tau_v: time constant of the voltage, ms; like tau_i.
        reset: "zero", "subtract", or None.
        theta, tau_rho, scale_rho, dt, gradient, surrogate, trained, bounds, graded, stateful: see `StepNeuron`, also
            for errors.

    Source: Davies et al. 2018, "Loihi: a neuromorphic manycore processor with on-chip learning", section 2.

    >>> import numpy as np
    >>> neuron = CUBA(tau_i=5.0, tau_v=10.0)
    >>> x = np.zeros((6, 1, 1)); x[0] = 0.5
    >>> neuron(x).data.ravel().tolist()
    [False, False, True, False, False, False]
    """

    tau_i: Any = 5.0
    tau_v: Any = 20.0

    states = ("i", "v")
    decays: ClassVar[Mapping[str, str]] = {"a": "tau_i", "b": "tau_v"}
    factors: ClassVar[Mapping[str, str]] = MappingProxyType({"alpha": "tau_i", "beta": "tau_v"})
    names: ClassVar[Names] = Names(
        "CUBA", needed={"theta": "theta", "tauI": "tau_i", "tauV": "tau_v"}, options={"reset": "reset", **NAMED}
    )

    @classmethod
    def of_decays(
        cls,
        threshold: float,
        current_decay: npt.ArrayLike,
        voltage_decay: npt.ArrayLike,
        *,
        dt: float = 1.0,
        **options: Any,
    ) -> CUBA:
        """Return the neuron with the constants of lava-dl's CUBA, rounded as in lava-dl for its default scale.

        lava-dl also truncates its states to 4096ths at each step; cuslayer does not. So a voltage within some 4096ths
        of the threshold may cross it in cuslayer and not in lava-dl.

        Args:
            threshold: truncated to a multiple of 1/64. A spike needs more than this: theta is the next float32
                number.
            current_decay: the fraction of the current that decays in a step, between 0 and 1; rounded to 4096ths.
            voltage_decay: the same for the voltage.
            dt: the step, ms, to which time constants refer; lava-dl has none.
            options: other arguments of `CUBA`.

        Raises:
            ValueError: a decay is not between 0 and 1, or a constant is out of its range.

        >>> CUBA.of_decays(1.25, 0.25, 0.03)
        CUBA(tau_i=3.47606, tau_v=32.7983, theta=1.25)
        """
        decays = {"tau_i": ("current_decay", current_decay), "tau_v": ("voltage_decay", voltage_decay)}
        taus = {name: tau_of_decay(*decay, dt) for name, decay in decays.items()}
        above = np.nextafter(np.float32(in_64ths("threshold", threshold, least=1)), np.float32(np.inf))
        return cls(theta=float(above), dt=dt, **taus, **options)

    def step(c, a, b, i, v, x):  # type: ignore[no-untyped-def]
        current = flushed(a * i + x)
        u = flushed(b * v + current)
        s = u >= c.theta
        r = c.share * u - c.drop if s else u
        return current, r, u, s

    def current(self, x: Array) -> Array | None:
        """Return the current i (T, N, ...) of the weighted input x; None if the neurons differ in tau_i.

        >>> import numpy as np
        >>> CUBA(tau_i=1.0).current(np.array([[[1.0]], [[0.0]]])).ravel().round(3).tolist()
        [1.0, 0.368]
        """
        return self.decaying(x, "tau_i")
