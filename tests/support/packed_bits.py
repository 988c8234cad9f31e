"""Packed spikes by NumPy: what `kernels/spikes/gpu.py` has to return."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from cuslayer.kernels.spikes.packed import PackedSpikes

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def bits_as_words(x: Array) -> Array:
    """Return the last axis of a boolean array as words of 32 bits, filled up with zeros."""
    filled = np.zeros((*x.shape[:-1], -(-x.shape[-1] // 32) * 32), bool)
    filled[..., : x.shape[-1]] = x
    grouped = filled.reshape(*x.shape[:-1], filled.shape[-1] // 32, 32)
    return (grouped << np.arange(32, dtype=np.uint32)).sum(-1, dtype=np.uint32)


def words_as_bits(words: Array, count: int) -> Array:
    """Return the first bits of words along the last axis; the others have to be 0."""
    bits = (words[..., None] >> np.arange(32, dtype=np.uint32) & 1).astype(bool)
    flat = bits.reshape(*words.shape[:-1], words.shape[-1] * 32)
    assert not flat[..., count:].any()
    return flat[..., :count]


def packed_on_host(x: Array, axes: int = 2) -> PackedSpikes:
    """Return a boolean array whose first axes number the frames as packed spikes, `by_neuron` if they are (T, N)."""
    frames, shape = math.prod(x.shape[:axes]), x.shape[axes:]
    lines = shape[0] if len(shape) == 3 else 1
    line = math.prod(shape[1:] if len(shape) == 3 else shape)
    words = bits_as_words(x.reshape(frames, lines, line))
    features = math.prod(shape)
    by_neuron = bits_as_words(x.reshape(*x.shape[:2], features).transpose(2, 1, 0)) if axes == 2 else None
    return PackedSpikes(words, x.shape, line, by_neuron)


def unpacked_on_host(spikes: PackedSpikes) -> Array:
    """Return the boolean array of packed spikes whose words are NumPy's."""
    return words_as_bits(spikes.words, spikes.line).reshape(spikes.shape)
