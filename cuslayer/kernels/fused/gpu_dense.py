"""Launchers of `dense_neuron.cu`: a dense layer of packed spikes and its neurons in one pass, and its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, most_shared, recurrence, surrogate
from cuslayer.kernels.dense.gpu import output_tiles
from cuslayer.kernels.dense.product import Product
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of

__all__ = ["dense_neuron", "dense_neuron_adjoint"]

# Warps of a block of `dense_neuron` by the bytes of a number, THREADS of the source, and bytes of the list of each.
_WARPS = {4: 20, 8: 12}
_LIST_BYTES = 4 * (32 + 4 * 32)
# Walking warps of a block at most, and blocks that occupy a GPU: fewer samples a block where blocks would be fewer.
_WALKERS = 4
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

    together: int
    again: bool
    shared: int


def _block(steps: int, samples: int, outputs: int, cut: int, itemsize: int) -> _Block:
    """Return the samples of a block, and whether it gathers again what leaves a response after `cut` steps.

    It does if the inputs of so many steps do not fit in shared memory, beside two chunks of them.
    """
    groups = 1 if outputs <= WORD else _WALKERS
    row = WORD * itemsize
    kept = cut if cut < steps else 0

    def shared(together: int, rows: int) -> int:
        walkers = together * groups
        return (_WARPS[itemsize] - walkers) * _LIST_BYTES + walkers * rows * row

    most = most_shared()
    again = shared(1, 2 * WORD + kept) > most
    rows = 4 * WORD if again else 2 * WORD + kept
    together = _WALKERS // groups
    while together > 1 and (-(-samples // together) < _BLOCKS or shared(together, rows) > most):
        together //= 2
    return _Block(together, again, shared(together, rows))


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
    rows, outputs = x.frames, w.shape[1]
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
    block = _block(steps, samples, outputs, constants["cut"], w.dtype.itemsize)
    kernel("dense_neuron", w.dtype).launch(
        (output_tiles(outputs) * -(-samples // block.together) if steps else 0,),
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
        outputs=outputs,
        lines=x.lines,
        line_words=x.words.shape[2],
        line=x.line,
        together=block.together,
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
