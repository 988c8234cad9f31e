"""Convolution on the CPU: spike by spike for a list of spikes; for numbers, products of lines of images.

A product of few columns is slow, as are loops over few channels. A convolution of 16 groups of one channel would
take many times as long as one of 16 channels. As one group they have a weight that is 0 between them.
"""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.synapse.conv import lines, weight_sums
from cuslayer.kernels.synapse.conv import spikes as conv_spikes
from cuslayer.kernels.synapse.conv.spikes import FULL
from cuslayer.kernels.synapse.conv.winograd import input_adjoint

__all__ = ["forward", "input_adjoint", "weight_adjoint"]


def merged(inputs: int, outputs: int, groups: int) -> int:
    """Return how many groups to compute as one, a divisor of `groups`, for the channels and outputs of a group."""
    enough = (n for n in range(1, groups) if groups % n == 0 and n * min(inputs, outputs) >= FULL)
    return next(enough, groups)


def merge(w: Array, groups: int, count: int) -> Array:
    """Return the weight (kh, kw, count C / groups, outputs) of groups / count groups, 0 between the old groups."""
    kernel = w.shape[:2]
    inputs = w.shape[2]
    outputs = w.shape[3] // groups
    parts = w.reshape(*kernel, inputs, groups // count, count, outputs)
    merged_weight = np.zeros((*kernel, count, inputs, groups // count, count, outputs), w.dtype)
    for member in range(count):
        merged_weight[:, :, member, :, :, member] = parts[:, :, :, :, member]
    return merged_weight.reshape(*kernel, count * inputs, groups * outputs)


def split(w: Array, groups: int, count: int) -> Array:
    """Return the gradient of a weight from the gradient of the weight of `merge`, without the parts between groups."""
    kernel = w.shape[:2]
    inputs = w.shape[2] // count
    outputs = w.shape[3] // groups
    merged_weight = w.reshape(*kernel, count, inputs, groups // count, count, outputs)
    parts = [merged_weight[:, :, member, :, :, member] for member in range(count)]
    return np.stack(parts, axis=4).reshape(*kernel, inputs, groups * outputs)


def forward(x: SpikeList | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    if not isinstance(x, SpikeList):
        together = merged(w.shape[2], w.shape[3] // groups, groups)
        return lines.convolve(x, merge(w, groups, together), window, groups // together)
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
    return split(lines.weight_gradient(x, g, window, groups // together), groups, together)
