"""Launchers of `spike_count.cu`: the error of spike counts, its gradient, and the score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels import gpu
from cuslayer.kernels.constants import ClassCounts
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import arrived, contiguous, empty, recurrence, sizes, train
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.kernels.step.filters import Alpha, Sampled

__all__ = ["error", "error_adjoint", "score"]

# LANES and RUNS of spike_count.cu: the columns of a block, and the parts of its time.
_LANES = 32
_RUNS = 16

_DOUBLE = np.dtype(np.float64)
# Filters nothing: for a sampled response the kernel computes the error of counts alone.
_NO_RESPONSE = {"decay": 0.0, "gain": 0.0, "cut": 1 << 62, "cut_p": 0.0, "cut_q": 0.0, "run_decay": 0.0}


def error(
    s: Array | PackedSpikes,
    desired: Array | ClassCounts,
    window: tuple[int, int],
    response: Alpha | Sampled,
    count_scale: float,
    piecewise: bool,
) -> tuple[Array, Array]:
    """Return the error and its signal; the spikes may be packed. See `error` of `cpu.py`."""
    signal, beside, dtype = train(s)
    first, last = window
    steps = s.shape[0]
    columns = math.prod(s.shape[1:])
    blocks = max(1, -(-columns // _LANES))
    e = empty(beside, s.shape, dtype)
    value = empty(beside, (), dtype)
    if isinstance(desired, ClassCounts):
        goal = {"labels": contiguous(desired.labels)}
        by_label = {"given": True, "of_label": desired.true, "of_others": desired.false}
    else:
        goal = {"desired": contiguous(desired.astype(dtype, copy=False))}
        by_label = {"given": False, "of_label": 0.0, "of_others": 0.0}
    kernel("spike_count_error", dtype).launch(
        (blocks,),
        (_LANES, _RUNS),
        **signal,
        e=e,
        parts=empty(beside, (blocks,), _DOUBLE),
        error=value,
        arrived=arrived(beside),
        samples=s.shape[1],
        neurons=math.prod(s.shape[2:]),
        dt=float(response.dt),
        window={"first": first, "last": last, "count_scale": count_scale, "piecewise": piecewise},
        by_label=by_label,
        **goal,
        alpha=_constants(response, steps) if isinstance(response, Alpha) else _NO_RESPONSE,
    )
    if isinstance(response, Alpha) or last - first == steps:
        return value, e
    outside = (s.unpack() if isinstance(s, PackedSpikes) else s).astype("float64")
    outside[first:last] = 0
    a = response.apply(gpu, outside)
    if piecewise:
        a[first:last] = 0
    e += a.astype(e.dtype)
    return (e * e).sum() * e.dtype.type(response.dt / 2), e


def _constants(response: Alpha, steps: int) -> dict[str, Any]:
    """Return the recurrence of a response in float64, and its decay over a run of steps."""
    constants = recurrence(response, _DOUBLE, steps)
    return {**constants, "run_decay": constants["decay"] ** -(-steps // _RUNS)}


def error_adjoint(e: Array, g: Array, response: Alpha | Sampled) -> Array:
    """Return the gradient of the spikes, ``dt g sum_k eps[k] e[t+k]``, of e (T, N, ...) and a scalar g."""
    if isinstance(response, Sampled):
        return response.adjoint(gpu, e * (g * e.dtype.type(response.dt)))
    steps, columns = sizes(e)
    y = empty(e, e.shape, e.dtype)
    kernel("spike_count_error_adjoint", e.dtype).launch(
        (-(-columns // _LANES),),
        (_LANES, _RUNS),
        e=contiguous(e),
        g=contiguous(g),
        y=y,
        dt=float(response.dt),
        alpha=_constants(response, steps),
    )
    return y


def score(totals: Array, s: Array | PackedSpikes, labels: Array | None, error: Array | float, scale: float) -> None:
    """Add a batch to the totals of an epoch; the output may be packed spikes. See `score` of `cpu.py`."""
    if isinstance(error, (int, float)):
        signal, beside, dtype = train(s)
        loss = None
        factor = error * scale
    else:
        signal, beside, dtype = train(s, error.dtype)
        loss = contiguous(error.astype(dtype, copy=False))
        factor = scale
    columns = math.prod(s.shape[1:])
    blocks = max(1, -(-columns // _LANES))
    kernel("spike_count_score", dtype).launch(
        (blocks,),
        (_LANES, _RUNS),
        **signal,
        labels=None if labels is None else contiguous(labels),
        error=loss,
        counts=empty(beside, (columns,), np.float64),
        fired=empty(beside, (blocks,), bool),
        totals=totals,
        arrived=arrived(beside),
        steps=s.shape[0],
        samples=s.shape[1],
        neurons=math.prod(s.shape[2:]),
        by_class=labels is not None,
        with_error=loss is not None,
        factor=factor,
    )
