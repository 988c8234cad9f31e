"""Layers with their neurons on the CPU, called chunk by chunk: the loop of `loop.py` goes on where it ended."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import Pooling, Window, places_of
from cuslayer.kernels.fused.cpu import dense_blocks, map_of
from cuslayer.kernels.fused.loop import Blocks, Pooled, Stage, forward, memory_of, no_checkpoints, stage_of
from cuslayer.kernels.fused.sources import ConvSpikes, DenseBits, DenseSpikes, Numbers
from cuslayer.kernels.scan.blocks import ENDLESS, forward_of
from cuslayer.kernels.spikes.cpu import as_bytes, find_spikes
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.synapse.conv import spikes as conv_spikes
from cuslayer.kernels.synapse.conv.cpu import forward as conv
from cuslayer.kernels.synapse.conv.spikes import CHUNK
from cuslayer.kernels.synapse.dense.cpu import forward as dense
from cuslayer.kernels.synapse.dense.cpu import prefers_tables

# The least and the most neurons of a block.
_LEAST = 256
_MOST = 1024
# Bins of an input, and steps of neurons, that are less work than waking other threads.
_FEW = 1 << 19


class _Streamed:
    """Neurons that keep their state from call to call."""

    def __init__(self, dtype: DType) -> None:
        self._dtype = dtype
        self._steps = 0
        self._stage: Stage | None = None

    def _begin(self, b: Blocks, constants: Any, spiking: StepSpiking, shift: Array | None = None) -> Stage:
        """Return neurons before the first step."""
        neurons = forward_of(self._dtype, ENDLESS, constants, spiking)
        memory = memory_of(neurons, b.groups * b.size, CHUNK)
        return stage_of(b, neurons, np.empty((0, 0), self._dtype), shift=shift, memory=memory)

    def _run(self, steps: int, stage: Stage, source: Any, pooled: Pooled | None = None, grain: int = 1) -> Array:
        """Return the spikes (steps, neurons) of a call; with a grain of 0 it runs in this thread."""
        after = stage.blocks if pooled is None else pooled.stage.blocks
        s = np.empty((steps, after.groups * after.size), bool)
        number = stage.blocks.number
        arguments = (steps, self._steps, CHUNK, stage, pooled, None, s.view(np.uint8), source)
        if grain:
            parallel_for(forward, number, *arguments, grain=grain)
        else:
            forward(0, number, *arguments)
        self._steps += steps
        return s


class StreamedNeurons(_Streamed):
    """Neurons that run over their weighted input chunk by chunk (T, ...); a call returns its spikes."""

    def __init__(self, constants: Any, spiking: StepSpiking) -> None:
        super().__init__(np.dtype(np.float32))
        self._constants = constants
        self._spiking = spiking

    def __call__(self, x: Array) -> Array:
        flat = np.ascontiguousarray(x).reshape(len(x), math.prod(x.shape[1:]))
        if self._stage is None:
            self._dtype = x.dtype
            placed = self._spiking.placed(self._constants, x, x.shape[2:])
            self._stage = self._begin(dense_blocks(1, flat.shape[1], _LEAST, _LEAST, 1), placed, self._spiking)
        return self._run(len(x), self._stage, Numbers(flat), grain=8).reshape(x.shape)


class StreamedDense(_Streamed):
    """A dense layer (inputs, outputs) and its neurons, called chunk by chunk (T, N, ...)."""

    def __init__(self, weight: Array, constants: Any, spiking: StepSpiking, shift: Array | None = None) -> None:
        super().__init__(weight.dtype)
        self._weight = np.ascontiguousarray(weight)
        self._shift = shift
        self._table = self._weight.reshape(-1)
        self._constants = constants
        self._spiking = spiking

    def __call__(self, x: Array) -> Array:
        steps = len(x)
        w = self._weight
        outputs = w.shape[1]
        places = places_of(x.shape[2:], len(w))
        leading = (*x.shape[:2], *places)
        samples = x.shape[1] * math.prod(places)
        rows = x.reshape(steps * samples, len(w))
        if self._stage is None:
            placed = self._spiking.placed(self._constants, w, (*places, outputs))
            self._stage = self._begin(
                dense_blocks(samples, outputs, _LEAST, _MOST, 1), placed, self._spiking, self._shift
            )
        few = rows.size + steps * samples * outputs <= _FEW
        if rows.dtype == bool and few:
            # A call of another thread takes longer than a step of few neurons.
            s = self._run(steps, self._stage, DenseBits(as_bytes(rows), self._table, samples, outputs), grain=0)
        else:
            x_listed = find_spikes(rows) if rows.dtype == bool else rows
            # Compute the weighted input of rows that share tables before the neurons run.
            if isinstance(x_listed, np.ndarray) or prefers_tables(x_listed, w):
                source: Any = Numbers(dense(x_listed, w).reshape(steps, samples * outputs))
            else:
                source = DenseSpikes(x_listed.start, x_listed.index, self._table, samples, outputs)
            s = self._run(steps, self._stage, source)
        return s.reshape(*leading, outputs)


class StreamedConv(_Streamed):
    """A convolution and its neurons, then any pooling and its neurons, called with chunks (T, N, H, W, C)."""

    def __init__(
        self,
        weight: Array,
        window: Window,
        constants: Any,
        spiking: StepSpiking,
        pooling: Pooling | None = None,
        shift: Array | None = None,
    ) -> None:
        super().__init__(weight.dtype)
        self._weight = weight
        self._shift = shift
        self._window = window
        self._pooling = pooling
        self._constants = constants
        self._spiking = spiking
        self._taps = conv_spikes.taps_in_runs(weight, window)
        self._pooled: Pooled | None = None

    def __call__(self, x: Array) -> Array:
        if x.ndim != 5:
            raise ValueError(f"x must be (T, N, H, W, C), got shape {x.shape}")
        w = self._weight
        window = self._window
        if x.shape[4] != w.shape[2]:
            raise ValueError(f"x has {x.shape[4]} channels, weight expects {w.shape[2]}")
        steps, samples = x.shape[:2]
        frames = x.reshape(steps * samples, *x.shape[2:])
        image = window.outputs(x.shape[2:4], ceil=False)
        unpooled = conv_spikes.maps_of(steps, samples, image, w.shape[3])
        m, b, image, tiles, after = map_of(unpooled, self._pooling, w.dtype)
        if self._stage is None:
            placed = self._spiking.placed(self._constants, w, (m.rows, m.columns, m.outputs))
            self._stage = self._begin(b, placed, self._spiking, self._shift)
            if self._pooling is not None and tiles is not None and after is not None:
                spiking = self._pooling.spiking
                placed = spiking.placed(self._pooling.constants, w, (*image, m.outputs))
                self._pooled = Pooled(tiles, self._begin(after, placed, spiking), no_checkpoints(self._stage.neurons))
        if x.dtype == bool:
            spikes = conv_spikes.where(find_spikes(frames), window, m.outputs, w.dtype)
            source: Any = ConvSpikes(m, spikes, self._taps)
        else:
            source = Numbers(conv(frames, w, window, 1).reshape(steps, m.neurons))
        s = self._run(steps, self._stage, source, self._pooled)
        return s.reshape(steps, samples, *image, m.outputs)
