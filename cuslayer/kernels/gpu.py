"""The GPU's kernels: launchers of the CUDA sources, and matrix products, under the names of `kernels.cpu`.

Time loops take one thread a column; dense, convolution and pooling are CuPy's products and sums.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking
from cuslayer.kernels.geometry import Window
from cuslayer.kernels.matrix import (
    conv,
    conv_input_adjoint,
    conv_weight_adjoint,
    dense,
    dense_input_adjoint,
    dense_weight_adjoint,
    pool,
    pool_adjoint,
)
from cuslayer.kernels.source import kernel

__all__ = [
    "adam",
    "conv",
    "conv_input_adjoint",
    "conv_weight_adjoint",
    "dense",
    "dense_input_adjoint",
    "dense_weight_adjoint",
    "fir",
    "fir_adjoint",
    "fused_conv",
    "fused_conv_pool",
    "fused_dense",
    "halved",
    "neuron",
    "neuron_adjoint",
    "neuron_adjoint_exact",
    "pool",
    "pool_adjoint",
    "psp",
    "psp_adjoint",
    "restored",
    "sgd",
    "shift",
    "shift_spikes",
    "spike",
    "spike_adjoint",
    "spike_adjoint_exact",
    "synapse_input",
]

# AHEAD of common.cuh: the steps that one thread of fir and shift makes. Only how many threads start depends on it.
_TILE = 8


def synapse_input(x: Array) -> Array:
    """Return what a dense or convolutional layer reads x as: x itself, spikes being cast a block at a time."""
    return x


def fused_conv(x: Array, window: Window, groups: int) -> None:
    """Return None: here a convolution is a matrix product, and its neurons are a pass of their own."""


def fused_conv_pool(x: Array, window: Window, groups: int, pool: Window) -> None:
    """Return None, as `fused_conv` does."""


def fused_dense(x: Array) -> None:
    """Return None, as `fused_conv` does."""


def _sizes(x: Array) -> tuple[int, int]:
    """Return the steps and the columns of x (T, ...)."""
    return x.shape[0], math.prod(x.shape[1:])


def _contiguous(x: Array) -> Array:
    """Return x, copied where its rows are not contiguous, as a broadcast gradient's are not."""
    return namespace(x).ascontiguousarray(x)


def _numbers(x: Array) -> Array:
    """Return spikes as float32, and numbers as they are."""
    return _contiguous(x.astype(np.float32) if x.dtype == bool else x)


@lru_cache(maxsize=256)
def _recurrence(alpha: Alpha, dtype: np.dtype[Any], steps: int) -> Recurrence:
    """Return the constants of a filter; where it is never cut, the kernels take a cut at the end for none."""
    f = alpha.recurrence(dtype, steps)
    return f if f.cut else f._replace(cut=steps)


