"""The dense layer on a GPU: launchers of `dense.cu` for packed spikes, matrix products for numbers."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels import matrix
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, most_shared
from cuslayer.kernels.dense.product import Product
from cuslayer.kernels.spikes.gpu import transpose
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes
from cuslayer.operations.base import DeferredGradient

__all__ = ["deferred_input_adjoint", "forward", "input_adjoint", "weight_adjoint"]

# Warps of a block of `dense`, and bytes of shared memory for the list of each: LIST of spike_list.cuh.
_WARPS = 16
_LIST_BYTES = 4 * 64
# Blocks of `dense`: a few for each multiprocessor. Frames of a warp that pay for a copy of the weights.
_BLOCKS = 512
_FRAMES_FOR_COPY = 4
# Threads of a block of `dense_weight_adjoint`, PARTS warps, and the outputs of a block.
_ADJOINT_THREADS = 256
_ADJOINT_OUTPUTS = 128
# Threads of a block of `dense_input_adjoint`, and rows and columns of its tile, SIDE.
_TILE_THREADS = 256
_TILE = 64


def forward(x: PackedSpikes | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): for spikes, the sum of their rows of w."""
    if not isinstance(x, PackedSpikes):
        return matrix.dense(x, w)
    rows, (inputs, outputs) = x.frames, w.shape
    out = empty(w, (rows, outputs), w.dtype)
    tiles = -(-outputs // WORD)
    groups = max(1, min(-(-rows // _WARPS), _BLOCKS // max(tiles, 1)))
    lists, copy = _WARPS * _LIST_BYTES, inputs * WORD * w.dtype.itemsize
    copied = rows >= groups * _WARPS * _FRAMES_FOR_COPY and lists + copy <= most_shared()
    kernel("dense", w.dtype).launch(
        (tiles * groups if rows else 0,),
        (_WARPS * WORD,),
        lists + copy if copied else lists,
        words=x.words,
        w=contiguous(w),
        out=out,
        rows=rows,
        inputs=inputs,
        outputs=outputs,
        lines=x.lines,
        line_words=x.words.shape[2],
        line=x.line,
        copied=copied,
    )
    return out


def weight_adjoint(x: PackedSpikes | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): for spikes, the sum of their rows of g."""
    if not isinstance(x, PackedSpikes):
        return matrix.dense_weight_adjoint(x, g)
    # Any samples and steps do that number the frames: without by_neuron, a single sample.
    by_neuron = transpose(x, x.frames) if x.by_neuron is None else x.by_neuron
    inputs, samples, time_words = by_neuron.shape
    outputs = g.shape[1]
    g_w = empty(g, (inputs, outputs), g.dtype)
    width = WORD if outputs <= WORD else _ADJOINT_OUTPUTS
    kernel("dense_weight_adjoint", g.dtype).launch(
        (inputs * -(-outputs // width),),
        (_ADJOINT_THREADS,),
        by_neuron=by_neuron,
        errors=contiguous(g),
        g_w=g_w,
        inputs=inputs,
        samples=samples,
        time_words=time_words,
        outputs=outputs,
    )
    return g_w


def deferred_input_adjoint(g: Array, w: Array, shape: tuple[int, ...]) -> DeferredGradient:
    """Return g w' in a shape, computed where it is used."""
    return DeferredGradient(Product(g, w), shape)


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    rows, (inputs, outputs) = len(g), w.shape
    g_x = empty(g, (rows, inputs), g.dtype)
    kernel("dense_input_adjoint", g.dtype).launch(
        (-(-rows // _TILE) * -(-inputs // _TILE),),
        (_TILE_THREADS,),
        errors=contiguous(g),
        w=contiguous(w),
        g_x=g_x,
        rows=rows,
        inputs=inputs,
        outputs=outputs,
    )
    return g_x
