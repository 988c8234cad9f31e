"""Launchers of `recurrent.cu`: populations of neurons of any kind with synapses to themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.images import map_of, struct_of
from cuslayer.kernels.cuda.launch import contiguous, empty, zeros
from cuslayer.kernels.recurrent.constants import Geometry, Later, PopulationMemory, by_lag, lags_of
from cuslayer.kernels.scan.blocks import ENDLESS
from cuslayer.kernels.scan.gpu import adjoint_constants, forward_constants, kernel_for, later_lags, past_lags
from cuslayer.kernels.spikes.packed import PackedSpikes, words_of
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.print_cuda import back

__all__ = ["adjoint", "forward", "held", "nothing_later"]

# THREADS of the source, and the lanes of a warp.
_THREADS = 512
_WARP = 32
# A window of nothing says that the synapses are dense.
_NO_CONVOLUTION = Geometry(Window((0, 0), (1, 1), (0, 0), (1, 1)), 1)
_NO_FRAME = {"rows": 1, "columns": 1, "channels": 1, "words": 0}


def held(x: Array, spiking: StepSpiking, delay: int) -> PopulationMemory:
    """Return the state of a population before its first step; see `cpu.py`."""
    samples = x.shape[1]
    neurons = math.prod(x.shape[2:])
    of_inputs, of_spikes = past_lags(spiking, ENDLESS)
    states = zeros(x, (len(spiking.kind.states), samples * neurons), x.dtype)
    inputs = zeros(x, (_longest(of_inputs), samples, neurons), x.dtype)
    fired = zeros(x, (max(_longest(of_spikes), delay), samples, neurons), bool)
    return PopulationMemory(states, inputs, fired, rings=False)


def nothing_later(g: Array, spiking: StepSpiking, longest: int) -> Later:
    """Return zeros to begin backward with, for gradients like g (T, N, ...) and a longest delay."""
    values = len(back(spiking.kind, spiking.exact).kept)
    rows = len(spiking.kind.states), values * _longest(later_lags(spiking, ENDLESS)), longest
    return Later(*(zeros(g, (count, math.prod(g.shape[1:])), g.dtype) for count in rows))


def forward(
    x: Array,
    weight: Array,
    spiking: StepSpiking,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    before: PopulationMemory | None = None,
    saves: tuple[str, ...] = (),
) -> tuple[Array, PackedSpikes, Array]:
    """Return the potential u and packed spikes, (T, N, ...), and other values for backward, (values, T, N, ...)."""
    u = empty(x, x.shape, x.dtype)
    saved = empty(x, (len(saves), *x.shape), x.dtype)
    samples = x.shape[1]
    neurons = math.prod(x.shape[2:])
    masks = words_of(neurons)
    lags = lags_of(weight, geometry)
    words = empty(x, (x.shape[0] * x.shape[1], 1, masks), np.uint32)
    by_neuron = empty(x, (neurons, x.shape[1], words_of(len(x))), np.uint32)
    inputs = empty(x, (0, samples, neurons), x.dtype) if before is None else before.inputs
    uses_inputs = bool(past_lags(spiking, ENDLESS)[0])
    z = empty(x, ((len(inputs) + len(x)) * uses_inputs, samples, neurons), x.dtype)
    z[: len(inputs)] = inputs
    arguments: dict[str, Any] = {"x": contiguous(x), "w": contiguous(weight), "fired": words, "by_neuron": by_neuron}
    arguments |= {"u": u, "z": z, "saved": saved, "lags": lags, "saves": len(saves)}
    arguments |= {"rows": len(inputs), "earlier": empty(x, (0,), bool), "past": 0, "start": 0, "goes_on": False}
    if before is not None:
        arguments |= {"states": before.states, "earlier": contiguous(before.fired), "past": len(before.fired)}
        arguments |= {"start": before.steps, "goes_on": True}
    arguments |= forward_constants(constants, spiking, x.dtype, len(x) if before is None else ENDLESS)
    _launch("recurrent", x, spiking, delay, geometry, 4 * (delay + lags) * masks, arguments)
    s = PackedSpikes(words, x.shape, neurons, by_neuron)
    if before is not None:
        before.steps += len(x)
        # In place: a captured graph reads the same arrays in every launch.
        spikes = s.unpack().reshape(len(x), samples, neurons)
        before.fired[...] = namespace(x).concatenate([before.fired, spikes], axis=0)[len(x) :]
        if uses_inputs:
            inputs[...] = z[len(x) :]
    return u, s, saved


def adjoint(
    g: Array,
    u: Array,
    saved: Array,
    weight: Array,
    spiking: StepSpiking,
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
    steps = len(g)
    columns = math.prod(g.shape[1:])
    values = len(back(spiking.kind, spiking.exact).kept)
    if later is None:
        errors_after = min(delay, steps)
        rows = 0
    else:
        errors_after = len(later.errors)
        rows = len(later.ring) // max(values, 1)
    y = empty(g, (steps + errors_after, *g.shape[1:]), g.dtype)
    reused = empty(g, (values, steps + rows, columns), g.dtype)
    lags = lags_of(weight, geometry)
    w = contiguous((weight if geometry else by_lag(weight)).swapaxes(-1, -2))
    arrays = {"g": contiguous(g), "u": contiguous(u), "w": w, "saved": saved, "again": reused, "y": y, "lags": lags}
    of_sums = (len(constants) if trained else 0, columns)
    sums = empty(g, of_sums, g.dtype) if g.size else zeros(g, of_sums, g.dtype)
    arrays |= {"sums": sums, "trained": trained, "rows": rows, "start": start, "goes_on": later is not None}
    arrays["first"] = empty(g, (0, columns), g.dtype) if states is None else states
    arguments = arrays | {"saves": len(saved), "late": errors_after, "exact": spiking.exact, "graded": spiking.graded}
    arguments |= adjoint_constants(constants, spiking, g.dtype, steps if later is None else ENDLESS)
    if later is not None:
        arguments["states"] = later.states
        y[steps:] = later.errors.reshape(y[steps:].shape)
        reused[:, steps:] = later.ring.reshape(reused[:, steps:].shape)
    shared = math.prod(g.shape[2:]) * g.dtype.itemsize if lags and geometry is None else 0
    _launch("recurrent_adjoint", g, spiking, delay, geometry, shared, arguments)
    if later is not None:
        later.errors[:] = y[:errors_after].reshape(errors_after, columns)
        later.ring[:] = reused[:, :rows].reshape(later.ring.shape)
    return y, sums


def _longest(lags: list[int]) -> int:
    """Return the largest number of steps after which something is used again; 0 if nothing ever is."""
    return max((lag for lag in lags if lag < ENDLESS), default=0)


def _launch(
    name: str,
    x: Array,
    spiking: StepSpiking,
    delay: int,
    geometry: Geometry | None,
    shared: int,
    arguments: dict[str, Any],
) -> None:
    """Launch a sweep with a block for each sample of x (T, N, ...)."""
    steps = x.shape[0]
    samples = x.shape[1]
    neurons = math.prod(x.shape[2:])
    if "states" not in arguments:
        arguments["states"] = empty(x, (len(spiking.kind.states), samples * neurons), x.dtype)
    arguments |= {"steps": steps, "samples": samples, "neurons": neurons, "delay": delay}
    window, groups = geometry or _NO_CONVOLUTION
    arguments |= {"frame": map_of(x) if geometry else _NO_FRAME, "window": struct_of(window), "groups": groups}
    threads = min(_THREADS, max(1, -(-neurons // _WARP)) * _WARP)
    kernel_for(name, x.dtype, spiking).launch((samples if x.size else 0,), (threads,), shared, **arguments)