@lru_cache(maxsize=256)
def _surrogate(spiking: Spiking, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
    return spiking.surrogate(dtype)


def psp(x: Array, response: Alpha) -> Array:
    """Filter each column of x (T, ...): ``a[t] = sum_k eps[k] x[t-k]``, at two states a column whatever tau is."""
    return _filtered("psp", _numbers(x), response)


def psp_adjoint(g: Array, response: Alpha) -> Array:
    """Correlate each column of g (T, ...) with the response: ``y[t] = sum_k eps[k] g[t+k]``."""
    return _filtered("psp_adjoint", _contiguous(g), response)


def _filtered(name: str, x: Array, response: Alpha) -> Array:
    steps, columns = _sizes(x)
    out = namespace(x).empty(x.shape, x.dtype)
    kernel(name, x.dtype)(columns, x, out, steps, columns, *_recurrence(response, x.dtype, steps))
    return out


def fir(x: Array, taps: Array) -> Array:
    """Filter each column of x (T, ...) by the direct sum ``a[t] = sum_k taps[k] x[t-k]``, taps (K,)."""
    return _summed("fir", _numbers(x), taps)


def fir_adjoint(g: Array, taps: Array) -> Array:
    """Correlate each column of g (T, ...) with the taps (K,): ``y[t] = sum_k taps[k] g[t+k]``."""
    return _summed("fir_adjoint", _contiguous(g), taps)


def _summed(name: str, x: Array, taps: Array) -> Array:
    steps, columns = _sizes(x)
    taps = namespace(x).asarray(taps, x.dtype, order="C")
    out = namespace(x).empty(x.shape, x.dtype)
    kernel(name, x.dtype)(-(-steps // _TILE) * columns, x, taps, out, steps, columns, len(taps))
    return out


def shift(x: Array, delay: Array) -> Array:
    """Delay the columns of x (T, ...) by whole steps, delay (columns,) int64: ``y[t, m] = x[t - delay[m], m]``."""
    return _shifted("shift", x, delay, x.dtype)


def shift_spikes(x: Array, delay: Array) -> Array:
    """Delay the columns of the spikes x (T, ...), as `shift` does numbers."""
    return _shifted("shift_spikes", x, delay, np.dtype(np.float32))


def _shifted(name: str, x: Array, delay: Array, real: np.dtype[Any]) -> Array:
    steps, columns = _sizes(x)
    y = namespace(x).empty(x.shape, x.dtype)
    delay = namespace(x).asarray(delay, order="C")
    kernel(name, real)(-(-steps // _TILE) * columns, _contiguous(x), delay, y, steps, columns)
    return y


def spike(a: Array, spiking: Spiking) -> tuple[Array, Array]:
    """Refract and threshold a (T, ...), the filtered input: the potential u and the spikes s, both (T, ...).

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``, ``s[t] = (u[t] >= theta)``.
    """
    steps, columns = _sizes(a)
    u, s = namespace(a).empty(a.shape, a.dtype), namespace(a).empty(a.shape, bool)
    kernel("spike", a.dtype)(
        *(columns, _contiguous(a), u, s, steps, columns),
        _surrogate(spiking, a.dtype)[0],
        *_recurrence(spiking.refractory, a.dtype, steps),
    )
    return u, s


def neuron(x: Array, response: Alpha, spiking: Spiking) -> tuple[Array, Array]:
    """Filter, refract and threshold x (T, ...) in one pass: the potential u and the spikes s, both (T, ...)."""
    steps, columns = _sizes(x)
    u, s = namespace(x).empty(x.shape, x.dtype), namespace(x).empty(x.shape, bool)
    kernel("neuron", x.dtype)(
        *(columns, _contiguous(x), u, s, steps, columns),
        _surrogate(spiking, x.dtype)[0],
        *_recurrence(response, x.dtype, steps),
        *_recurrence(spiking.refractory, x.dtype, steps),
    )
    return u, s


def halved(x: Array) -> Array:
    """Return x as float16; what is too large becomes the largest float16, not infinite."""
    return namespace(x).clip(x, -65504, 65504).astype(np.float16)


def restored(half: Array, dtype: Any) -> Array:
    """Return what `halved` has made in a number type again."""
    return half.astype(dtype)


def spike_adjoint(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the gradient of the potential as published, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = namespace(g).empty(g.shape, g.dtype)
    kernel("spike_adjoint", g.dtype)(
        *(g.size, _contiguous(g), _contiguous(u), y, g.size),
        *_surrogate(spiking, g.dtype),
    )
    return y


def spike_adjoint_exact(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the whole adjoint, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    steps, columns = _sizes(g)
    y = namespace(g).empty(g.shape, g.dtype)
    kernel("spike_adjoint_exact", g.dtype)(
        *(columns, _contiguous(g), _contiguous(u), y, steps, columns),
        *_surrogate(spiking, g.dtype),
        *_recurrence(spiking.refractory, g.dtype, steps),
    )
    return y


def neuron_adjoint(g: Array, u: Array, response: Alpha, spiking: Spiking) -> Array:
    """Return psp_adjoint(spike_adjoint(g, u)) in one pass, of g and u (T, ...)."""
    steps, columns = _sizes(g)
    y = namespace(g).empty(g.shape, g.dtype)
    kernel("neuron_adjoint", g.dtype)(
        *(columns, _contiguous(g), _contiguous(u), y, steps, columns),
        *_surrogate(spiking, g.dtype),
        *_recurrence(response, g.dtype, steps),
    )
    return y


def neuron_adjoint_exact(g: Array, u: Array, response: Alpha, spiking: Spiking) -> Array:
    """Return psp_adjoint(spike_adjoint_exact(g, u)) in one pass, of g and u (T, ...)."""
    steps, columns = _sizes(g)
    y, g_u = namespace(g).empty(g.shape, g.dtype), namespace(g).empty(g.shape, g.dtype)
    kernel("neuron_adjoint_exact", g.dtype)(
        *(columns, _contiguous(g), _contiguous(u), g_u, y, steps, columns),
        *_surrogate(spiking, g.dtype),
        *_recurrence(response, g.dtype, steps),
        *_recurrence(spiking.refractory, g.dtype, steps),
    )
    return y


def sgd(w: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> None:
    """Move the weights w by gradient descent with momentum: ``v = momentum v + g + decay w``, ``w -= rate v``."""
    kernel("sgd", w.dtype)(w.size, w, _contiguous(g), v, w.size, rate, momentum, decay)


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    peak: Array | None,
    *,
    betas: tuple[float, float],
    rate_m: float,
    rate_g: float,
    scale_v: float,
    eps: float,
    decay: float,
) -> None:
    """Move the weights w by Adam, AMSGrad or NAdam, in place.

    With ``g' = g + decay w``: ``m = beta1 m + (1 - beta1) g'``, ``v = beta2 v + (1 - beta2) g'^2``,
    ``w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)``, where ``peak``, if there is one, keeps the largest v and
    stands in its place. The rates hold the corrections of the bias.
    """
    kernel("adam", w.dtype)(
        *(w.size, w, _contiguous(g), m, v, v if peak is None else peak, w.size, peak is not None),
        *(*betas, rate_m, rate_g, scale_v, eps, decay),
    )
