"""Launchers of `recurrent.cu` and `recurrent_adjoint.cu`: populations with a dense layer to themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Surrogate
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, recurrence
from cuslayer.kernels.recurrent.constants import Geometry, LeakyProgram, Program, SrmProgram, side_by_side
from cuslayer.kernels.surrogate.constants import surrogate_numbers

__all__ = ["adjoint", "forward"]

# THREADS of the source, and the lanes of a warp.
_THREADS, _WARP = 512, 32


def forward(
    x: Array,
    weight: Array,
    program: Program,
    keeps: Sequence[Array],
    delay: int,
    geometry: Geometry | None = None,
    before: None = None,
    arrays: int = 0,
) -> tuple[Array, Array, Array]:
    """Return the potential u and the spikes s, (T, N, ...), and what else backward needs, (arrays, T, N, ...).

    Raises:
        ValueError: the synapses are a convolution.
    """
    u, s, more = empty(x, x.shape, x.dtype), empty(x, x.shape, bool), empty(x, (arrays, *x.shape), x.dtype)
    given: dict[str, Any] = {"x": contiguous(x), "w": contiguous(weight), "u": u, "s": s}
    if isinstance(program, SrmProgram):
        given |= _filters(program, x.dtype, len(x)) | {"z": empty(x, x.shape, x.dtype)}
        given["theta"] = program.spiking.surrogate(x.dtype)[0]
    elif isinstance(program, LeakyProgram):
        given |= program.spiking.reset._asdict() | {"theta": program.spiking.theta}
    else:
        h, r = more if arrays else (more, more)
        given |= program.spiking.adaptation(x.dtype)._asdict() | {"h": h, "r": r, "saved": bool(arrays)}
    words = -(-math.prod(x.shape[2:]) // _WARP)
    _launch("recurrent_" + program.kind, x, program, keeps, delay, geometry, 4 * (delay + 1) * words, given)
    return u, s, more


def adjoint(
    g: Array,
    u: Array,
    more: Array,
    weight: Array,
    program: Program,
    keeps: Sequence[Array],
    delay: int,
    geometry: Geometry | None = None,
) -> Array:
    """Return the gradient of the weighted input, (T, N, ...), of that of the spikes from later layers g."""
    y = empty(g, g.shape, g.dtype)
    surrogate: Surrogate = program.spiking
    given: dict[str, Any] = surrogate_numbers(surrogate, g.dtype)._asdict()
    given |= {"g": contiguous(g), "u": contiguous(u), "w": contiguous(weight.T), "y": y}
    if isinstance(program, SrmProgram):
        given |= _filters(program, g.dtype, len(g)) | {"g_u": empty(g, g.shape, g.dtype), "exact": program.exact}
    elif isinstance(program, LeakyProgram):
        given |= program.spiking.backward_reset._asdict()
    else:
        given |= program.spiking.adaptation(g.dtype)._asdict()
        given |= {"h": more[0] if len(more) else more, "exact": program.spiking.exact}
    shared = math.prod(g.shape[2:]) * g.dtype.itemsize
    _launch("recurrent_adjoint_" + program.kind, g, program, keeps, delay, geometry, shared, given)
    return y


def _filters(program: SrmProgram, dtype: np.dtype[Any], steps: int) -> dict[str, Any]:
    refractory = recurrence(program.spiking.refractory, dtype, steps, "ref_")
    return {**recurrence(program.response, dtype, steps), **refractory}


def _launch(
    name: str,
    x: Array,
    program: Program,
    keeps: Sequence[Array],
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
    if keeps:
        given["keep"] = side_by_side(keeps, neurons)
    sizes = {"steps": steps, "samples": samples, "neurons": neurons, "delay": delay}
    threads = min(_THREADS, max(1, -(-neurons // _WARP)) * _WARP)
    kernel(name, x.dtype).launch((samples if x.size else 0,), (threads,), shared, **given, **sizes)
