"""Leaky neurons: the operation that `LIF` and `CUBA` share, and its wiring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.kernels.leaky.constants import LeakySpiking, Reset
from cuslayer.kernels.recurrent.constants import LeakyProgram
from cuslayer.neurons.base import LeakyForm, StepByStep
from cuslayer.neurons.dynamics import Dynamic, States, of_constants, per_column, sampled
from cuslayer.neurons.potential import save_for_backward
from cuslayer.tape import Gradient, Pullback, Tensor, differentiable

RESETS = ("zero", "subtract", "none")


@differentiable
@check.operation
def leaky(
    x: Array, i_keep: Array, v_keep: Array, /, *, spiking: LeakySpiking, states: States | None = None
) -> tuple[Array, Pullback]:
    """Return the spikes of leaky neurons with a current, for the weighted input x.

    ::

        i[t] = i_keep i[t-1] + x[t]
        u[t] = v_keep r[t-1] + i[t]
        s[t] = (u[t] >= theta)
        r[t] = share u[t] - drop after a spike, u[t] after none

    Backward has ``dt rho(u)`` for the derivative of a spike; the path through the reset is dropped unless
    ``spiking.exact``. Only u is saved.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        i_keep: the share of the current that a step keeps, 0 for neurons without one; it broadcasts to the neurons.
        v_keep: the share of the voltage that a step keeps; it broadcasts to the neurons.
        spiking: threshold, reset and surrogate.
        states: the states between calls; None to begin with 0.

    Returns:
        Spikes of x's shape, boolean; where they carry the voltage, numbers, 0 for no spike.

    Raises:
        ValueError: x is not (T, N, ...), or the shares do not broadcast to its neurons.
        TypeError: x is not floating.

    >>> import numpy as np
    >>> from cuslayer.neurons import LIF
    >>> x = np.full((5, 1, 1), 0.75)
    >>> leaky(x, np.zeros(1), np.full(1, 0.5), spiking=LIF(reset="zero").spiking).data.ravel().tolist()
    [False, True, False, True, False]
    """
    check.weighted_input("x", x)
    k = kernels.of(x)
    keeps = [per_column(*named, x) for named in (("i_keep", i_keep), ("v_keep", v_keep))]
    held = None if states is None else states.begin(x, 2)
    before = None if held is None else held.copy()
    u, s = k.leaky.forward(x, *keeps, spiking, held)
    out = namespace(x).where(s, u, u.dtype.type(0)) if spiking.graded else s
    potential, dtype, shape = save_for_backward(k, u), x.dtype, x.shape  # not x: the closure must not keep it alive

    def pullback(g: Array) -> tuple[Gradient, ...]:
        saved = potential()
        y = k.leaky.adjoint(g.astype(dtype, copy=False), saved, *keeps, spiking)
        found: list[Array] = []

        def of_keep(number: int, keep: Array) -> Array:
            if not found:
                found.extend(k.leaky.keep_adjoint(y, saved, *keeps, spiking, before))
            return of_constants(found[number], keep, shape)

        return y, lambda: of_keep(0, i_keep), lambda: of_keep(1, v_keep)

    return out, pullback


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Leaky(Dynamic):
    """Base class of neurons that `leaky` computes.

    Args:
        reset: what a spike does to the voltage: "zero" sets it to 0, "subtract" takes theta from it; "none" or None.
    """

    reset: Any = "zero"

    def __post_init__(self) -> None:
        reset = "none" if self.reset is None else self.reset
        object.__setattr__(self, "reset", check.one_of("reset", reset, RESETS))
        super().__post_init__()

    @cached_property
    def spiking(self) -> LeakySpiking:
        """Threshold, reset and surrogate as an argument of operations."""
        reset = Reset(0.0 if self.reset == "zero" else 1.0, self.theta if self.reset == "subtract" else 0.0)
        return LeakySpiking(reset=reset, **self._constants())

    def _keeps(self) -> tuple[Any, Any]:
        """Return the shares of the current and of the voltage that a step keeps."""
        raise TypeError("a leaky neuron must define _keeps")

    def _keeps_of(self, share: Callable[..., float], *of: Any) -> tuple[float, float]:
        """Return both shares by a function of the name of a time constant."""
        raise TypeError("a leaky neuron must define _keeps_of")

    @property
    def leaky_form(self) -> LeakyForm:
        i_keep, v_keep = (
            to_numpy(keep.data if isinstance(keep, Tensor) else keep).astype(np.float64) for keep in self._keeps()
        )
        with_current = "tau_i" in self.time_constants
        return LeakyForm(i_keep if with_current else None, v_keep, self.theta, self.reset, self.graded)

    @property
    def response(self) -> Array:
        """The voltage after an input of 1 without spikes, (K,) float64, for the mean time constants."""

        def steps() -> Iterator[float]:
            i, v = 1.0, 0.0
            i_keep, v_keep = self._keeps_of(self.mean_keep)
            while True:
                v = v_keep * v + i
                yield v
                i *= i_keep

        return sampled(steps())

    @property
    def refractory(self) -> Array:
        """What a spike subtracts from later voltages, (K,) float64, for the mean time constants; 0 for other resets."""
        if self.reset != "subtract":
            return np.zeros(1)
        _, v_keep = self._keeps_of(self.mean_keep)
        return -self.theta * v_keep ** np.arange(len(self.response)) * (np.arange(len(self.response)) > 0)

    def parts_at(
        self, spikes: Array, time: int, neuron: tuple[int, ...], shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, neuron, shape)
        i_keep, v_keep = self._keeps_of(self.keep_of, neuron, shape)
        of_input, of_spikes = np.zeros(len(spikes)), np.zeros(len(spikes))
        of_voltage, of_input[time] = 1.0, 1.0
        for t in range(time - 1, -1, -1):
            of_voltage *= v_keep
            if spikes[t]:
                of_spikes[t] = -self.spiking.reset.drop * of_voltage
                of_voltage *= self.spiking.reset.share
            of_input[t] = of_voltage + i_keep * of_input[t + 1]
        return of_input, of_spikes

    @property
    def step_by_step(self) -> StepByStep | None:
        if not self._plain(Leaky.operate):
            return None
        return StepByStep(LeakyProgram(self.spiking), dict(zip(("i_keep", "v_keep"), self._keeps(), strict=True)))

    def operate(self, x: Any, states: States | None) -> Tensor:
        i_keep, v_keep = self._keeps()
        return leaky(x, i_keep, v_keep, spiking=self.spiking, states=states)
