"""Convolution on the CPU: spike by spike for a list of spikes, matrix products for numbers."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv import patches, pixels, planes, weight_sums, winograd
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.conv.groups import FULL, merge, merged, split
from cuslayer.kernels.conv.weight_sums import bounds
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList


def forward(x: SpikeList | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    if not isinstance(x, SpikeList):
        together = merged(w.shape[2], w.shape[3] // groups, groups)
        return patches.conv(x, merge(w, groups, together), window, groups // together)
    rows, columns = window.outputs(x.shape[1:3], ceil=False)
    maps = empty((x.shape[0], rows, columns, w.shape[3]), w.dtype)
    conv_spikes.conv(x, w, window, groups, maps)
    return maps


def weight_adjoint(x: SpikeList | Array, g: Array, window: Window, groups: int, steps: int = 1) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g like the output.

    Frames are ordered by step, then sample. The number of steps determines the order of the sum.
    """
    if isinstance(x, SpikeList):
        return weight_sums.weight_adjoint(x, g, window, groups, steps)
    together = merged(x.shape[3] // groups, g.shape[3] // groups, groups)
    return split(patches.weight_adjoint(x, g, window, groups // together, bounds(len(x))), groups, together)


def input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g of the shape of the output."""
    # A product of tiles has the channels of a group side by side: few do not fill a vector.
    cut = winograd.tiling(w, image, window, groups) if groups == 1 or w.shape[2] >= FULL else None
    if cut:
        return winograd.conv_input_adjoint(g, w, image, groups, cut)
    if pixels.pays(w, window, groups):
        return pixels.input_adjoint(g, w, image, window)
    return planes.input_adjoint(g, w, image, window, groups)
