"""Launchers of `recurrent_loops.cuh`: populations with a dense layer to themselves, of SRM and of any other kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Surrogate
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, recurrence
from cuslayer.kernels.neuron.gpu import kernel_of, numbers_of
from cuslayer.kernels.recurrent.constants import Geometry, Program, SrmProgram
from cuslayer.kernels.spikes.packed import PackedSpikes, words_of
from cuslayer.kernels.surrogate.constants import surrogate_numbers

__all__ = ["adjoint", "forward"]

# THREADS of the source, and the lanes of a warp.
_THREADS, _WARP = 512, 32


def forward(
    x: Array,
    weight: Array,
    program: Program,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    before: None = None,
    saves: tuple[str, ...] = (),
) -> tuple[Array, Array, Array]:
    """Return the potential u and the spikes s, (T, N, ...), and what else backward needs, (values, T, N, ...).

    Spikes of neurons that are written as a step are packed.

    Raises:
        ValueError: the synapses are a convolution.
    """
    u, more = empty(x, x.shape, x.dtype), empty(x, (len(saves), *x.shape), x.dtype)
    given: dict[str, Any] = {"x": contiguous(x), "w": contiguous(weight), "u": u}
    neurons = math.prod(x.shape[2:])
    masks = words_of(neurons)
    s: Any
    if isinstance(program, SrmProgram):
        given |= _filters(program, x.dtype, len(x)) | {"z": empty(x, x.shape, x.dtype)}
        given["theta"] = program.spiking.surrogate(x.dtype)[0]
        s = given["s"] = empty(x, x.shape, bool)
    else:
        words = empty(x, (x.shape[0] * x.shape[1], 1, masks), np.uint32)
        by_neuron = empty(x, (neurons, x.shape[1], words_of(len(x))), np.uint32)
        s = PackedSpikes(words, x.shape, neurons, by_neuron)
        given |= {"saved": more, "saves": len(saves), "fired": words, "by_neuron": by_neuron}
    _launch("recurrent", x, program, constants, delay, geometry, 4 * (delay + 1) * masks, given)
    return u, s, more


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
) -> Array:
    """Return the gradient of the weighted input, (T, N, ...), of that of the spikes from later layers g.

    For neurons that are written as a step, rows of 0 follow, of as many steps as the delay, at most T.
    """
    late = 0 if isinstance(program, SrmProgram) else min(delay, len(g))
    y = empty(g, (len(g) + late, *g.shape[1:]), g.dtype)
    given: dict[str, Any] = {"g": contiguous(g), "u": contiguous(u), "w": contiguous(weight.T), "y": y}
    if isinstance(program, SrmProgram):
        given |= _filters(program, g.dtype, len(g)) | {"g_u": empty(g, g.shape, g.dtype), "exact": program.exact}
    else:
        given |= {"saved": more, "saves": len(more), "exact": program.spiking.exact, "late": late}
    surrogate: Surrogate = program.spiking
    given |= surrogate_numbers(surrogate, g.dtype)._asdict()
    shared = math.prod(g.shape[2:]) * g.dtype.itemsize
    _launch("recurrent_adjoint", g, program, constants, delay, geometry, shared, given)
    return y


def _filters(program: SrmProgram, dtype: np.dtype[Any], steps: int) -> dict[str, Any]:
    refractory = recurrence(program.spiking.refractory, dtype, steps, "ref_")
    return {**recurrence(program.response, dtype, steps), **refractory}


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
    steps, samples, neurons = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    given["states"] = empty(x, (program.states, samples * neurons), x.dtype)
    sizes = {"steps": steps, "samples": samples, "neurons": neurons, "delay": delay}
    threads = min(_THREADS, max(1, -(-neurons // _WARP)) * _WARP)
    if isinstance(program, SrmProgram):
        found: Any = kernel(f"{name}_srm", x.dtype)
    else:
        given |= {"constants": constants, "period": max(constants.shape[1], 1)}
        given["numbers"] = numbers_of(program.spiking, x)
        found = kernel_of("recurrent_neuron", f"{name}_of_kind", program.spiking.kind)
    found.launch((samples if x.size else 0,), (threads,), shared, **given, **sizes)
