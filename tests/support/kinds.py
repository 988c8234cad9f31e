"""Neurons that are written as a step, as a user writes them: what the shipped kinds do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuslayer.neurons.dynamics import StepNeuron
from cuslayer.neurons.step import exp, flushed


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Quadratic(StepNeuron):
    """A quadratic integrate-and-fire neuron: backward needs the voltage before the step."""

    tau: Any = 20.0
    least: float = -0.5

    states = ("v",)
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, x):
        u = flushed(d * v + 0.1 * v * v + x)
        s = u >= c.theta
        v = c.least if s else u
        return v, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Compartments(StepNeuron):
    """Two compartments with an input each, an escape in the step, and every function that a step may call."""

    tau: Any = 8.0
    gain: Any = 0.7
    width_of: float = 2.0

    states = ("v", "w", "old")
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, w, old, x, y):
        """Return the states, the potential and the spike."""
        w = flushed(d * w + y)
        open = 1 / (1 + exp(-abs(w) / c.width_of))
        u = flushed(d * v + c.gain * open * x - min(max(w, -1), 2) * 0.1)
        u -= 0.2 * old if old > 0 and not w > 5 else 0
        s = u >= c.theta
        old = 0.5 * old if not s else 0.5 * old + 1
        v = u - c.theta * s
        return v, w, old, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class OwnBackward(StepNeuron):
    """A leaky neuron that writes the exact gradient of its step itself."""

    tau: Any = 20.0
    factor: float = 1.0

    states = ("v",)
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, x):
        u = flushed(d * v + x)
        s = u >= c.theta
        v = 0 if s else u
        return v, u, s

    def backward(c, d, v, u, rho, g):
        """Return the gradients of the voltage before the step and of the input."""
        fires = u >= c.theta
        of_spike = g - v * u
        total = flushed(c.factor * rho * of_spike + (0 if fires else v))
        return d * total, total
