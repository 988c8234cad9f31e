"""Convolution on a GPU: `conv.cu` and `conv_adjoint.cu`; matrix products of patches for numbers."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels import matrix
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv.gpu_adjoint import conv_input_adjoint as input_adjoint
from cuslayer.kernels.conv.gpu_adjoint import conv_weight_adjoint
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import blocks, geometry, image
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of

__all__ = ["forward", "input_adjoint", "weight_adjoint"]

# RUN of conv.cu: the frames of a warp.
_RUN = 32


def forward(x: PackedSpikes | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    if not isinstance(x, PackedSpikes):
        return matrix.conv(x, w, window, groups)
    rows, columns = window.outputs(x.shape[-3:-1], ceil=False)
    outputs = w.shape[3]
    y = empty(w, (x.frames, rows, columns, outputs), w.dtype)
    found = blocks(w.nbytes, [TILE * WORD * w.dtype.itemsize])
    warps = -(-x.frames // _RUN) * rows * words_of(columns * outputs)
    kernel("conv", w.dtype).launch(
        (-(-warps // found.groups),),
        (WORD, found.groups),
        found.shared,
        x=x.words,
        w=contiguous(w),
        y=y,
        frames=x.frames,
        rows=rows,
        out_columns=columns,
        outputs=outputs,
        groups=groups,
        in_shared=found.weights,
        **image(x),
        **geometry(window),
    )
    return y


def weight_adjoint(x: PackedSpikes | Array, g: Array, window: Window, groups: int, steps: int = 1) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, whatever the steps; of numbers by a product."""
    if isinstance(x, PackedSpikes):
        return conv_weight_adjoint(x, g, window, groups)
    return matrix.conv_weight_adjoint(x, g, window, groups)
