"""Launchers of `spikes.cu`: packed spikes, and the input of a dense or convolutional layer on a GPU."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, zeros
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, event_fields, lines_of, words_of

# Of the functions that both devices have; packed spikes are the GPU's.
__all__ = ["synapse_input"]

# The kernels of bits do not depend on the number type.
_REAL = np.dtype(np.float32)
# Words of a frame, and columns of samples and time words, that a block of transpose_bits takes: SIDE of spikes.cu.
_SIDE = 8
# Threads that set the bits of one sample: blocks and threads of a block.
_SETTERS = 8, 128
# Both layouts of a batch are one array. Each begins at a multiple of these bytes, as an array of its own does.
_ALIGNMENT = 512


def packed(x: Array | PackedSpikes) -> PackedSpikes:
    """Return spikes (frames, ...) as packed spikes."""
    return x if isinstance(x, PackedSpikes) else pack(x)


def synapse_input(x: Array | PackedSpikes) -> Array | PackedSpikes:
    """Return the input x (frames, ...) of a dense or convolutional layer: spikes packed, numbers as they are."""
    return pack(x) if not isinstance(x, PackedSpikes) and x.dtype == bool else x


def pack(x: Array, axes: int = 1) -> PackedSpikes:
    """Return a boolean array as packed spikes; its first `axes` axes number the frames."""
    frames, (lines, line) = math.prod(x.shape[:axes]), lines_of(x.shape[axes:])
    per_line = words_of(line)
    words, count = empty(x, (frames, lines, per_line), np.uint32), frames * lines * per_line
    kernel("pack_bits", _REAL)(count, x=contiguous(x), words=words, count=count, per_line=per_line, line=line)
    return PackedSpikes(words, x.shape, line)


def unpack(spikes: PackedSpikes) -> Array:
    """Return packed spikes as a boolean array."""
    x, count, per_line = empty(spikes.words, spikes.shape, bool), spikes.words.size, spikes.words.shape[2]
    kernel("unpack_bits", _REAL)(count, words=spikes.words, x=x, count=count, per_line=per_line, line=spikes.line)
    return x


def from_events(events: Array, begin: Array, recordings: Array, shape: tuple[int, ...]) -> PackedSpikes:
    """Return a batch of recordings of events as packed spikes, in both layouts.

    Args:
        events: the events of all recordings one after another, uint32 (events, words of an event), in the fields of
            `event_fields`. Several at one step and neuron are one spike.
        begin: the first event of each recording, and the number of events, int64 (recordings + 1,).
        recordings: the recording of each sample of the batch, int64 (samples,).
        shape: the shape of the batch, (steps, samples, ...).
    """
    steps, samples, (lines, line) = shape[0], shape[1], lines_of(shape[2:])
    rows = steps * samples, lines, words_of(line)
    neurons = lines * line, samples, words_of(steps)
    event_words, feature_bits = event_fields(steps, lines * line)
    # One array for both layouts is one memset.
    begin_neurons = -(-4 * math.prod(rows) // _ALIGNMENT) * (_ALIGNMENT // 4)
    both = zeros(events, (begin_neurons + math.prod(neurons),), np.uint32)
    words, by_neuron = both[: math.prod(rows)].reshape(rows), both[begin_neurons:].reshape(neurons)
    blocks, threads = _SETTERS
    kernel("set_bits", _REAL).launch(
        (samples, blocks),
        (threads,),
        events=events,
        begin=begin,
        recordings=recordings,
        words=words,
        by_neuron=by_neuron,
        event_words=event_words,
        feature_bits=feature_bits,
        samples=samples,
        lines=lines,
        per_line=rows[2],
        line=line,
        time_words=neurons[2],
    )
    return PackedSpikes(words, shape, line, by_neuron)


def transpose(spikes: PackedSpikes, steps: int) -> Array:
    """Return packed spikes with time along the bits, as `PackedSpikes.by_neuron`, (features, samples, time words)."""
    frames, lines, per_line = spikes.words.shape
    samples, time_words = frames // steps if steps else 0, words_of(steps)
    by_neuron = empty(spikes.words, (lines * spikes.line, samples, time_words), np.uint32)
    tiles = -(-lines * per_line // _SIDE) * -(-samples * time_words // _SIDE)
    kernel("transpose_bits", _REAL).launch(
        (tiles,),
        (_SIDE * WORD,),
        words=spikes.words,
        by_neuron=by_neuron,
        steps=steps,
        samples=samples,
        lines=lines,
        per_line=per_line,
        line=spikes.line,
        time_words=time_words,
    )
    return by_neuron


def with_neurons(spikes: PackedSpikes, steps: int) -> PackedSpikes:
    """Return packed spikes with `by_neuron`, transposed if no kernel wrote it."""
    return spikes if spikes.by_neuron is not None else replace(spikes, by_neuron=transpose(spikes, steps))
