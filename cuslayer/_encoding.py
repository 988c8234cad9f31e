"""Encoders for images and signals: by rate, by latency, by change, or the same image at every step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._still import repeat_step
from cuslayer._tape import Tensor, as_tensor
from cuslayer.backend import Array, generator, to_device, to_numpy

# The number of random numbers per draw, which bounds memory. The spikes do not depend on it.
_BLOCK = 1 << 20


@check.operation
def encode_poisson(
    x: TensorLike, /, *, steps: int | None = None, rate: float = 100.0, dt: float = 1.0, seed: int | None = None
) -> Array:
    """Return spikes of independent Poisson processes with rates ``rate x``.

    A step has a spike if the process has at least one event in it: ``P(s[t]) = 1 - exp(-rate x dt / 1000)``. At high
    rates this is less than ``rate x dt / 1000``, because several events in a step are one spike.

    Args:
        x: non-negative values: a constant image (N, ...), or, if steps is None, a signal (T, N, ...).
        steps: the number of steps T for an image.
        rate: spikes per second for a value of 1.
        dt: the time step in ms.
        seed: seed of the random numbers; None for the generator of `cs.seed`.

    Returns:
        Spikes, boolean (T, N, ...), on the current device.

    Raises:
        ValueError: a value of x is negative or not finite, x is not (N, ...) or (T, N, ...), or a number is out of
            range.
        TypeError: x does not contain real numbers, or an argument has the wrong type.

        Warns: UserWarning: x looks like pixels from 0 to 255, with rates above one spike per step.

    >>> image = np.array([[0.0, 0.5, 1.0]])
    >>> spikes = encode_poisson(image, steps=1000, rate=100, seed=0)
    >>> spikes.shape, spikes.sum(axis=0).tolist()
    ((1000, 1, 3), [[0, 49, 107]])
    """
    values = _real(x)
    _check_not_negative(values)
    per_step = check.positive("rate", rate) * check.time_step("dt", dt) / 1000
    if steps is None:
        check.time_first("x", values)
        shape = values.shape
    else:
        _check_batch(values)
        shape = (check.integer("steps", steps, least=1), *values.shape)
    check.memory("the spikes", shape)
    # Values above one spike per step; rates in Hz, with rate=1, are not.
    high = float(values.max(initial=0))
    if high * per_step > 1:
        found = check.pixels("x", float(values.min()), high, lambda: bool((values % 1 == 0).all()))
        if found:
            check.warn(found)
    random = generator() if seed is None else np.random.default_rng(check.integer("seed", seed, least=0))
    probability = -np.expm1(-values.reshape(shape[0] if steps is None else 1, math.prod(shape[1:])) * per_step)
    spikes = np.empty((shape[0], math.prod(shape[1:])), bool)
    rows = max(1, _BLOCK // max(1, spikes.shape[1]))
    for first in range(0, len(spikes), rows):
        part = spikes[first : first + rows]
        of_part = probability if steps is not None else probability[first : first + rows]
        np.less(random.random(part.shape, np.float32), of_part, out=part)
    return to_device(spikes.reshape(shape))


@check.operation
def encode_latency(
    x: TensorLike,
    /,
    *,
    steps: int,
    dt: float = 1.0,
    largest: float = 1.0,
    tau: float | None = None,
    threshold: float = 0.01,
) -> Array:
    """Return at most one spike per neuron, earlier for larger values of x; a value of 0 has no spike.

    By default the time is linear: `largest` fires in the first step, the smallest positive value in the last::

        t = round((1 - x / largest) (steps - 1))

    With tau it is the time at which a leaky integrator with the constant input x reaches the threshold::

        t = floor(tau / dt ln(x / (x - threshold)))

    Then values up to the threshold have no spike, and neither have values that would fire after the last step.

    Args:
        x: values from 0 to `largest`, (N, ...).
        steps: the number of steps T.
        dt: the time step in ms; only for tau.
        largest: the largest value allowed in x.
        tau: time constant of the integrator in ms; None for linear times.
        threshold: threshold of the integrator, in the unit of x; only for tau.

    Returns:
        Spikes, boolean (T, N, ...), on the current device.

    Raises:
        ValueError: a value of x is negative, above `largest` or not finite, x is not (N, ...), or a number is out of
            range.
        TypeError: x does not contain real numbers, or an argument has the wrong type.

        Source: Thorpe 1990, "Spike arrival times"; for tau, Gerstner et al. 2014, "Neuronal Dynamics", section 1.3,
        equation 7 with a constant input.

    >>> spikes = encode_latency(np.array([[0.0, 0.1, 0.5, 1.0]]), steps=11)
    >>> [np.flatnonzero(s).tolist() for s in spikes[:, 0].T]
    [[], [9], [5], [0]]
    """
    values = _real(x)
    _check_batch(values)
    _check_not_negative(values)
    steps, dt = check.integer("steps", steps, least=1), check.time_step("dt", dt)
    largest = check.positive("largest", largest)
    threshold = check.positive("threshold", threshold)
    if values.size and values.max() > largest:
        raise ValueError(f"x must be at most {largest:g}, got {values.max():g}")
    exact = values.astype(np.float64)
    if tau is None:
        fires = exact > 0
        time = np.rint((1 - exact / largest) * (steps - 1))
    else:
        tau = check.positive("tau", tau)
        fires = exact > threshold
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.floor(tau / dt * np.log(exact / (exact - threshold)))
        fires &= time < steps
    check.memory("the spikes", (steps, *values.shape))
    spikes = np.zeros((steps, math.prod(values.shape)), bool)
    column = np.flatnonzero(fires)
    spikes[time.ravel()[column].astype(np.int64), column] = True
    return to_device(spikes.reshape(steps, *values.shape))


@check.operation
def encode_delta(x: TensorLike, /, *, threshold: float) -> Array:
    """Return a spike whenever a signal has changed by the threshold since its last spike (send-on-delta).

    The reference value is the signal at the first step, then at each step with a spike. A step has at most one spike,
    even for large changes.

    Args:
        x: a signal (T, N, ...).
        threshold: the smallest change that causes a spike.

    Returns:
        Spikes, boolean (T, N, ..., 2), on the current device: channel 0 is a decrease (OFF), channel 1 an increase
        (ON), like the polarities of `Events`. A grayscale film (T, N, H, W) becomes the spikes of an event camera, (T,
        N, H, W, 2).

    Raises:
        ValueError: x is not (T, N, ...), a value is not finite, or the threshold is not positive.
        TypeError: x does not contain real numbers, or the threshold is not a number.

    Source: Miskowicz 2006, "Send-on-delta concept: an event-based data reporting strategy".

    >>> spikes = encode_delta(np.array([0.0, 0.6, 1.1, 1.9, 0.9, 0.9])[:, None], threshold=1.0)
    >>> np.argwhere(spikes).tolist()  # +1.1 at step 2; after it, +0.8 and -0.2 are below the threshold
    [[2, 0, 1]]
    """
    from cuslayer.kernels.host.preparation import crossings

    values = _real(x)
    check.time_first("x", values)
    threshold = check.positive("threshold", threshold)
    spikes = np.zeros((len(values), math.prod(values.shape[1:]), 2), bool)
    crossings(values.reshape(spikes.shape[:2]), threshold, spikes)
    return to_device(spikes.reshape(*values.shape, 2))


@check.operation
def replicate(x: Any, /, *, steps: int) -> Tensor:
    """Repeat x at every step: ``y[t] = x``; backward is the sum over time.

    It makes a static image the input of a spiking network, as a constant current. All steps share the memory of x, and
    layers that map each step by itself weight the image once.

    Args:
        x: (N, H, W, C), (N, C) or any (N, ...), spikes or numbers.
        steps: the number of steps T.

    Returns:
        x at every step, (T, N, ...), of x's type.

    Raises:
        ValueError: x is not (N, ...), or steps is negative.
        TypeError: steps is not an integer.

    >>> replicate(np.array([[1.0, 2.0]]), steps=3).data.tolist()
    [[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]]
    """
    x = as_tensor(x)
    _check_batch(x)
    steps = check.integer("steps", steps, least=0)
    check.memory("the result", (steps, *x.shape), x.dtype.itemsize)
    return repeat_step(x.reshape(1, *x.shape), steps)


def _real(x: TensorLike) -> Array:
    """Return x as a contiguous float32 or float64 array on the CPU."""
    given = to_numpy(x)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"x must be real numbers, got {given.dtype}")
    numbers = np.asarray(given, given.dtype if given.dtype in (np.float32, np.float64) else np.float32, order="C")
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        raise ValueError(f"x must be finite, got {numbers.flat[wrong[0]]}")
    return numbers


def _check_not_negative(x: Array) -> None:
    """Raise ValueError if a value of x is negative."""
    if x.size and x.min() < 0:
        raise ValueError(f"x must not be negative, got {x.min():g}")


def _check_batch(x: Array) -> None:
    """Raise ValueError unless x is an array (N, ...)."""
    if x.ndim < 1:
        raise ValueError("x must be (N, ...), got shape ()")
