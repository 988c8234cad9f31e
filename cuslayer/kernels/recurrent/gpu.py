"""Launchers of `recurrent.cu`: populations of neurons of any kind with a dense layer to themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Recurrence, surrogate_numbers
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, recurrence, zeros
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.neuron.gpu import kernel_of, numbers_of
from cuslayer.kernels.recurrent.constants import Geometry, Program, by_lag, lags_of
from cuslayer.kernels.spikes.packed import PackedSpikes, words_of

__all__ = ["adjoint", "forward"]

# THREADS of the source, and the lanes of a warp.
_THREADS, _WARP = 512, 32
_NO_FILTER = Recurrence(0.0, 0.0, 0, 0.0, 0.0)


def forward(
    x: Array,
    weight: Array,
    program: Program,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    before: None = None,
    saves: tuple[str, ...] = (),
) -> tuple[Array, PackedSpikes, Array]:
    """Return the potential u and packed spikes, (T, N, ...), and other values for backward, (values, T, N, ...)."""
    u, more = empty(x, x.shape, x.dtype), empty(x, (len(saves), *x.shape), x.dtype)
    neurons = math.prod(x.shape[2:])
    masks, lags = words_of(neurons), lags_of(weight, geometry)
    words = empty(x, (x.shape[0] * x.shape[1], 1, masks), np.uint32)
    by_neuron = empty(x, (neurons, x.shape[1], words_of(len(x))), np.uint32)
    # For spike response neurons this is the weighted input, which backward does not need.
    saved = empty(x, x.shape, x.dtype) if program.response else more
    arrays = {
        "x": contiguous(x),
        "w": contiguous(weight),
        "u": u,
        "fired": words,
        "by_neuron": by_neuron,
        "saved": saved,
    }
    given = arrays | {"lags": lags, "saves": len(saves), "theta": program.spiking.surrogate(x.dtype)[0]}
    _launch("recurrent", x, program, constants, delay, geometry, 4 * (delay + lags) * masks, given)
    return u, PackedSpikes(words, x.shape, neurons, by_neuron), more


def adjoint(
    g: Array,
    u: Array,
    more: Array,
    weight: Array,
    program: Program,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    states: None = None,
    trained: bool = False,
    later: None = None,
    start: int = 0,
) -> tuple[Array, Array]:
    """Return the gradients of the weighted input, (T, N, ...), and of the constants by column, (constants, columns).

    As many rows of 0 as the delay has steps, at most T, follow the first.
    """
    late, spiking = min(delay, len(g)), program.spiking
    y = empty(g, (len(g) + late, *g.shape[1:]), g.dtype)
    g_u = empty(g, g.shape if program.response else (0,), g.dtype)
    w = contiguous(by_lag(weight).swapaxes(1, 2)) if geometry is None else weight
    arrays = {"g": contiguous(g), "u": contiguous(u), "w": w, "saved": more, "g_u": g_u, "y": y, "lags": len(w)}
    exact = spiking.exact if isinstance(spiking, StepSpiking) else program.exact
    sums = (empty if g.size else zeros)(g, (len(constants) if trained else 0, math.prod(g.shape[1:])), g.dtype)
    arrays |= {"sums": sums, "trained": trained}
    given = arrays | {"saves": len(more), "late": late, "exact": exact} | surrogate_numbers(spiking, g.dtype)._asdict()
    shared = math.prod(g.shape[2:]) * g.dtype.itemsize
    _launch("recurrent_adjoint", g, program, constants, delay, geometry, shared, given)
    return y, sums


def _filter(alpha: Alpha | None, dtype: np.dtype[Any], steps: int) -> Mapping[str, Any]:
    return recurrence(alpha, dtype, steps) if alpha else _NO_FILTER._asdict()


def _launch(
    name: str,
    x: Array,
    program: Program,
    constants: Array,
    delay: int,
    geometry: Geometry | None,
    shared: int,
    given: dict[str, Any],
) -> None:
    """Launch a sweep with a block for each sample of x (T, N, ...)."""
    if geometry is not None:
        raise ValueError("a convolution from neurons to themselves runs on the CPU, got arrays on a GPU")
    steps, samples, neurons, spiking = x.shape[0], x.shape[1], math.prod(x.shape[2:]), program.spiking
    filters = {"response": program.response, "refractory": getattr(spiking, "refractory", None)}
    given |= {of: _filter(alpha, x.dtype, steps) for of, alpha in filters.items()}
    # Backward, only the exact gradient needs the states of the refractory response.
    states = 2 if program.response and not given.get("exact", True) else program.states
    given["states"] = empty(x, (states, samples * neurons), x.dtype)
    given |= {"steps": steps, "samples": samples, "neurons": neurons, "delay": delay}
    given |= {"constants": constants, "period": max(constants.shape[1], 1)}
    threads = min(_THREADS, max(1, -(-neurons // _WARP)) * _WARP)
    if isinstance(spiking, StepSpiking):
        found: Any = kernel_of("recurrent", name, spiking.kind)
        given["numbers"] = numbers_of(spiking, x)
    else:
        found, given["numbers"] = kernel(name, x.dtype), empty(x, (0,), x.dtype)
    found.launch((samples if x.size else 0,), (threads,), shared, **given)
