"""Launchers of `recurrent.cu`: populations of neurons of any kind with synapses to themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Alpha, Recurrence, Window, surrogate_numbers
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import map_of, struct_of
from cuslayer.kernels.cuda.launch import contiguous, empty, recurrence, zeros
from cuslayer.kernels.neuron.blocks import ENDLESS
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.neuron.gpu import kernel_of, numbers_of
from cuslayer.kernels.recurrent.constants import Geometry, Later, PopulationMemory, Program, by_lag, lags_of
from cuslayer.kernels.spikes.packed import PackedSpikes, words_of

__all__ = ["adjoint", "forward", "held", "nothing_later"]

# THREADS of the source, and the lanes of a warp.
_THREADS, _WARP = 512, 32
_NO_FILTER = Recurrence(0.0, 0.0, 0, 0.0, 0.0)
# A window of nothing says that the synapses are dense.
_NO_CONVOLUTION = Geometry(Window((0, 0), (1, 1), (0, 0), (1, 1)), 1)
_NO_FRAME = {"rows": 1, "columns": 1, "channels": 1, "words": 0}


def held(x: Array, program: Program, delay: int) -> PopulationMemory:
    """Return the state of a population before its first step; see the CPU's."""
    samples, neurons = x.shape[1], math.prod(x.shape[2:])
    cut, ref_cut = _cuts(program, x.dtype)
    states = zeros(x, (program.states, samples * neurons), x.dtype)
    inputs = zeros(x, (cut, samples, neurons), x.dtype)
    fired = zeros(x, (max(ref_cut, delay), samples, neurons), bool)
    return PopulationMemory(states, inputs, fired, rings=False)


def nothing_later(g: Array, program: Program, longest: int) -> Later:
    """Return zeros to begin backward with, for gradients like g (T, N, ...) and a longest delay."""
    rows = program.states, max(_cuts(program, g.dtype)), longest
    return Later(*(zeros(g, (count, math.prod(g.shape[1:])), g.dtype) for count in rows))


