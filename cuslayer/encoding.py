"""What the encoders are handed, checked.

Changes to spikes: send on delta.

Values to times: the larger, the earlier, one spike a neuron.

Rates to spikes: a Poisson process for each neuron.

A frame repeated over time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, generator, namespace, to_device, to_numpy
from cuslayer.tape import Pullback, differentiable


def signal(op: str, x: Any) -> Array:
    """Return the array x as float32 or float64 on the CPU, contiguous.

    Raises:
        TypeError: x is not made of real numbers.
        ValueError: a value is infinite or not a number.
    """
    given = to_numpy(x)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{op}: x must be real numbers, got {given.dtype}")
    numbers = np.asarray(given, given.dtype if given.dtype in (np.float32, np.float64) else np.float32, order="C")
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        raise ValueError(f"{op}: x must be finite, got {numbers.flat[wrong[0]]}")
    return numbers


def not_negative(op: str, x: Array) -> None:
    """Raise ValueError where a value of x is under 0."""
    if x.size and x.min() < 0:
        raise ValueError(f"{op}: x must not be negative, got {x.min():g}")


def batch_first(op: str, x: Array) -> None:
    """Raise ValueError unless x is an array (N, ...)."""
    if x.ndim < 1:
        raise ValueError(f"{op}: x must be (N, ...), got shape ()")


def count(op: str, steps: Any) -> int:
    """Return a number of steps, 1 or more."""
    return check.integer(op, "steps", steps, least=1)


def encode_delta(x: Any, /, *, threshold: float) -> Array:
    """Return a spike wherever a signal has moved by the threshold since its last spike.

    The first step sets the level from which a signal moves, and so does every step with a spike. One step has one spike
    at most, however far the signal has moved.

    Args:
        x: a signal (T, N, ...).
        threshold: the least change that is sent.

    Returns:
        Spikes, boolean (T, N, ..., 2), on the device in use: down (OFF) is channel 0, up (ON) channel 1, as polarities
        are of `Events`. A grey film (T, N, H, W) so becomes what an event camera sees, (T, N, H, W, 2).

    Raises:
        ValueError: x is not (T, N, ...), a value is not finite, or the threshold is not positive.
        TypeError: x is not made of real numbers, or the threshold is no number.

    Source: Miskowicz 2006, "Send-on-delta concept: an event-based data reporting strategy".

    >>> spikes = encode_delta(np.array([0.0, 0.6, 1.1, 1.9, 0.9, 0.9])[:, None], threshold=1.0)
    >>> np.argwhere(spikes).tolist()  # up by 1.1 at step 2; from there 0.8 up and 0.2 down are too little
    [[2, 0, 1]]
    """
    from cuslayer.kernels.delta.cpu import crossings

    op = "encode_delta"
    values = signal(op, x)
    check.time_first(op, "x", values)
    threshold = check.positive(op, "threshold", threshold)
    spikes = np.zeros((len(values), math.prod(values.shape[1:]), 2), bool)
    crossings(values.reshape(spikes.shape[:2]), threshold, spikes)
    return to_device(spikes.reshape(*values.shape, 2))


def encode_latency(
    x: Any,
    /,
    *,
    steps: int,
    dt: float = 1.0,
    largest: float = 1.0,
    tau: float | None = None,
    threshold: float = 0.01,
) -> Array:
    """Return spikes whose times are the values of x: one for each neuron, earlier the larger, for a value of 0 none.

    By default times fall linearly, the `largest` value fires in the first step, and the smallest above 0 in the last::

        t = round((1 - x / largest) (steps - 1))

    With tau they are the times at which a leaky membrane that x drives reaches the threshold::

        t = floor(tau / dt ln(x / (x - threshold)))

    where values up to the threshold never fire, nor does what would fire after the last step.

    Args:
        x: values from 0 to `largest`, an image (N, ...).
        steps: how many steps T.
        dt: the step, ms; it matters with tau only.
        largest: the largest value that x may have.
        tau: time constant of the membrane, ms; None for linear times.
        threshold: its threshold, in the unit of x; it matters with tau only.

    Returns:
        Spikes, boolean (T, N, ...), on the device in use.

    Raises:
        ValueError: a value of x is negative, over `largest` or not finite, x is not (N, ...), or a number is out of
            its range.
        TypeError: x is not made of real numbers, or an argument is of another type.

    Source: Thorpe 1990, "Spike arrival times"; for tau, equation 7 with a constant input of Gerstner et al. 2014,
    "Neuronal Dynamics", section 1.3.

    >>> spikes = encode_latency(np.array([[0.0, 0.1, 0.5, 1.0]]), steps=11)
    >>> [np.flatnonzero(s).tolist() for s in spikes[:, 0].T]
    [[], [9], [5], [0]]
    """
    op = "encode_latency"
    values = signal(op, x)
    batch_first(op, values)
    not_negative(op, values)
    steps, dt = count(op, steps), check.positive(op, "dt", dt)
    largest = check.positive(op, "largest", largest)
    threshold = check.positive(op, "threshold", threshold)
    if values.size and values.max() > largest:
        raise ValueError(f"{op}: x must be at most {largest:g}, got {values.max():g}")
    exact = values.astype(np.float64)
    if tau is None:
        fires = exact > 0
        time = np.rint((1 - exact / largest) * (steps - 1))
    else:
        tau = check.positive(op, "tau", tau)
        fires = exact > threshold
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.floor(tau / dt * np.log(exact / (exact - threshold)))
        fires &= time < steps
    spikes = np.zeros((steps, math.prod(values.shape)), bool)
    column = np.flatnonzero(fires)
    spikes[time.ravel()[column].astype(np.int64), column] = True
    return to_device(spikes.reshape(steps, *values.shape))


# Random numbers that are drawn at once. The spikes do not depend on it.
_DRAWN = 1 << 20


def encode_poisson(
    x: Any, /, *, steps: int | None = None, rate: float = 100.0, dt: float = 1.0, seed: int | None = None
) -> Array:
    """Return spikes of Poisson processes whose rates are the values of x, in units of `rate`.

    A step holds a spike where the process had one event or more: ``P(s[t]) = 1 - exp(-rate x dt / 1000)``. At high
    rates that is less than ``rate x dt / 1000``, as several events of a step are one spike.

    Args:
        x: values from 0: an image (N, ...) that stays, or, where steps is None, a signal (T, N, ...).
        steps: how many steps T an image is shown.
        rate: spikes per second of a value of 1.
        dt: the step, ms.
        seed: where the random numbers start; by default they are drawn from the generator of `cs.seed`.

    Returns:
        Spikes, boolean (T, N, ...), on the device in use.

    Raises:
        ValueError: a value of x is negative or not finite, x is not (N, ...) or (T, N, ...), or a number is out of
            its range.
        TypeError: x is not made of real numbers, or an argument is of another type.

    >>> image = np.array([[0.0, 0.5, 1.0]])
    >>> spikes = encode_poisson(image, steps=1000, rate=100, seed=0)
    >>> spikes.shape, spikes.sum(axis=0).tolist()
    ((1000, 1, 3), [[0, 49, 107]])
    """
    op = "encode_poisson"
    values = signal(op, x)
    not_negative(op, values)
    per_step = check.positive(op, "rate", rate) * check.positive(op, "dt", dt) / 1000
    if steps is None:
        check.time_first(op, "x", values)
        shape = values.shape
    else:
        batch_first(op, values)
        shape = (count(op, steps), *values.shape)
    random = generator() if seed is None else np.random.default_rng(check.integer(op, "seed", seed, least=0))
    chance = -np.expm1(-values.reshape(shape[0] if steps is None else 1, math.prod(shape[1:])) * per_step)
    spikes = np.empty((shape[0], math.prod(shape[1:])), bool)
    rows = max(1, _DRAWN // max(1, spikes.shape[1]))
    for first in range(0, len(spikes), rows):
        part = spikes[first : first + rows]
        of_part = chance if steps is not None else chance[first : first + rows]
        np.less(random.random(part.shape, np.float32), of_part, out=part)
    return to_device(spikes.reshape(shape))


@differentiable
def replicate(x: Array, /, *, steps: int) -> tuple[Array, Pullback]:
    """Repeat x at every step: ``y[t] = x``; backward is the sum over time.

    An image that does not move becomes an input of a spiking network this way: as a current, or weighted once by a
    layer that stands before.

    Args:
        x: (N, H, W, C), (N, C) or any (N, ...), spikes or numbers.
        steps: how many steps, T.

    Returns:
        The same at every step, (T, N, ...), of x's type.

    Raises:
        ValueError: x is not (N, ...), or steps is negative.
        TypeError: steps is no integer.

    >>> import numpy as np
    >>> replicate(np.array([[1.0, 2.0]]), steps=3).data.tolist()
    [[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]]
    """
    if x.ndim < 1:
        raise ValueError(f"replicate: x must be (N, ...), got shape {x.shape}")
    steps = check.integer("replicate", "steps", steps, least=0)
    xp = namespace(x)
    return xp.broadcast_to(x, (steps, *x.shape)).copy(), lambda g: g.sum(axis=0)
