"""Launchers of `dense_neuron.cu`: a dense layer of packed spikes and its neurons in one pass, and its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, most_shared, recurrence, surrogate
from cuslayer.kernels.dense.product import Product
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of

__all__ = ["dense_neuron", "dense_neuron_adjoint"]

# Warps of a block of `dense_neuron` by the bytes of a number, THREADS of the source, and bytes of the list of each.
_WARPS = {4: 20, 8: 12}
_LIST_BYTES = 4 * 64
# Samples of a block at most, and blocks that occupy a GPU: fewer samples a block where there would be fewer blocks.
_MOST_SAMPLES = 4
_BLOCKS = 128
# What is stored of the potentials: KEEP_REAL and KEEP_HALF of the source.
_KEEP_REAL, _KEEP_HALF = 1, 2
# Threads of a block of `dense_neuron_adjoint`: a warp that walks, eight that compute terms.
_ADJOINT_THREADS = 288
# The widest next layer whose product is computed within `dense_neuron_adjoint`. A wider one is computed in advance by
# `dense_input_adjoint`, which reads each of its errors for 64 outputs at a time.
_WIDEST_PRODUCT = 32


class _Block(NamedTuple):
    """The work of a block of `dense_neuron`, and bytes of its shared memory."""

    group: int
    copied: bool
    again: bool
    shared: int


def _block(steps: int, samples: int, inputs: int, outputs: int, cut: int, itemsize: int) -> _Block:
    """Return the samples of a block, and what it has in shared memory besides two chunks of weighted inputs.

    The inputs within the response, `cut` steps, if they fit for one sample at least; then the weights, if they fit.
    """
    most, tiles = most_shared(), words_of(outputs)
    step = WORD * itemsize
    kept = cut if cut < steps else 0
    again = _WARPS[itemsize] * _LIST_BYTES + (2 * WORD + kept) * step > most
    chunks = (4 if again else 2) * WORD + (0 if again else kept)

    def shared(group: int) -> int:
        return (_WARPS[itemsize] - group) * _LIST_BYTES + group * chunks * step

    group = _MOST_SAMPLES
    while group > 1 and (tiles * -(-samples // group) < _BLOCKS or shared(group) > most):
        group //= 2
    copied = shared(group) + inputs * step <= most
    return _Block(group, copied, again, shared(group) + copied * inputs * step)


def dense_neuron(
    x: PackedSpikes, steps: int, w: Array, response: Alpha, spiking: Spiking, keep: Any
) -> tuple[Array, PackedSpikes]:
    """Return the potentials and the spikes of a dense layer's neurons.

    Args:
        x: spikes (rows, inputs); the rows are those of all samples at a step, for each of the steps.
        steps: time steps.
        w: (inputs, outputs).
        response: the spike response of the neurons.
        spiking: their threshold and refractory response.
        keep: the type of the potentials, w.dtype or float16; None stores none.

    Returns:
        The potentials (steps, samples x outputs), without rows if none are stored, and the spikes (rows, outputs), with
        `by_neuron`.
    """
    rows, (inputs, outputs) = x.frames, w.shape
    samples, out_words, time_words = rows // max(steps, 1), words_of(outputs), words_of(steps)
    half = keep is not None and np.dtype(keep) == np.float16
    columns = samples * outputs
    u = empty(w, (0 if keep is None else steps, columns), np.float16 if half else w.dtype)
    s = PackedSpikes(
        empty(w, (rows, 1, out_words), np.uint32),
        (rows, outputs),
        outputs,
        empty(w, (outputs, samples, time_words), np.uint32),
    )
    constants = recurrence(response, w.dtype, steps)
    block = _block(steps, samples, inputs, outputs, constants["cut"], w.dtype.itemsize)
    kernel("dense_neuron", w.dtype).launch(
        (out_words * -(-samples // block.group) if steps else 0,),
        (_WARPS[w.dtype.itemsize] * WORD,),
        block.shared,
        words=x.words,
        w=contiguous(w),
        u=empty(w, (0,), w.dtype) if half else u,
        half=u if half else empty(w, (0,), np.float16),
        fired=s.words,
        by_neuron=s.by_neuron,
        steps=steps,
        samples=samples,
        inputs=inputs,
        outputs=outputs,
        lines=x.lines,
        line_words=x.words.shape[2],
        line=x.line,
        group=block.group,
        copied=block.copied,
        again=block.again,
        keep=0 if keep is None else _KEEP_HALF if half else _KEEP_REAL,
        theta=surrogate(spiking, w.dtype)["theta"],
        **constants,
        **recurrence(spiking.refractory, w.dtype, steps, "ref_"),
    )
    return u, s


def dense_neuron_adjoint(
    g: Array | Product, u: Array, steps: int, response: Alpha, spiking: Spiking, exact: bool
) -> Array:
    """Return the gradient (rows, outputs) of the weighted input of a dense layer.

    Args:
        g: the gradient of the spikes (rows, outputs), or the product that it is.
        u: the potentials, (steps, samples x outputs), also as float16.
        steps: time steps.
        response: the spike response of the neurons.
        spiking: their threshold, refractory response and surrogate.
        exact: whether the gradient goes through the refractory response.
    """
    if isinstance(g, Product) and not 0 < g.errors.shape[1] <= _WIDEST_PRODUCT:
        g = g.materialize()
    (rows, outputs), dtype = g.shape, g.dtype
    columns, half = rows // max(steps, 1) * outputs, u.dtype == np.float16
    given, weight = (g.errors, g.weight) if isinstance(g, Product) else (g, empty(g, (outputs, 0), dtype))
    next_outputs = weight.shape[1]
    constants = recurrence(response, dtype, steps), recurrence(spiking.refractory, dtype, steps, "ref_")
    cuts = [constants[0]["cut"]] + [constants[1]["ref_cut"]] * exact
    length = max([1, *(cut for cut in cuts if cut < steps)])
    step = WORD * dtype.itemsize
    always = ((4 if exact else 2) * WORD + next_outputs) * step
    if always + length * step > most_shared():
        length = 0
    errors = empty(given, (rows, outputs), dtype)
    kernel("dense_neuron_adjoint", dtype).launch(
        (-(-columns // WORD) if steps else 0,),
        (_ADJOINT_THREADS,),
        always + length * step,
        g=contiguous(given),
        next_weight=contiguous(weight),
        u=empty(given, (0,), dtype) if half else u,
        half=u if half else empty(given, (0,), np.float16),
        past=empty(given, (0 if length else rows, outputs), dtype),
        errors=errors,
        steps=steps,
        columns=columns,
        outputs=outputs,
        next=next_outputs,
        exact=exact,
        from_half=half,
        length=length,
        **surrogate(spiking, dtype),
        **constants[0],
        **constants[1],
    )
    return errors