def forward(
    x: Array,
    weight: Array,
    program: Program,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    before: PopulationMemory | None = None,
    saves: tuple[str, ...] = (),
) -> tuple[Array, PackedSpikes, Array]:
    """Return the potential u and packed spikes, (T, N, ...), and other values for backward, (values, T, N, ...)."""
    u, more = empty(x, x.shape, x.dtype), empty(x, (len(saves), *x.shape), x.dtype)
    samples, neurons = x.shape[1], math.prod(x.shape[2:])
    masks, lags = words_of(neurons), lags_of(weight, geometry)
    words = empty(x, (x.shape[0] * x.shape[1], 1, masks), np.uint32)
    by_neuron = empty(x, (neurons, x.shape[1], words_of(len(x))), np.uint32)
    inputs = empty(x, (0, samples, neurons), x.dtype) if before is None else before.inputs
    # For spike response neurons this is the weighted input, which backward does not need.
    saved = more
    if program.response:
        saved = empty(x, (len(inputs) + len(x), samples, neurons), x.dtype)
        saved[: len(inputs)] = inputs
    given: dict[str, Any] = {"x": contiguous(x), "w": contiguous(weight), "fired": words, "by_neuron": by_neuron}
    given |= {"u": u, "saved": saved, "lags": lags, "saves": len(saves)}
    given |= {"theta": program.spiking.surrogate(x.dtype)[0]}
    given |= {"rows": len(inputs), "earlier": empty(x, (0,), bool), "past": 0, "start": 0, "goes_on": False}
    if before is not None:
        given |= {"states": before.states, "earlier": contiguous(before.fired), "past": len(before.fired)}
        given |= {"start": before.steps, "goes_on": True}
    _launch("recurrent", x, program, constants, delay, geometry, 4 * (delay + lags) * masks, given)
    s = PackedSpikes(words, x.shape, neurons, by_neuron)
    if before is not None:
        before.steps += len(x)
        # In place: a captured graph reads the same arrays in every launch.
        now = s.unpack().reshape(len(x), samples, neurons)
        before.fired[...] = namespace(x).concatenate([before.fired, now], axis=0)[len(x) :]
        if program.response:
            inputs[...] = saved[len(x) :]
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
    states: Array | None = None,
    trained: bool = False,
    later: Later | None = None,
    start: int = 0,
) -> tuple[Array, Array]:
    """Return the gradients of the weighted input, (T, N, ...), and of the constants by column, (constants, columns).

    After the T rows of the first come min(delay, T) rows of 0 or, with `later`, its errors.
    """
    steps, columns, spiking = len(g), math.prod(g.shape[1:]), program.spiking
    late, rows = (min(delay, steps), 0) if later is None else (len(later.errors), len(later.ring))
    y = empty(g, (steps + late, *g.shape[1:]), g.dtype)
    g_u = empty(g, (steps + rows, columns) if program.response else (0, columns), g.dtype)
    lags = lags_of(weight, geometry)
    w = contiguous((weight if geometry else by_lag(weight)).swapaxes(-1, -2))
    arrays = {"g": contiguous(g), "u": contiguous(u), "w": w, "saved": more, "g_u": g_u, "y": y, "lags": lags}
    exact = spiking.exact if isinstance(spiking, StepSpiking) else program.exact
    sums = (empty if g.size else zeros)(g, (len(constants) if trained else 0, columns), g.dtype)
    arrays |= {"sums": sums, "trained": trained, "rows": rows, "start": start, "goes_on": later is not None}
    arrays["first"] = empty(g, (0, columns), g.dtype) if states is None else states
    given = arrays | {"saves": len(more), "late": late, "exact": exact} | surrogate_numbers(spiking, g.dtype)._asdict()
    if later is not None:
        given["states"], y[steps:], g_u[steps:] = later.states, later.errors.reshape(y[steps:].shape), later.ring
    shared = math.prod(g.shape[2:]) * g.dtype.itemsize if lags and geometry is None else 0
    _launch("recurrent_adjoint", g, program, constants, delay, geometry, shared, given)
    if later is not None:
        later.errors[:], later.ring[:] = y[:late].reshape(late, columns), g_u[:rows]
    return y, sums


def _filters(program: Program) -> tuple[Alpha | None, Alpha | None]:
    return program.response, getattr(program.spiking, "refractory", None)


def _cuts(program: Program, dtype: np.dtype[Any]) -> list[int]:
    """Return the steps after which inputs and spikes leave the filters, 0 if they never do."""
    return [int(_filter(each, dtype, ENDLESS)["cut"]) % ENDLESS for each in _filters(program)]


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
    steps, samples, neurons, spiking = x.shape[0], x.shape[1], math.prod(x.shape[2:]), program.spiking
    filters = zip(("response", "refractory"), _filters(program), strict=True)
    given |= {of: _filter(alpha, x.dtype, ENDLESS if given["goes_on"] else steps) for of, alpha in filters}
    if "states" not in given:
        # Backward, only the exact gradient needs the states of the refractory response.
        states = 2 if program.response and not given.get("exact", True) else program.states
        given["states"] = empty(x, (states, samples * neurons), x.dtype)
    given |= {"steps": steps, "samples": samples, "neurons": neurons, "delay": delay}
    window, groups = geometry or _NO_CONVOLUTION
    given |= {"frame": map_of(x) if geometry else _NO_FRAME, "window": struct_of(window), "groups": groups}
    given |= {"constants": constants, "period": max(constants.shape[1], 1)}
    threads = min(_THREADS, max(1, -(-neurons // _WARP)) * _WARP)
    if isinstance(spiking, StepSpiking):
        found: Any = kernel_of("recurrent", name, spiking.kind)
        given["numbers"] = numbers_of(spiking, x)
    else:
        found, given["numbers"] = kernel(name, x.dtype), empty(x, (0,), x.dtype)
    found.launch((samples if x.size else 0,), (threads,), shared, **given)
