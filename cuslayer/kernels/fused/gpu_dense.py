"""Launchers of `dense_neuron.cu` and `dense_neuron_adjoint.cu`: a dense layer and its neurons in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import WIDEST_ON_GPU, Product, narrow
from cuslayer.kernels.cuda.images import new_potentials, stored_potential
from cuslayer.kernels.cuda.launch import contiguous, empty, most_shared
from cuslayer.kernels.fused.neurons import terms
from cuslayer.kernels.scan.gpu import adjoint_constants, forward_constants, kernel_for, later_lags, past_lags
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of
from cuslayer.kernels.step.derive import StepSpiking

__all__ = ["dense_neuron", "dense_neuron_adjoint"]

# Warps of a block of `dense_neuron` by the bytes of a number, THREADS of the source, and bytes of the list of each.
_WARPS = {4: 16, 8: 12}
_LIST_BYTES = 4 * (32 + 4 * 32)
# Most warps of a block that run neurons, and blocks that occupy a GPU: with fewer, a block has fewer samples.
_WALKERS = 4
_BLOCKS = 128
# Threads of a block of `dense_neuron_adjoint`: a warp runs over time, eight compute terms.
_ADJOINT_THREADS = 288


class _Block(NamedTuple):
    """The work of a block of `dense_neuron`, and bytes of its shared memory."""

    groups: int
    together: int
    again: bool
    shared: int


def _block(steps: int, samples: int, outputs: int, cut: int, itemsize: int) -> _Block:
    """Return the groups of 32 outputs and the samples of a block, and whether it gathers inputs that leave again."""
    kept, most = cut if cut < steps else 0, most_shared()

    def block(groups: int, together: int, again: bool) -> _Block:
        walkers, rows = groups * together, 4 * WORD if again else 2 * WORD + kept
        lists = (_WARPS[itemsize] - walkers) * _LIST_BYTES
        return _Block(groups, together, again, lists + walkers * rows * WORD * itemsize)

    widths = [1] if outputs <= WORD else [_WALKERS, 1]
    choices = [block(groups, 1, again) for groups in widths for again in (False, True)]
    best = next((choice for choice in choices if choice.shared <= most), choices[-1])
    while best.groups * best.together < _WALKERS and samples >= 2 * best.together * _BLOCKS:
        if (larger := block(best.groups, 2 * best.together, best.again)).shared > most:
            break
        best = larger
    return best


def dense_neuron(
    x: PackedSpikes,
    steps: int,
    w: Array,
    constants: Array,
    spiking: StepSpiking,
    keep: DType,
    shift: Array | None = None,
) -> tuple[Array, PackedSpikes]:
    """Return the potentials (steps, samples x outputs), none if `keep` is None, and the spikes with `by_neuron`."""
    rows, outputs = x.frames, w.shape[1]
    samples, out_words, time_words = rows // max(steps, 1), words_of(outputs), words_of(steps)
    kept = new_potentials(w, w.dtype, steps, samples * outputs, keep)
    s = PackedSpikes(
        empty(w, (rows, 1, out_words), np.uint32),
        (rows, outputs),
        outputs,
        empty(w, (outputs, samples, time_words), np.uint32),
    )
    reach = min(past_lags(spiking, steps)[0], default=steps)
    block = _block(steps, samples, outputs, reach, w.dtype.itemsize)
    kernel_for("dense_neuron", w.dtype, spiking).launch(
        (-(-out_words // block.groups) * -(-samples // block.together) if steps else 0,),
        (_WARPS[w.dtype.itemsize] * WORD,),
        block.shared,
        words=x.words,
        w=contiguous(w),
        shift=empty(w, (0,), w.dtype) if shift is None else contiguous(shift),
        shifts=shift is not None,
        u=kept.real,
        half=kept.half,
        fired=s.words,
        by_neuron=s.by_neuron,
        steps=steps,
        samples=samples,
        outputs=outputs,
        lines=x.lines,
        line_words=x.words.shape[2],
        line=x.line,
        groups=block.groups,
        together=block.together,
        again=block.again,
        keep=kept.keep,
        **forward_constants(constants, spiking, w.dtype, steps),
    )
    return kept.u, s


def dense_neuron_adjoint(g: Array | Product, u: Array, steps: int, constants: Array, spiking: StepSpiking) -> Array:
    """Return the gradient (rows, outputs) of the weighted input of a dense layer."""
    g = narrow(g, WIDEST_ON_GPU)
    (rows, outputs), dtype = g.shape, g.dtype
    columns = rows // max(steps, 1) * outputs
    given, weight = (g.errors, g.weight) if isinstance(g, Product) else (g, empty(g, (outputs, 0), dtype))
    next_outputs = weight.shape[1]
    step = WORD * dtype.itemsize
    always = (2 * terms(spiking) * WORD + next_outputs) * step
    lags = later_lags(spiking, steps)
    length = max([1, *(lag for lag in lags if lag < steps)]) if lags else 0
    if always + length * step > most_shared():
        length = 0
    errors = empty(given, (rows, outputs), dtype)
    kernel_for("dense_neuron_adjoint", dtype, spiking).launch(
        (-(-columns // WORD) if steps else 0,),
        (_ADJOINT_THREADS,),
        always + length * step,
        g=contiguous(given),
        next_weight=contiguous(weight),
        **stored_potential(u, dtype),
        past=empty(given, (rows if lags and not length else 0, outputs), dtype),
        errors=errors,
        steps=steps,
        columns=columns,
        outputs=outputs,
        next=next_outputs,
        exact=spiking.exact,
        length=length,
        **adjoint_constants(constants, spiking, dtype, steps),
    )
    return errors
