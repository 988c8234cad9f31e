"""Passes of layers with their neurons on the CPU, and which layers have one; the loop is in `loop.py`.

The weighted input is not written to memory, and without gradients memory does not grow with time. Backward through a
dense layer also computes the gradient from a narrow next layer chunk by chunk; a separate pass computes the gradient of
the weights faster. Backward through a convolution sums the gradient of the weights while the errors are in the cache.
Before pooling, backward may compute the potentials again from `Checkpoints`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cuslayer import kernels
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import Pooling, Product, Window, narrow
from cuslayer.kernels.fused.loop import Blocks, Checkpoints, Pooled, Stage, checkpoints, no_checkpoints, stage_of
from cuslayer.kernels.fused.loop import backward as run_backward
from cuslayer.kernels.fused.loop import forward as run_forward
from cuslayer.kernels.fused.pooled import Tiles
from cuslayer.kernels.fused.sources import (
    ConvSpikes,
    ConvWeights,
    DenseSpikes,
    Errors,
    NormalizedNumbers,
    ProductErrors,
)
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import repeated
from cuslayer.kernels.norm.scaling import Applied, Scale, applied, shifted
from cuslayer.kernels.scan.blocks import Block, backward_of, forward_of
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.synapse.conv import spikes as conv_spikes
from cuslayer.kernels.synapse.conv import weight_sums
from cuslayer.kernels.synapse.conv.cpu import input_adjoint
from cuslayer.kernels.synapse.conv.spikes import CHUNK, Maps
from cuslayer.kernels.synapse.conv.weight_sums import PARTS
from cuslayer.kernels.synapse.dense.cpu import forward, prefers_tables

# Neurons of a block: enough for SIMD, few enough for the second-level cache and, in a small layer, for the threads.
_LEAST = 128
_MOST = 512
_PARTS = 8
# The widest next layer whose product is computed chunk by chunk: its weight stays in the second-level cache.
_WIDEST = 256
# The share of bins with a spike from which potentials are saved.
_BUSY = 0.05


def conv_kernels(x: SpikeList | Array, window: Window, groups: int, spiking: StepSpiking) -> ConvPass | None:
    """Return the passes of a convolution and its neurons; None for numbers."""
    return ConvPass(groups) if isinstance(x, SpikeList) else None


def conv_pool_kernels(
    x: SpikeList | Array, window: Window, groups: int, pooling: Pooling, spiking: StepSpiking
) -> ConvPass | None:
    """Return the passes of a convolution, its neurons, pooling and its neurons; None if windows do not tile."""
    return conv_kernels(x, window, groups, spiking) if pooling.window.tiles else None


def dense_kernels(x: SpikeList | Array, spiking: StepSpiking) -> ModuleType | None:
    """Return this module, which runs a dense layer of spikes and its neurons; None for numbers."""
    return sys.modules[__name__] if isinstance(x, SpikeList) else None


def pool_kernels(x: Array, spiking: StepSpiking) -> None:
    """Return None: pooling and its neurons are two passes."""


def norm_kernels(x: Array) -> ModuleType:
    """Return this module, which runs batch normalization and its neurons."""
    return sys.modules[__name__]


def saved_type(x: SpikeList) -> type[Checkpoints] | None:
    """Return the type that a pass of spikes saves instead of potentials, None if it saves potentials."""
    return Checkpoints if x.activity < _BUSY else None


def dense_blocks(samples: int, outputs: int, least: int = _LEAST, most: int = _MOST, parts: int = _PARTS) -> Blocks:
    """Return the blocks of the neurons of all samples. A block of several samples has all their neurons."""
    width = max(1, min(outputs, most, max(least, -(-samples * outputs // parts))))
    if width < outputs:
        return Blocks(samples, outputs, width)
    return Blocks(1, samples * outputs, outputs * max(1, min(most // width, samples)))


def dense_neuron(
    x: SpikeList,
    steps: int,
    w: Array,
    constants: Array,
    spiking: StepSpiking,
    keep: DType | None = None,
    shift: Array | None = None,
) -> tuple[Array, Array]:
    """Return the potentials and the spikes (rows, outputs) of a dense layer, x (rows, inputs), w (inputs, outputs).

    The rows are all samples of a step, one after the other, step by step. Without `keep` there are no potentials. Where
    tables are faster, the layer and the neurons are two passes. `constants` differ between neurons; see `blocks.py`.
    `shift` is applied to the weighted input, see `norm.scaling.shifted`.
    """
    w = np.ascontiguousarray(w)
    outputs = w.shape[1]
    shape = (x.shape[0], outputs)
    samples = shape[0] // max(steps, 1)
    flat = (steps, samples * outputs)
    if prefers_tables(x, w):
        weighted = shifted(forward(x, w), shift)
        u, s = spiking.fire(kernels.cpu, weighted.reshape(flat), constants)
        return w[:0] if keep is None else u.reshape(shape), s.reshape(shape)
    u = empty((0, 0) if keep is None else flat, w.dtype)
    s = empty(flat, bool)
    b = dense_blocks(samples, outputs)
    neurons = forward_of(w.dtype, steps, constants, spiking)
    stage = stage_of(b, neurons, u, shift=shift)
    parallel_for(
        run_forward,
        b.number,
        steps,
        0,
        CHUNK,
        stage,
        None,
        None,
        s.view(np.uint8),
        DenseSpikes(x.start, x.index, w.reshape(-1), samples, outputs),
        grain=1,
    )
    return w[:0] if keep is None else u.reshape(shape), s.reshape(shape)


def dense_neuron_adjoint(g: Array | Product, u: Array, steps: int, constants: Array, spiking: StepSpiking) -> Array:
    """Return the gradient (rows, outputs) of the weighted input of a dense layer; u is overwritten.

    Args:
        g: the gradient of the spikes (rows, outputs), or a `Product`.
        u: the potentials (rows, outputs).
        steps: time steps.
        constants: the constants that differ between the neurons.
        spiking: their other constants.
    """
    g = narrow(g, _WIDEST)
    outputs = u.shape[1]
    samples = u.shape[0] // max(steps, 1)
    flat = u.reshape(steps, samples * outputs)
    if not isinstance(g, Product) or g.dtype != u.dtype:
        errors = g.materialize() if isinstance(g, Product) else g
        errors = errors.astype(u.dtype, copy=False).reshape(flat.shape)
        return spiking.fire_adjoint(kernels.cpu, errors, flat, constants).reshape(u.shape)
    b = dense_blocks(samples, outputs)
    neurons = backward_of(u.dtype, steps, constants, spiking)
    stage = stage_of(b, neurons, flat)
    weight = np.ascontiguousarray(g.weight.T)
    parallel_for(
        run_backward,
        b.number,
        np.arange(b.number + 1),
        steps,
        0,
        CHUNK,
        stage,
        None,
        None,
        flat,
        ProductErrors(np.ascontiguousarray(g.errors).reshape(-1), weight.reshape(-1), len(weight), samples, outputs),
        None,
        None,
        grain=1,
    )
    return u


def norm_neuron(
    x: Array, scale: Scale, constants: Array, spiking: StepSpiking, keep: DType | None
) -> tuple[tuple[Array, Array], Applied]:
    """Return the potentials and the spikes of neurons for x (T, ..., channels), normalized, and values for backward.

    Without `keep` there are no potentials.
    """
    steps = len(x)
    columns = math.prod(x.shape[1:])
    pixels = max(1, _MOST // x.shape[-1])
    width = pixels * x.shape[-1]
    b = Blocks(1, columns, width)
    u = empty((0, 0) if keep is None else (steps, columns), x.dtype)
    s = empty((steps, columns), bool)
    neurons = forward_of(x.dtype, steps, constants, spiking)
    numbers = applied(scale)
    rows = repeated(np.stack(numbers[:3]), pixels)
    parallel_for(
        run_forward,
        b.number,
        steps,
        0,
        CHUNK,
        stage_of(b, neurons, u),
        None,
        None,
        s.view(np.uint8),
        NormalizedNumbers(np.ascontiguousarray(x).reshape(steps, columns), *rows),
        grain=4,
    )
    return (u if keep is None else u.reshape(x.shape), s.reshape(x.shape)), numbers


class Map(NamedTuple):
    """The neurons of a convolution in blocks, which have whole pooling windows if pooling follows."""

    maps: Maps
    blocks: Blocks
    image: tuple[int, int]  # rows and columns of the result
    tiles: Tiles | None
    after: Blocks | None  # the same blocks after pooling


def map_of(m: Maps, pooling: Pooling | None, dtype: DType) -> Map:
    """Return the blocks of maps before and after pooling."""
    if pooling is None:
        return Map(m, Blocks(m.samples, m.rows * m.width, m.together * m.width), (m.rows, m.columns), None, None)
    height, width = pooling.window.kernel
    m = conv_spikes.pooled_maps(m, height)
    image = -(-m.rows // height), -(-m.columns // width)
    pooled = image[1] * m.outputs
    return Map(
        m,
        Blocks(m.samples, m.rows * m.width, m.together * m.width),
        image,
        Tiles(height, width, image[1], m.columns, m.outputs, dtype.type(pooling.gain)),
        Blocks(m.samples, image[0] * pooled, m.together // height * pooled),
    )


@dataclass(frozen=True)
class ConvPass:
    """The passes of a convolution, its neurons and the next stages, with the GPU's arguments.

    Potentials for backward lie block by block: (blocks, steps, numbers of a block). In the layout of the spikes, the
    distances of a block's rows would be powers of two, where caches and memory are slow.
    """

    groups: int
    takes_products: ClassVar[bool] = False  # whether the gradient of the spikes may be a product of matrices

    def conv_neuron(
        self,
        x: SpikeList,
        steps: int,
        w: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        keep: DType | None,
        shift: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return the potential u and the spikes s (frames, rows, columns, outputs).

        Args:
            x: (frames, H, W, C), the frames of all samples at a step one after the other.
            steps: the number of steps of the frames.
            w: (kh, kw, C / groups, outputs).
            window: the window.
            constants: the constants that differ between the neurons; see `blocks.py`.
            spiking: their other constants.
            keep: None for an empty u.
            shift: a bias, a normalization or both, see `norm.scaling.shifted`; None for neither.
        """
        u, _, s = self.conv_pool(x, steps, w, window, constants, spiking, None, keep, shift)
        return u, s

    def conv_neuron_adjoint(
        self,
        x: SpikeList,
        steps: int,
        g: Array,
        u: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        keep: bool,
    ) -> tuple[Array | None, Array]:
        """Return the gradients of the weighted input, None without `keep`, and of the weights.

        g is the gradient of the spikes, and u the potential that `conv_neuron` returns; see there.
        """
        return self.conv_pool_adjoint(x, steps, g, u, u[:0], window, constants, spiking, None, keep)

    def input_adjoint(
        self, errors: Array, w: Array, image: tuple[int, int], window: Window, of_weight: Array
    ) -> tuple[Array, Array]:
        """Return the gradients of the input and of the weight from the results of the backward passes."""
        return input_adjoint(errors, w, image, window, self.groups), of_weight

    def weight_gradient(self, of_weight: Array) -> Array:
        """Return the gradient of the weight from the result of a backward pass that keeps the errors."""
        return of_weight

    def conv_pool(
        self,
        x: SpikeList,
        steps: int,
        w: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        pooling: Pooling | None,
        keep: Any,
        shift: Array | None = None,
    ) -> tuple[Any, Array, Array]:
        """Return the potentials before and after pooling, and the spikes (frames, rows, columns, outputs) after it.

        See `conv_neuron` for the arguments and the layout of the potentials. With ``keep=Checkpoints``, the first
        result is checkpoints, from which `conv_pool_adjoint` recomputes the potential before pooling, to the same bits.
        """
        m, b, image, tiles, after = map_of(conv_spikes.maps(x, steps, w.shape[3], window), pooling, w.dtype)
        recompute = keep is Checkpoints
        u = empty((m.blocks, steps, 0 if keep is None or recompute else b.width), w.dtype)
        pooled_u = empty((m.blocks, steps, 0 if keep is None or after is None else after.width), w.dtype)
        s = empty((steps, m.samples * math.prod(image) * m.outputs), bool)
        neurons = forward_of(w.dtype, steps, constants, spiking)
        taps = conv_spikes.taps_in_runs(w, window, self.groups)
        saved = checkpoints(steps, m.blocks, b, taps, neurons) if recompute else no_checkpoints(neurons)
        pooled = None
        if pooling is not None and tiles is not None and after is not None:
            neurons_after = forward_of(w.dtype, steps, pooling.constants, pooling.spiking)
            pooled = Pooled(tiles, _by_block(after, neurons_after, pooled_u), saved)
        parallel_for(
            run_forward,
            b.number,
            steps,
            0,
            CHUNK,
            _by_block(b, neurons, u, shift),
            pooled,
            None,
            s.view(np.uint8),
            ConvSpikes(m, conv_spikes.where(x, window, m.outputs, w.dtype, self.groups), taps),
            grain=1,
        )
        return saved if recompute else u, pooled_u, s.reshape(x.shape[0], *image, m.outputs)

    def conv_pool_adjoint(
        self,
        x: SpikeList,
        steps: int,
        g: Array,
        u: Array | Checkpoints,
        pooled_u: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        pooling: Pooling | None,
        keep: bool,
        shift: Array | None = None,
    ) -> tuple[Array | None, Array]:
        """Return the gradients of the convolution's output, None without `keep`, and of the weights.

        g is the gradient of the spikes after pooling, u and pooled_u the potentials that `conv_pool` returns.
        """
        unpooled = conv_spikes.maps(x, steps, g.shape[3], window)
        m, b, _, tiles, after = map_of(unpooled, pooling, g.dtype)
        # Blocks of other rows would sum the weight gradient in another order, so it is computed from the errors.
        separate = m != unpooled
        y = empty((steps, m.neurons) if keep or separate else (0, 0), g.dtype)
        parts = weight_sums.new_parts(x, m, window, self.groups, g.dtype)
        neurons = backward_of(g.dtype, steps, constants, spiking)
        spikes = conv_spikes.where(x, window, m.outputs, g.dtype, self.groups)
        saved = no_checkpoints(neurons)
        if isinstance(u, Checkpoints):
            saved = u
            u = np.empty((m.blocks, steps, 0), g.dtype)
        pooled = None
        source = None
        if pooling is not None and tiles is not None and after is not None:
            neurons_after = backward_of(g.dtype, steps, pooling.constants, pooling.spiking)
            pooled = Pooled(tiles, _by_block(after, neurons_after, pooled_u), saved)
            source = ConvSpikes(m, spikes, saved.taps)
        order = weight_sums.order_of(x, m, window, self.groups, g.dtype)
        parallel_for(
            run_backward,
            PARTS,
            weight_sums.bounds(b.number),
            steps,
            0,
            CHUNK,
            _by_block(b, neurons, u, shift),
            pooled,
            None,
            y,
            Errors(np.ascontiguousarray(g).reshape(steps, g.size // max(steps, 1))),
            ConvWeights(m, spikes, order, parts[: 0 if separate else PARTS]),
            source,
            grain=1,
        )
        errors = y.reshape(len(g), m.rows, m.columns, m.outputs) if y.size or keep else None
        if separate and errors is not None:
            return errors, weight_sums.weight_adjoint(x, errors, window, self.groups, steps)
        return errors, weight_sums.of_runs(parts.sum(axis=0), window, m.outputs, self.groups)


def _by_block(b: Blocks, neurons: Block, u: Array, shift: Array | None = None) -> Stage:
    """Return neurons that begin anew, with potentials (blocks, steps, width)."""
    return stage_of(b, neurons, u.reshape(-1, u.shape[2] or 1), u.shape[1], shift)


def from_blocks(u: Array, shape: tuple[int, ...], samples: Array | None, neurons: Array | None) -> Array:
    """Return potentials in blocks as (T, samples, H, W, C), or (T, samples, k) of k neurons (row, column, channel)."""
    steps, count, rows, columns, channels = shape
    chosen = np.arange(count) if samples is None else samples
    if 0 in shape:
        places = shape[2:] if neurons is None else (len(neurons),)
        return np.zeros((steps, len(chosen), *places), u.dtype)
    together = u.shape[2] // (columns * channels)
    by_sample = u.reshape(count, len(u) // count, steps, u.shape[2])
    if neurons is None:
        maps = by_sample.reshape(count, -1, steps, together, columns, channels)[chosen]
        rows_of_blocks = maps.transpose(2, 0, 1, 3, 4, 5).reshape(steps, len(chosen), -1, columns, channels)
        return np.array(rows_of_blocks[:, :, :rows], order="C")
    row, column, channel = neurons.T
    at = (row % together * columns + column) * channels + channel
    return np.ascontiguousarray(by_sample[chosen[:, None], row // together, :, at].transpose(2, 0, 1))
