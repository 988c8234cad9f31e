"""Neurons that are written as a step, as a user writes them: what the shipped kinds do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuslayer.neurons.dynamics import StepNeuron
from cuslayer.neurons.step import ago, exp, flushed


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
class Exponential(StepNeuron):
    """An exponential integrate-and-fire neuron, whose exponent has a limit."""

    tau: Any = 20.0
    sharp: float = 0.2

    states = ("v",)
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, x):
        u = flushed(d * v + 0.1 * exp((min(v, 2) - 0.8) / c.sharp) + x)
        s = u >= c.theta
        v = 0 if s else u
        return v, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Izhikevich(StepNeuron):
    """The neuron of Izhikevich 2003 in millivolts: it rests at -70, or fires by itself with a drive."""

    theta: float = 30.0
    reset: float = -65.0
    jump: float = 8.0
    drive: float = 0.0

    states = ("v", "w")
    start = {"v": -65.0, "w": -13.0}  # noqa: RUF012

    def step(c, v, w, x):
        u = v + c.dt * (0.04 * v**2 + 5 * v + 140 - w + x + c.drive)
        w = w + c.dt * 0.02 * (0.2 * v - w)
        s = u >= c.theta
        if s:
            v = c.reset
            w += c.jump
        else:
            v = u
        return v, w, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Cubic(StepNeuron):
    """A neuron that fires at both signs, by itself with a drive."""

    tau: Any = 20.0
    drive: float = 0.0

    states = ("v",)
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, x):
        u = flushed(d * v + 0.3 * v**3 + x + c.drive)
        s = abs(u) >= c.theta
        v = 0 if s else u
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
class Resting(StepNeuron):
    """A neuron whose states start elsewhere than at 0, with powers, and with ``if`` blocks in one another."""

    tau: Any = 8.0
    rest: float = -0.4
    slow: float = 0.8

    states = ("v", "w")
    start = {"v": -0.4, "w": 0.3}  # noqa: RUF012
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, w, x):
        """Return the states, the potential and the spike."""
        near = max(min(v - c.rest, 2), -2)
        u = flushed(c.rest + d * near + 0.1 * near**2 - 0.02 * near**5 - w + x)
        w = flushed(c.slow * w)
        s = u >= c.theta
        if s:
            v = c.rest
            w += 0.2
        elif u < -1 and not w > 0.25:
            floor = -1 + 0.1 * u
            v = floor
        else:
            if not u > 0:
                v = u
            else:
                v = 0.9 * u
        return v, w, u, s


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


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Offset(StepNeuron):
    """A leaky neuron with a threshold of each neuron, `level`, and with the spike as a state; fires above theta."""

    tau: Any = 8.0
    level: Any = 0.7
    gradient: str = "exact"

    states = ("v", "fired")
    decays = {"d": "tau"}  # noqa: RUF012
    as_if_unfired = False

    def step(c, d, v, fired, x):
        v = flushed(d * v + (1 - d) * x - c.level * fired)
        u = v - c.level + c.theta
        s = u > c.theta
        return v, s, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Echo(StepNeuron):
    """A leaky neuron that gets its input twice more, after `near` and `far` steps, and its spikes after `far` steps."""

    tau: Any = 8.0
    near: int = 3
    far: int = 20

    states = ("v",)
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, x):
        u = flushed(d * v + x + 0.5 * ago(x, c.near) - 0.3 * ago(x, c.far) - 0.2 * ago("s", c.far))
        s = u >= c.theta
        v = 0 if s else u
        return v, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Delayed(StepNeuron):
    """A read-out that subtracts its input of some steps ago."""

    tau: Any = 8.0
    lag: int = 5

    states = ("v",)
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, x):
        u = flushed(d * v + x - 0.5 * ago(x, c.lag))
        return u, u


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Ties(StepNeuron):
    """The kinks of a step, with both orders of a variable and a number."""

    states = ("v",)

    def step(c, v, x, y):
        u = max(x, y) - 2 * min(x, y) + 4 * abs(x) + 8 * max(0, x) + 16 * max(x, 0) + 32 * min(0, y) + v
        s = u >= c.theta
        return v, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Names(StepNeuron):
    """A leaky neuron whose names are words of C++ and of the printed loops, so that nothing but their names differs."""

    tau: Any = 20.0
    STATES: float = 1.0
    constexpr: float = 0.5

    states = ("later_v", "_x", "own_x")
    decays = {"of_u": "tau"}  # noqa: RUF012

    def step(c, of_u, later_v, _x, own_x, state):
        double = of_u * later_v
        double_ = abs(double)
        fabs = double_ - double
        range = fabs + c.STATES * state
        of_later_v = range - fabs
        own__x = of_later_v + 0 * _x
        bitand = own__x + 0 * own_x
        slope = flushed(double + bitand)
        part = slope if slope > 0 else c.constexpr * slope
        later_of = part >= c.theta
        later_v = 0 if later_of else part
        return later_v, _x, own_x, part, later_of


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PlainNames(StepNeuron):
    """`Names` with plain names."""

    tau: Any = 20.0
    gain: float = 1.0
    share: float = 0.5

    states = ("v", "p", "q")
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, p, q, x):
        kept = d * v
        size = abs(kept)
        apart = size - kept
        moved = apart + c.gain * x
        back = moved - apart
        first = back + 0 * p
        second = first + 0 * q
        whole = flushed(kept + second)
        u = whole if whole > 0 else c.share * whole
        s = u >= c.theta
        v = 0 if s else u
        return v, p, q, u, s
