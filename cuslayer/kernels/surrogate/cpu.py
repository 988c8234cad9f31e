"""Surrogate gradients of every shape on the CPU: twins of `surrogate.cu`."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from cuslayer._base.jit import BLOCK, GRAIN, columns, compiled, inlined, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import ScaledShape, surrogate_numbers
from cuslayer.kernels.host.llvm import call
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.states import flushed
from cuslayer.kernels.neuron import printer
from cuslayer.kernels.neuron.blocks import addresses_of
from cuslayer.kernels.neuron.kind import Curve


class Surrogate(NamedTuple):
    """The surrogate of neurons for a pass."""

    address: int  # the function of a row
    numbers: Array  # its constants


@lru_cache(256)
def surrogate_of(spiking: ScaledShape, dtype: np.dtype[Any]) -> Surrogate:
    """Return the surrogate of neurons in a number type."""
    numbers = np.array([*surrogate_numbers(spiking, dtype).values()], dtype)
    return Surrogate(_address(spiking.shape.curve, dtype), numbers)


@cache
def _address(curve: Curve, dtype: np.dtype[Any]) -> int:
    pointer: Any = types.CPointer
    real = pointer(numba.from_dtype(dtype))
    return addresses_of(printer.slopes(curve), dtype, {"slopes": types.void(real, real, types.int64, real)})[0]


@inlined
def slopes(out: Any, u: Any, rho: Surrogate) -> None:
    """Write ``dt rho(u)`` of a row of potentials; NaN where u is not finite."""
    call(rho.address, (out, u, u.size, rho.numbers))


@compiled
def _adjoint(first: int, last: int, g: Any, u: Any, y: Any, rho: Surrogate) -> None:
    slope = np.empty(min(BLOCK, last - first), g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for t in range(g.shape[0]):
            slopes(slope, u[t, low:high], rho)
            grad = g[t, low:high]
            out = y[t, low:high]
            for j in range(high - low):
                out[j] = flushed(slope[j] * grad[j])


def adjoint(g: Array, u: Array, spiking: ScaledShape) -> Array:
    """Return the gradient of the potential, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    parallel_for(_adjoint, flat.shape[1], flat, columns(u), columns(y), surrogate_of(spiking, g.dtype), grain=GRAIN)
    return y
