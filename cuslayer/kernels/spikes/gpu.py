"""Launchers of `spikes.cu`: packed spikes, and the input of a dense or convolutional layer on a GPU."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, most_shared
from cuslayer.kernels.spikes.packed import WORD, DeferredSpikes, PackedSpikes, event_fields, lines_of, words_of

# The functions of both devices; packed spikes are the GPU's.
__all__ = ["in_frames", "synapse_input"]

# The kernels of bits do not depend on the number type.
_REAL = np.dtype(np.float32)
# Words of a frame, and columns of samples and time words, of a block of transpose_bits: SIDE of spikes.cu.
_SIDE = 8
# Bytes of the tile of a block of set_bits for a word of a frame and a word of time: 32 words in each layout.
_PAIR = 2 * 4 * WORD
# Bytes of its tile, which every GPU has, and its threads. Each tile of a sample reads all its events: with more than
# _TILES, a tile takes all shared memory, and a block has more threads.
_TILE = 48 << 10
_SETTERS = 256
_TILES = 64
_MORE_SETTERS = 512
# The words of time of a tile where the frame has many words: two sectors.
_TIMES = 16


def packed(x: Array | PackedSpikes) -> PackedSpikes:
    """Return spikes (frames, ...) as packed spikes."""
    return x if isinstance(x, PackedSpikes) else pack(x)


def in_frames(x: Array | PackedSpikes, shape: tuple[int, ...]) -> Array | PackedSpikes:
    """Return x in a shape (frames, ...); packed spikes with other frames or lines are packed again."""
    if isinstance(x, PackedSpikes) and not x.has_frames(shape):
        return pack(unpack(x).reshape(shape))
    return x.reshape(*shape)


def synapse_input(x: Array | PackedSpikes) -> Array | PackedSpikes:
    """Return the input x (frames, ...) of a dense or convolutional layer: spikes packed, numbers unchanged."""
    return pack(x) if not isinstance(x, PackedSpikes) and x.dtype == bool else x


def pack(x: Array, axes: int = 1) -> PackedSpikes:
    """Return a boolean array as packed spikes; its first `axes` axes number the frames."""
    frames = math.prod(x.shape[:axes])
    lines, line = lines_of(x.shape[axes:])
    per_line = words_of(line)
    words = empty(x, (frames, lines, per_line), np.uint32)
    count = frames * lines * per_line
    kernel("pack_bits", _REAL)(count, x=contiguous(x), words=words, per_line=per_line, line=line)
    return PackedSpikes(words, x.shape, line)


def unpack(spikes: PackedSpikes) -> Array:
    """Return packed spikes as a boolean array."""
    x = empty(spikes.words, spikes.shape, bool)
    count = spikes.words.size
    per_line = spikes.words.shape[2]
    kernel("unpack_bits", _REAL)(count, words=spikes.words, x=x, per_line=per_line, line=spikes.line)
    return x


def from_events(events: Array, begin: Array, recordings: Array, shape: tuple[int, ...]) -> DeferredSpikes:
    """Return a batch of recordings of events as packed spikes in both layouts; their bits are set when needed.

    Args:
        events: the events of all recordings one after another, uint32 (events, words of an event), in the fields of
            `event_fields`. Several at one step and neuron are one spike.
        begin: the first event of each recording, and the number of events, int64 (recordings + 1,).
        recordings: the recording of each sample of the batch, int64 (samples,).
        shape: the shape of the batch, (steps, samples, ...).
    """
    return DeferredSpikes(namespace(events), shape, True, partial(set_bits, events, begin, recordings))


def set_bits(events: Array, begin: Array, recordings: Array, to: PackedSpikes) -> None:
    """Write a batch of recordings of events, as `from_events` takes them, to packed spikes with both layouts."""
    _, lines, per_line = to.words.shape
    steps, samples = to.shape[:2]
    frame = lines * per_line
    time_words = words_of(steps)
    event_words, feature_bits = event_fields(steps, lines * to.line)
    tiles, tile_words, tile_times = _tiles(frame, time_words, _TILE)
    threads = _SETTERS
    if tiles > _TILES:
        tiles, tile_words, tile_times = _tiles(frame, time_words, most_shared())
        threads = _MORE_SETTERS
    kernel("set_bits", _REAL).launch(
        (samples * tiles,),
        (threads,),
        _PAIR * tile_words * tile_times,
        events=events,
        begin=begin,
        recordings=recordings,
        words=to.words,
        by_neuron=to.by_neuron,
        event_words=event_words,
        feature_bits=feature_bits,
        steps=steps,
        line=to.line,
        tile_words=tile_words,
        tile_times=tile_times,
    )


def _tiles(frame: int, time_words: int, shared: int) -> tuple[int, int, int]:
    """Return the tiles of a sample, and how many words of a frame and of time each has: both rows should be long."""
    most = shared // _PAIR
    words = max(1, min(frame, most // max(1, min(time_words, _TIMES))))
    # More steps of a frame of few words. Parts of the time begin at a sector.
    times = max(1, min(time_words, most // words))
    if times < time_words:
        times = max(1, times // _SIDE * _SIDE)
    # Parts of the frame of equal size.
    across = -(-frame // words)
    down = -(-time_words // times)
    return across * down, -(-frame // max(1, across)) or 1, times


def transpose(spikes: PackedSpikes, steps: int) -> Array:
    """Return packed spikes with time along the bits, as `PackedSpikes.by_neuron`, (features, samples, time words)."""
    frames, lines, per_line = spikes.words.shape
    samples = frames // steps if steps else 0
    time_words = words_of(steps)
    by_neuron = empty(spikes.words, (lines * spikes.line, samples, time_words), np.uint32)
    tiles = -(-lines * per_line // _SIDE) * -(-samples * time_words // _SIDE)
    kernel("transpose_bits", _REAL).launch(
        (tiles,),
        (_SIDE * WORD,),
        words=spikes.words,
        by_neuron=by_neuron,
        steps=steps,
        line=spikes.line,
    )
    return by_neuron


def with_neurons(spikes: PackedSpikes, steps: int) -> PackedSpikes:
    """Return packed spikes with `by_neuron`, transposed if no kernel wrote it."""
    if spikes.by_neuron is not None:
        return spikes
    return PackedSpikes(spikes.words, spikes.shape, spikes.line, transpose(spikes, steps))
