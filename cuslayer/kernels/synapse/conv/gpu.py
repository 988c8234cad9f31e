"""Convolution on a GPU: `conv.cu` and `conv_adjoint.cu`; matrix products of patches for numbers."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import blocks, places
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty, zeros
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of
from cuslayer.kernels.synapse import matrix
from cuslayer.kernels.synapse.conv.tap_sums import Parts, add_parts, count_parts, sums_of
from cuslayer.kernels.synapse.conv.tap_sums import blocks as blocks_of_sums

__all__ = ["forward", "input_adjoint", "weight_adjoint"]

# RUN of conv.cu: the frames of a warp.
_RUN = 32
# Taps that a thread sums at most: several blocks compute more.
_SLICE = 128
# Frames of a partial sum.
_CHUNK = 64
# THREADS, DEPTH and, by the bytes of a number, PIXELS of conv_adjoint.cu.
_THREADS = 128
_DEPTH = 8
_PIXELS = {4: 8, 8: 4}
# Channels of a thread, and threads over the channels of a group at most.
_WIDE = 8
_NARROW = 2
_MOST_SIDE = 8


def forward(x: PackedSpikes | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    if not isinstance(x, PackedSpikes):
        return matrix.conv(x, w, window, groups)
    rows, columns = window.outputs(x.shape[-3:-1], ceil=False)
    outputs = w.shape[3]
    y = empty(w, (x.frames, rows, columns, outputs), w.dtype)
    layout = blocks(w.nbytes, [TILE * WORD * w.dtype.itemsize])
    warps = -(-x.frames // _RUN) * rows * words_of(columns * outputs)
    kernel("conv", w.dtype).launch(
        (-(-warps // layout.groups),),
        (WORD, layout.groups),
        layout.shared,
        x=x.words,
        w=contiguous(w),
        y=y,
        groups=groups,
        in_shared=layout.weights,
        **places(x, y, window),
    )
    return y


def weight_adjoint(x: PackedSpikes | Array, g: Array, window: Window, groups: int, steps: int = 1) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, the same for any `steps`."""
    if not isinstance(x, PackedSpikes):
        return matrix.conv_weight_adjoint(x, g, window, groups)
    channels = x.shape[-1]
    dtype = g.dtype
    rows, columns, outputs = g.shape[-3:]
    shape = (*window.kernel, channels // groups, outputs)
    if g.size == 0:
        return zeros(g, shape, dtype)
    sums = sums_of(window, channels, outputs, groups, dtype.itemsize)
    bits = sums.bits
    pieces = sums.pieces
    slice_pieces = -(-pieces // -(-bits // _SLICE))
    layout = blocks_of_sums(sums._replace(bits=min(bits, WORD * slice_pieces), pieces=slice_pieces))
    items = -(-rows * columns // layout.tiles) * -(-x.frames // _CHUNK)
    parts = empty(g, (count_parts(items, bits * outputs * dtype.itemsize), bits * outputs), dtype)
    kernel("conv_weight_adjoint", dtype).launch(
        (len(parts), layout.across, -(-pieces // slice_pieces)),
        (layout.threads,),
        layout.shared,
        x=x.words,
        errors=contiguous(g),
        parts=parts,
        chunk=_CHUNK,
        **places(x, g, window),
        groups=groups,
        lanes=layout.lanes,
        slice=slice_pieces,
    )
    return add_parts(parts, shape)


def input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g of the shape of the output."""
    return adjoints(g, w, image, window, groups)[0]


def adjoints(
    g: Array, w: Array, image: tuple[int, int], window: Window, groups: int, of_weight: Parts | Array | None = None
) -> tuple[Array, Array | None]:
    """Return the gradients of an image, (frames, H, W, C), and of the weight, whose parts the same launch adds."""
    frames = len(g)
    inputs = w.shape[2]
    itemsize = g.dtype.itemsize
    x = empty(g, (frames, *image, inputs * groups), g.dtype)
    wide = inputs > _NARROW
    channels = _WIDE if wide else _NARROW
    side = 1
    while wide and side < _MOST_SIDE and side * channels < inputs:
        side *= 2
    pixels = _THREADS // side * _PIXELS[itemsize]
    shared = itemsize * _DEPTH * (pixels + 4 + side * channels) + 8 * pixels
    adders = 0
    added: dict[str, Array] = {}
    if isinstance(of_weight, Parts):
        adders = of_weight.blocks
        of_weight, added = of_weight.arguments()
    kernel("conv_input_adjoint", g.dtype).launch(
        (adders + -(-frames * image[0] * image[1] // pixels), groups * -(-inputs // (side * channels))),
        (_THREADS,),
        shared,
        errors=contiguous(g),
        w=contiguous(w),
        x=x,
        **places(x, g, window),
        groups=groups,
        side=side,
        wide=wide,
        adders=adders,
        **added,
    )
    return x, of_weight
