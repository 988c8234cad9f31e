"""The works of crossover.py for convolutions: walking spikes, and products of patches and weights by BLAS.

The library walks spikes, or multiplies in registers with the same bits where frames are busy: `walk` is whichever it
chooses. The product is that of a convolution of numbers, with the time to make numbers of the spikes.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from crossover_dense import Ways, Work

from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Window
from cuslayer.kernels.spikes.cpu import find_spikes

FRAMES, SMALL_FRAMES = 400, 4
# Over 1: at no activity does the library multiply.
NEVER = 2.0


class Layer(NamedTuple):
    """A convolution of an image of some channels by square windows."""

    image: int
    channels: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


LAYERS = [
    Layer(34, 2, 16, 5),
    Layer(16, 16, 32, 3),
    Layer(8, 32, 64, 3),
    Layer(16, 16, 10, 3),
    Layer(16, 16, 32, 3, stride=2),
    Layer(16, 16, 32, 3, dilation=2),
    Layer(16, 16, 32, 3, groups=4),
]


def _ways(layer: Layer, forward: bool, frames: int, rate: float) -> Ways:
    generator, groups = np.random.default_rng(0), layer.groups
    window = Window.of("conv", layer.kernel, layer.stride, 1, layer.dilation)
    bits = generator.random((frames, layer.image, layer.image, layer.channels)) < rate
    shape = (layer.kernel, layer.kernel, layer.channels // groups, layer.outputs)
    w = generator.standard_normal(shape).astype(np.float32)
    if forward:
        return Ways(
            lambda: cpu.conv.forward(find_spikes(bits), w, window, groups),
            lambda: cpu.conv.forward(bits.astype(np.float32), w, window, groups),
            False,
        )
    listed = find_spikes(bits)
    _ = listed.index  # forward has built the list
    g = generator.standard_normal((frames, *window.outputs("conv", bits.shape[1:3], ceil=False), layer.outputs))
    errors = g.astype(np.float32)
    return Ways(
        lambda: cpu.conv.weight_adjoint(listed, errors, window, groups, frames),
        lambda: cpu.conv.weight_adjoint(bits.astype(np.float32), errors, window, groups),
        False,
    )


def works(small: bool) -> list[Work]:
    """Return the works of convolutions; `small` for tests."""
    found = []
    for layer in LAYERS[1:2] if small else LAYERS:
        name = f"{layer.image}x{layer.image}x{layer.channels}-{layer.outputs}c{layer.kernel}"
        name += "".join(
            f", {key} {getattr(layer, key)}" for key in ("stride", "dilation", "groups") if getattr(layer, key) > 1
        )
        for forward in (True, False):
            make = partial(_ways, layer, forward, SMALL_FRAMES if small else FRAMES)
            found.append(Work(f"{name}, {'forward' if forward else 'weight gradient'}", NEVER, make))
    return found
