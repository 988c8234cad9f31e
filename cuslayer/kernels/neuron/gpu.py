"""Launchers of `neuron_loops.cuh`: the kernels of a kind of neuron over time, with its struct from `printer.py`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from cuslayer.backend import Array, sent_once
from cuslayer.kernels.constants import surrogate_numbers
from cuslayer.kernels.cuda import compile as compiled
from cuslayer.kernels.cuda import own
from cuslayer.kernels.cuda.launch import contiguous, empty, sizes
from cuslayer.kernels.neuron import printer
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.neuron.kind import Kind

__all__ = ["adjoint", "forward"]


def forward(
    inputs: Array, constants: Array, spiking: StepSpiking, states: Array | None = None, saves: tuple[str, ...] = ()
) -> tuple[Array, Array, Array]:
    """Return the potential u, the spikes s, (T, ...), and values for backward; see the twin in `cpu.py`."""
    shape, dtype = inputs.shape[1:], inputs.dtype
    u, s, kept = (empty(inputs, *of) for of in ((shape, dtype), (shape, bool), ((len(saves), *shape), dtype)))
    arrays = {"x": contiguous(inputs), "u": u, "s": s, "saved": kept, "constants": constants}
    _launch("neuron_of_kind", spiking, u, states, arrays, saves=len(saves))
    return u, s, kept


def adjoint(
    g: Array,
    u: Array,
    kept: Array,
    constants: Array,
    spiking: StepSpiking,
    states: Array | None = None,
    trained: bool = False,
    later: Array | None = None,
) -> tuple[Array, Array]:
    """Return the gradients of the inputs, and of the constants by column; see the twin in `cpu.py`."""
    kind, dtype = spiking.kind, g.dtype
    y = empty(g, (len(kind.inputs), *g.shape), dtype)
    sums = empty(g, (len(kind.columns) if trained else 0, sizes(g)[1]), dtype)
    arrays = {"g": contiguous(g), "u": contiguous(u), "saved": kept, "constants": constants, "y": y, "sums": sums}
    flags = {"exact": spiking.exact, "trained": trained, "graded": spiking.graded, "saves": len(kept)}
    flags["goes_on"], arrays["later"] = later is not None, empty(g, (0,), dtype) if later is None else later
    surrogate = surrogate_numbers(spiking, dtype)._asdict()
    _launch("neuron_adjoint_of_kind", spiking, g, states, arrays, **flags, **surrogate)
    return y, sums


def _launch(
    name: str, spiking: StepSpiking, beside: Array, states: Array | None, arrays: dict[str, Any], **flags: Any
) -> None:
    """Launch a kernel of a kind over time, a thread for each column of an array (T, ...)."""
    steps, columns = sizes(beside)
    given = arrays | flags | {"numbers": numbers_of(spiking, beside), "held": states is not None}
    given["states"] = empty(beside, (0,), beside.dtype) if states is None else states
    period = max(arrays["constants"].shape[1], 1)
    kernel_of("neuron", name, spiking.kind)(columns, steps=steps, columns=columns, period=period, **given)


def numbers_of(spiking: StepSpiking, beside: Array) -> Array:
    """Return the constants of all neurons on the device of an array; they are sent there once."""
    return sent_once(np.array(spiking.numbers(beside.dtype), beside.dtype), beside)


@cache
def kernel_of(topic: str, name: str, kind: Kind) -> own.OwnKernel:
    """Return a kernel of a source of the library for a kind."""
    return own.kernel(printer.with_struct(compiled.source_of(topic), kind), name)
