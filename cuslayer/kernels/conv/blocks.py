"""Convolution of spikes in blocks of a few rows of a map, each at all time steps.

A block fits the cache. The weight gradient is summed block by block whether the neurons are computed in the same pass
(`kernels/fused/`) or not, so that both give the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.conv.spikes import PARTS, bounds, of_runs, places, walk_row
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.window import Window

# Neurons of a block, which the second cache holds, and steps that are computed at once.
_TOGETHER = 1024
CHUNK = 32


class Where(NamedTuple):
    """The spikes of all frames, and the window that they are convolved with.

    Attributes:
        start: where the spikes of each line of the frames begin.
        entry: the place of each spike within its line.
        place: column and channel of each place.
        height: lines of a frame.
        window: the window.
    """

    start: Array
    entry: Array
    place: Array
    height: int
    window: Window


class Maps(NamedTuple):
    """The maps of all steps as blocks: ``together`` rows of one sample's map, ``width`` numbers in each."""

    steps: int
    samples: int
    rows: int
    columns: int
    outputs: int
    together: int

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.columns * self.outputs

    @property
    def blocks(self) -> int:
        """Blocks of all samples."""
        return self.samples * -(-self.rows // self.together)

    @property
    def kept(self) -> tuple[int, int, int]:
        """The shape in which potentials are kept, block by block."""
        return self.blocks, self.steps, self.together * self.width

    @property
    def neurons(self) -> int:
        """Numbers in a step."""
        return self.samples * self.rows * self.width


def where(x: SpikeList, window: Window) -> Where:
    """Return what a kernel reads of the spikes x (frames, H, W, C)."""
    return Where(x.start, x.index, places(x), x.shape[1], window)


def maps(x: SpikeList, steps: int, outputs: int, window: Window) -> Maps:
    """Return the blocks of a convolution of x, an even number of rows each."""
    height, columns = window.outputs("conv", x.shape[1:3], ceil=False)
    samples = x.shape[0] // max(steps, 1)
    return Maps(steps, samples, height, columns, outputs, _rows(2, columns * outputs))


def pooled_maps(m: Maps, rows: int) -> Maps:
    """Return the same maps in blocks that hold whole pooling windows of some rows."""
    return m if m.together % rows == 0 else m._replace(together=_rows(rows, m.width))


def _rows(multiple: int, width: int) -> int:
    return max(1, _TOGETHER // max(1, width * multiple)) * multiple


@compiled
def weigh(first: int, last: int, x: Any, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any) -> None:
    """Write the weighted input of the rows [low, high) of a sample's maps into x, a ring over time."""
    width = m.columns * m.outputs
    for t in range(first, last):
        for y in range(low, high):
            line = x[t % len(x), (y - low) * width : (y - low + 1) * width]
            line[:] = 0
            frame = t * m.samples + sample
            walk_row(line, y, frame, spikes.start, spikes.entry, spikes.place, spikes.height, spikes.window, taps, True)


@compiled
def weigh_adjoint(
    first: int, last: int, errors: Any, at: int, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any
) -> None:
    """Add the gradients of that input, columns of errors from `at` on, to those of the taps."""
    width = m.columns * m.outputs
    for t in range(first, last):
        for y in range(low, high):
            line = errors[t % len(errors), at + (y - low) * width : at + (y - low + 1) * width]
            frame = t * m.samples + sample
            walk_row(
                line, y, frame, spikes.start, spikes.entry, spikes.place, spikes.height, spikes.window, taps, False
            )


@compiled
def _weight_adjoint(first: int, last: int, parts_at: Any, m: Maps, spikes: Where, taps: Any, g: Any) -> None:
    width = m.columns * m.outputs
    blocks = -(-m.rows // m.together)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low = block // blocks, block % blocks * m.together
            high = min(low + m.together, m.rows)
            for end in range(m.steps, 0, -CHUNK):
                start = max(end - CHUNK, 0)
                weigh_adjoint(start, end, g, (sample * m.rows + low) * width, sample, low, high, m, spikes, taps[part])


def weight_adjoint(x: SpikeList, g: Array, window: Window, steps: int) -> Array:
    """Return the gradient (kh, kw, C, outputs) of the weight, summed as a fused pass sums it.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step lying together.
        g: (frames, rows, columns, outputs).
        window: stride and dilation 1.
        steps: how many steps the frames make.
    """
    m = maps(x, steps, g.shape[3], window)
    parts = np.zeros((PARTS, window.kernel[0], x.shape[3], window.kernel[1] * m.outputs), g.dtype)
    errors = g.reshape(steps, m.neurons)
    parallel_for(_weight_adjoint, PARTS, bounds(m.blocks), m, where(x, window), parts, errors, grain=1)
    return of_runs(parts.sum(axis=0), window, m.outputs)
