"""Integrate-and-fire neurons without a leak, whose spike counts stand for the numbers of a rectifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, to_numpy
from cuslayer.neurons.base import Names, set_checked
from cuslayer.neurons.dynamics import NAMED, StepNeuron

# The limits of a trained unit.
_LEAST = 1e-6
_MOST = 1e6


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Counting(StepNeuron):
    """Base class of neurons from whose potential a spike subtracts the number for which it stands.

    Args:
        theta: the threshold of the recorded potential, 0.5: the potential counts from half a threshold.
    """

    theta: float = 0.5

    step_columns: ClassVar[tuple[str, ...]] = ("unit",)
    time_constants: ClassVar[tuple[str, ...]] = ("unit",)

    def bounds_of(self, name: str) -> tuple[float, float]:
        return (_LEAST, _MOST) if self.bounds is None else self.bounds


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class IF(Counting):
    """An integrate-and-fire neuron: no leak, and a spike subtracts the number for which it stands.

    ::

        v[t] = r[t-1] + x[t]                        r[-1] = 0
        u[t] = (v[t] - unit / 2) / unit + theta
        s[t] = (u[t] >= theta)
        r[t] = v[t] - unit s[t]

    The potential counts from half a threshold, at which the neuron starts: it fires when v reaches ``unit / 2``. So for
    a constant input x the number of spikes in T steps is ``floor(T x / unit + 1/2)``, from 0 to T: a rectifier, rounded
    to multiples of ``unit / T``. The recorded potential u is in thresholds; with ``theta=0.5`` it is ``v / unit``.

    Args:
        unit: the number for which a spike stands, and which it subtracts: a number, or an array that broadcasts to the
            layer's neurons, such as (C,) for one per channel. A `Bounded` is trained.
        theta, tau_rho, scale_rho, dt, gradient, surrogate, trained, bounds, graded, stateful: see `StepNeuron`, also
            for errors.

    Source: Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven networks",
    section 2.2; the start at half a threshold: Bu et al. 2022 (arXiv 2303.04347).

    >>> neuron = IF(unit=2.0)
    >>> int(neuron(np.full((8, 1, 1), 0.5)).data.sum())
    2
    """

    unit: Any = 1.0

    states = ("r",)
    names: ClassVar[Names] = Names("IF", needed={"unit": "unit"}, options={"theta": "theta", **NAMED})

    def step(c, unit, r, x):  # type: ignore[no-untyped-def]
        v = r + x
        u = (v - 0.5 * unit) / unit + c.theta
        s = u >= c.theta
        after = v - unit if s else v
        return after, u, s

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, index, shape)
        of_input = np.zeros(len(spikes))
        of_input[: time + 1] = 1.0 / self.value_of("unit", index, shape)
        of_spikes = np.zeros(len(spikes))
        of_spikes[:time] = -1.0 * (spikes[:time] != 0)
        return of_input, of_spikes


def _numbers(name: str, value: object) -> Any:
    """Return a constant as a number or a read-only array of finite numbers."""
    values = np.array(to_numpy(value), np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {values[~np.isfinite(values)].flat[0]:g}")
    values.setflags(write=False)
    return float(values) if values.ndim == 0 else values


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class WaitingIF(Counting):
    """An integrate-and-fire neuron that first takes all its input, then fires as often as the sum says.

    ::

        v[t] = r[t-1] + x[t]                            t <= wait; r[-1] = offset
        v[t] = r[t-1]                                   t > wait
        u[t] = (v[t] - unit / 2) / unit + theta         below theta unless wait <= t < wait + levels
        s[t] = (u[t] >= theta)
        r[t] = v[t] - unit s[t]

    The number of spikes is ``clip(floor(v / unit + 1/2), 0, levels)`` for the sum v of all inputs until step `wait`, in
    whatever order they came. An `IF` fires too often where excitation precedes inhibition, and too late where the sum
    rises at the end.

    Args:
        unit: the number for which a spike stands, as in `IF`.
        wait: the last step that it takes, and the first at which it fires.
        levels: the number of steps in which it fires, and so the largest number of spikes.
        offset: what the potential has before the first step, a number or an array like `unit`, such as a bias.
        theta, tau_rho, scale_rho, dt, gradient, surrogate, trained, bounds, graded, stateful: see `StepNeuron`, also
            for errors.

    Source: the rounding is that of Bu et al. 2022 (arXiv 2303.04347), equation 8.

    >>> x = np.array([2.0, 2.0, -3.5, 0.0, 0.0]).reshape(5, 1, 1)
    >>> WaitingIF(wait=2, levels=3)(x).data.ravel().astype(int).tolist(), IF()(x).data.ravel().astype(int).tolist()
    ([0, 0, 1, 0, 0], [1, 1, 0, 0, 0])
    """

    unit: Any = 1.0
    wait: int = 0
    levels: int = 1
    offset: Any = 0.0

    step_columns: ClassVar[tuple[str, ...]] = ("unit", "offset")
    states = ("r", "k")

    def __post_init__(self) -> None:
        check.integer("wait", self.wait, least=0)
        check.integer("levels", self.levels, least=1)
        set_checked(self, offset=_numbers)
        super().__post_init__()

    @property
    def last(self) -> int:
        """The last step at which the neuron may fire."""
        return self.wait + self.levels - 1

    @property
    def below(self) -> float:
        """The largest recorded potential of a neuron that does not fire yet, or no longer."""
        return self.theta - 2.0**-10

    def step(c, unit, offset, r, k, x):  # type: ignore[no-untyped-def]
        before = r + offset if k < 1.0 else r
        v = before + x if k <= c.wait else before
        counted = (v - 0.5 * unit) / unit + c.theta
        u = counted if k >= c.wait and k <= c.last else min(counted, c.below)
        s = u >= c.theta
        after = v - unit if s else v
        return after, k + 1.0, u, s
