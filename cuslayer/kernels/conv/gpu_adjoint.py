"""Launchers of `conv_adjoint.cu`: gradients of a convolution."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv.tap_sums import add_parts, blocks, count_parts, sums_of
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import geometry
from cuslayer.kernels.cuda.images import image as image_sizes
from cuslayer.kernels.cuda.launch import contiguous, empty, zeros
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes

__all__ = ["conv_input_adjoint", "conv_weight_adjoint"]

# Taps that a thread sums at most: more are computed by several blocks.
_SLICE = 128
# Frames of a partial sum.
_CHUNK = 64
# THREADS, DEPTH and, by the bytes of a number, PIXELS of conv_adjoint.cu.
_THREADS, _DEPTH, _PIXELS = 128, 8, {4: 8, 8: 4}
# Channels of a thread, and threads side by side over the channels of a group at most.
_WIDE, _NARROW, _MOST_SIDE = 8, 2, 8


def conv_weight_adjoint(x: PackedSpikes, errors: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight; only spikes cost additions.

    Args:
        x: (frames, H, W, C).
        errors: (frames, rows, columns, outputs), the gradient of the convolution's output.
        window: any.
        groups: the number of groups of channels.

    Raises:
        ValueError: the device has too little shared memory.
    """
    channels, dtype = x.shape[-1], errors.dtype
    rows, columns, outputs = errors.shape[-3:]
    shape = (*window.kernel, channels // groups, outputs)
    if errors.size == 0:
        return zeros(errors, shape, dtype)
    sums = sums_of(window, channels, outputs, groups, dtype.itemsize)
    bits, pieces = sums.bits, sums.pieces
    slice_pieces = -(-pieces // -(-bits // _SLICE))
    found = blocks(sums._replace(bits=min(bits, WORD * slice_pieces), pieces=slice_pieces))
    items = -(-rows * columns // found.tiles) * -(-x.frames // _CHUNK)
    parts = empty(errors, (count_parts(items, bits * outputs * dtype.itemsize), bits * outputs), dtype)
    kernel("conv_weight_adjoint", dtype).launch(
        (len(parts), found.across, -(-pieces // slice_pieces)),
        (found.threads,),
        found.shared,
        x=x.words,
        errors=contiguous(errors),
        parts=parts,
        frames=x.frames,
        chunk=_CHUNK,
        rows=rows,
        out_columns=columns,
        outputs=outputs,
        groups=groups,
        lanes=found.lanes,
        slice=slice_pieces,
        **without_columns(x),
        **geometry(window),
    )
    return add_parts(parts, shape)


def without_columns(x: PackedSpikes) -> dict[str, int]:
    """Return the size of the images by the names of the kernels' parameters; the kernels need no columns."""
    return {name: size for name, size in image_sizes(x).items() if name != "columns"}


def conv_input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), without patches.

    Args:
        g: (frames, rows, columns, outputs), the gradient of the convolution's output.
        w: (kh, kw, C / groups, outputs).
        image: rows and columns of the images.
        window: any.
        groups: the number of groups of channels.
    """
    frames, rows, columns, outputs = g.shape
    inputs, itemsize = w.shape[2], g.dtype.itemsize
    x = empty(g, (frames, *image, inputs * groups), g.dtype)
    wide = inputs > _NARROW
    channels = _WIDE if wide else _NARROW
    side = 1
    while wide and side < _MOST_SIDE and side * channels < inputs:
        side *= 2
    pixels = _THREADS // side * _PIXELS[itemsize]
    shared = itemsize * _DEPTH * (pixels + 4 + side * channels) + 8 * pixels
    kernel("conv_input_adjoint", g.dtype).launch(
        (-(-frames * image[0] * image[1] // pixels), groups * -(-inputs // (side * channels))),
        (_THREADS,),
        shared,
        errors=contiguous(g),
        w=contiguous(w),
        x=x,
        frames=frames,
        rows=rows,
        out_columns=columns,
        outputs=outputs,
        height=image[0],
        columns=image[1],
        channels=inputs * groups,
        groups=groups,
        side=side,
        wide=wide,
        **geometry(window),
    )
    return x
