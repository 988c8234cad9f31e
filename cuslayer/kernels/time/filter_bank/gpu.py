"""Launchers of `filter_bank.cu`: filter banks in time."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty, numbers, samples, sizes

__all__ = ["adjoint", "fir", "fir_adjoint", "forward", "weight_adjoint"]

# The most partial sums of each tap's gradient: enough threads for few filters, and few terms in the final sum.
_MOST_LANES = 4096


def forward(x: Array, w: Array) -> Array:
    """Filter each column of x (T, ..., C) by each filter of w (F, K), into (T, ..., F C); see the twin in `cpu.py`."""
    y = empty(w, (*x.shape[:-1], len(w) * x.shape[-1]), w.dtype)
    steps, columns = sizes(y)
    x = contiguous(x.astype(w.dtype, copy=False))
    kernel("filter_bank", w.dtype)(-(-steps // TILE) * columns, x=x, w=contiguous(w), y=y, channels=x.shape[-1])
    return y


def adjoint(g: Array, w: Array) -> Array:
    """Return ``y[t, ..., c] = sum_i sum_k w[i, k] g[t+k, ..., i C + c]``, (T, ..., C), of g (T, ..., F C), w (F, K)."""
    y = empty(g, (*g.shape[:-1], g.shape[-1] // len(w)), g.dtype)
    steps, columns = sizes(y)
    arrays = {"g": contiguous(g), "w": contiguous(w), "y": y}
    kernel("filter_bank_adjoint", g.dtype)(-(-steps // TILE) * columns, **arrays, channels=y.shape[-1])
    return y


def fir(x: Array, taps: Array) -> Array:
    """Filter each column of x (T, ...) by one filter, the direct sum ``a[t] = sum_k taps[k] x[t-k]``, taps (K,)."""
    x = numbers(x)
    return forward(x.reshape(sizes(x)), samples(taps, x)[None]).reshape(x.shape)


def fir_adjoint(g: Array, taps: Array) -> Array:
    """Correlate each column of g (T, ...) with the taps (K,): ``y[t] = sum_k taps[k] g[t+k]``."""
    return adjoint(g.reshape(sizes(g)), samples(taps, g)[None]).reshape(g.shape)


def weight_adjoint(x: Array, g: Array, shape: tuple[int, int]) -> Array:
    """Return the gradient (F, K) of the taps, from x (T, ..., C) and g (T, ..., F C); see the twin in `cpu.py`."""
    filters, taps = shape
    lanes = min(sizes(x)[1], _MOST_LANES)
    parts = empty(g, (*shape, lanes), g.dtype)
    threads = filters * -(-taps // TILE) * lanes
    arrays = {"x": contiguous(x.astype(g.dtype, copy=False)), "g": contiguous(g), "parts": parts}
    kernel("filter_bank_weight_adjoint", g.dtype)(threads, **arrays, channels=x.shape[-1])
    return parts.sum(axis=-1)
