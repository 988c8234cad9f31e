"""The dense layer on a GPU: launchers of `dense.cu` for packed spikes, matrix products for numbers."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty
from cuslayer.kernels.spikes.gpu import transpose
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes
from cuslayer.kernels.synapse import matrix
from cuslayer.kernels.synapse.dense.matmul import matmul

__all__ = ["forward", "input_adjoint", "weight_adjoint"]

# Warps of a block of `dense` and of `dense_weight_adjoint`: WARPS and PARTS.
_WARPS = 8
# Outputs of a block of both, if there are more than 32.
_OUTPUTS = 128
# Blocks of `dense` at most: several for each multiprocessor.
_BLOCKS = 2048


def output_tiles(outputs: int) -> int:
    """Return the number of blocks for the outputs of a layer."""
    return -(-outputs // (WORD if outputs <= WORD else _OUTPUTS))


def forward(x: PackedSpikes | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): for spikes, the sum of their rows of w."""
    if not isinstance(x, PackedSpikes):
        return matrix.dense(x, w)
    rows = x.frames
    outputs = w.shape[1]
    out = empty(w, (rows, outputs), w.dtype)
    tiles = output_tiles(outputs)
    kernel("dense", w.dtype).launch(
        (tiles * min(-(-rows // _WARPS), max(1, _BLOCKS // max(1, tiles))),),
        (_WARPS * WORD,),
        words=x.words,
        w=contiguous(w),
        out=out,
        line=x.line,
    )
    return out


def weight_adjoint(x: PackedSpikes | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): for spikes, the sum of their rows of g."""
    if not isinstance(x, PackedSpikes):
        return matrix.dense_weight_adjoint(x, g)
    # Any samples and steps with this number of frames will do: without by_neuron, a single sample.
    by_neuron = transpose(x, x.frames) if x.by_neuron is None else x.by_neuron
    inputs, samples, _ = by_neuron.shape
    outputs = g.shape[1]
    g_w = empty(g, (inputs, outputs), g.dtype)
    kernel("dense_weight_adjoint", g.dtype).launch(
        (inputs * output_tiles(outputs),),
        (_WARPS * WORD,),
        by_neuron=by_neuron,
        errors=contiguous(g),
        g_w=g_w,
        steps=len(g) // max(1, samples),
    )
    return g_w


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w, b_transposed=True)
