"""Surrogate gradients of every shape on the CPU: twins of `surrogate.cu` and `surrogate_shapes.cuh`."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import ScaledShape, SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.numbers import exp_of_negative
from cuslayer.kernels.host.states import flushed


@compiled
def _exponentials(out: Any, u: Any, c: SurrogateNumbers) -> None:
    for j in range(u.size):
        out[j] = c.height * exp_of_negative(-abs(u[j] - c.theta) * c.steep)


@compiled
def _bell(z: Any, narrow: Any, least: Any) -> Any:
    """Return ``exp(-narrow z^2)``: the square of a finite z may be infinite, with NaN as exponential."""
    return exp_of_negative(max(-narrow * (z * z), least))


@compiled
def _gaussian(out: Any, u: Any, c: SurrogateNumbers) -> None:
    half, least = u.dtype.type(0.5), u.dtype.type(-1000)
    for j in range(u.size):
        z = (u[j] - c.theta) * c.steep
        out[j] = c.height * _bell(z, half, least) + (z - z)


@compiled
def _three_gaussians(out: Any, u: Any, c: SurrogateNumbers) -> None:
    real = u.dtype.type
    one, half, least = real(1), real(0.5), real(-1000)
    factor, narrow, other = c.height * (one + c.a), half / (c.b * c.b), -c.height * c.a / c.b
    for j in range(u.size):
        z = (u[j] - c.theta) * c.steep
        value = factor * _bell(z, half, least)
        value += other * _bell(z + one, narrow, least)
        value += other * _bell(z - one, narrow, least)
        out[j] = value + (z - z)


@compiled
def slopes(out: Any, u: Any, c: SurrogateNumbers) -> None:
    """Write ``dt rho(u) = height f((u - theta) steep)`` of a row of potentials; NaN where u is not finite.

    Each shape has its own loop, which the compiler turns into SIMD.
    """
    real = u.dtype.type
    one, zero = real(1), real(0)
    if c.code == 0:  # exp(-|z|)
        _exponentials(out, u, c)
    elif c.code == 1:  # 1 / (1 + |z|)^2
        for j in range(u.size):
            z = (u[j] - c.theta) * c.steep
            below = one + abs(z)
            out[j] = c.height * (one / (below * below)) + (z - z)
    elif c.code == 2:  # 1 / (1 + z^2)
        for j in range(u.size):
            z = (u[j] - c.theta) * c.steep
            out[j] = c.height * (one / (one + z * z)) + (z - z)
    elif c.code == 3:  # max(0, 1 - |z|)
        for j in range(u.size):
            z = (u[j] - c.theta) * c.steep
            left = one - abs(z)
            out[j] = c.height * (left if left > zero else zero) + (z - z)
    elif c.code == 5:  # 1 within |z| <= 1
        for j in range(u.size):
            z = (u[j] - c.theta) * c.steep
            out[j] = (c.height if abs(z) <= one else zero) + (z - z)
    elif c.a > zero:  # (1 + a) exp(-z^2 / 2) - a / b (exp(-(z - 1)^2 / (2 b^2)) + exp(-(z + 1)^2 / (2 b^2)))
        _three_gaussians(out, u, c)
    else:  # exp(-z^2 / 2)
        _gaussian(out, u, c)


@compiled
def _adjoint(first: int, last: int, g: Any, u: Any, y: Any, c: SurrogateNumbers) -> None:
    slope = np.empty(min(BLOCK, last - first), g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for t in range(g.shape[0]):
            slopes(slope[: high - low], u[t, low:high], c)
            grad = g[t, low:high]
            out = y[t, low:high]
            for j in range(high - low):
                out[j] = flushed(slope[j] * grad[j])


def adjoint(g: Array, u: Array, spiking: ScaledShape) -> Array:
    """Return the gradient of the potential, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    numbers = surrogate_numbers(spiking, g.dtype)
    parallel_for(_adjoint, flat.shape[1], flat, columns(u), columns(y), numbers, grain=GRAIN)
    return y
