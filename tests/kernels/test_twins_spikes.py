"""Emulated CUDA kernels of packed spikes against NumPy and the CPU's binning: equal to the bit."""

import math
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.data.events import Events, flat_bins
from cuslayer.kernels.spikes import cpu, gpu
from cuslayer.kernels.spikes.packed import PackedSpikes, event_fields, lines_of, words_of
from tests.kernels.test_twins import emulator as emulator
from tests.support.packed_bits import packed_on_host, unpacked_on_host
from tools.emulator.driver import emulation

few = settings(max_examples=60)
seeds = st.integers(0, 2**32 - 1)
# Bits of a line around a word; N-MNIST's rows have 34 x 2.
widths = st.one_of(st.integers(0, 70), st.sampled_from([0, 1, 31, 32, 33, 64, 68, 300]))
steps_of = st.one_of(st.integers(0, 70), st.sampled_from([0, 1, 31, 32, 33]))
images = st.tuples(st.integers(0, 9), st.integers(0, 17), st.sampled_from([1, 2, 4]))
frames = st.one_of(st.tuples(widths), images)
batches = st.tuples(steps_of, st.integers(0, 9), frames).map(lambda parts: (*parts[:2], *parts[2]))


def train(seed, shape, rate=0.3):
    return np.random.default_rng(seed).random(shape) < rate


def same(ours, theirs):
    assert ours is not None
    assert theirs is not None
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(ours, theirs)


@few
@given(batches, seeds)
def test_bits_are_packed_transposed_and_unpacked(shape, seed):
    """By pack_bits, transpose_bits and unpack_bits."""
    x = train(seed, shape)
    theirs = packed_on_host(x)
    ours = gpu.pack(x, axes=2)
    same(ours.words, theirs.words)
    assert (ours.shape, ours.line, ours.by_neuron) == (x.shape, theirs.line, None)
    assert ours.words.shape[1:] == (lines_of(shape[2:])[0], words_of(ours.line))
    same(gpu.unpack(theirs), x)
    same(unpacked_on_host(theirs), x)
    steps = shape[0]
    if steps:
        same(gpu.transpose(theirs, steps), theirs.by_neuron)
    else:
        assert gpu.transpose(theirs, 0).size == 0


def test_pack_long_lines():
    # 32 whole words of the second line begin within a sector, and so are 33 sectors.
    x = train(0, (2, 3076), 0.5)
    same(gpu.pack(x).words, packed_on_host(x, axes=1).words)
    x = train(0, (30, 5, 7, 2))
    same(gpu.pack(x).words, packed_on_host(x, axes=1).words)
    same(gpu.pack(x[::2, :, ::-1]).words, packed_on_host(x[::2, :, ::-1], axes=1).words)


def test_synapse_input():
    x = train(0, (6, 40))
    ours = gpu.synapse_input(x)
    assert isinstance(ours, PackedSpikes)
    same(unpacked_on_host(ours), x)
    assert gpu.synapse_input(ours) is ours
    number = x.astype(np.float32)
    assert gpu.synapse_input(number) is number


def test_in_frames():
    x = train(0, (3, 2, 5, 40))
    packed = gpu.pack(x, axes=2)
    # A frame of 5 x 40 numbers is one line: places of 40 are packed again, the same frames are not.
    by_place = gpu.in_frames(packed, (30, 40))
    same(unpacked_on_host(by_place), cpu.in_frames(x, (30, 40)))
    assert (by_place.frames, by_place.line) == (30, 40)
    assert gpu.in_frames(packed, (6, 200)).words is packed.words


def test_with_neurons_fills_what_is_missing():
    whole = packed_on_host(train(0, (40, 3, 50)))
    assert gpu.with_neurons(whole, 40) is whole
    same(gpu.with_neurons(PackedSpikes(whole.words, whole.shape, whole.line), 40).by_neuron, whole.by_neuron)


@st.composite
def recorded(draw):
    """Return recordings, some of them empty, with events at the borders of bins, and a window that may cut them."""
    one = draw(st.booleans())
    sensor = (draw(st.sampled_from([1, 5, 32, 33, 70])),) if one else draw(images.filter(lambda s: 0 not in s))
    steps, dt = draw(st.sampled_from([1, 2, 31, 32, 33, 40])), draw(st.sampled_from([0.1, 0.3, 1.0, 7.0]))
    rounding = draw(st.sampled_from(["floor", "nearest"]))
    rng = np.random.default_rng(draw(seeds))
    recordings = []
    for count in draw(st.lists(st.sampled_from([0, 1, 3, 200]), min_size=1, max_size=4)):
        borders = rng.integers(0, 2 * steps + 3, count) * dt / 2
        t = np.where(rng.random(count) < 0.5, borders, rng.random(count) * steps * dt * 1.2)
        if one:
            recordings.append(Events(t, rng.integers(0, sensor[0], count)))
        else:
            y, x, p = (rng.integers(0, side, count) for side in sensor)
            recordings.append(Events(t, x, y, p))
    return recordings, sensor, steps, dt, rounding


def as_fields(recordings, sensor, steps, dt, rounding):
    """Return the events of recordings in the fields that the kernel takes, and the first event of each."""
    words, bits = event_fields(steps, math.prod(sensor))
    assert words == 1
    parts = [flat_bins(each, sensor, steps, dt, rounding) for each in recordings]
    begin = np.concatenate([[0], np.cumsum([len(step) for step, _ in parts], dtype=np.int64)])
    return np.concatenate([step << bits | feature for step, feature in parts]).astype(np.uint32)[:, None], begin


@contextmanager
def tiles(pairs, threads, most=1 << 30):
    """Let blocks of set_bits have so many pairs of a word of a frame and a word of time, and so many threads.

    With more than `most` tiles of a sample they have all shared memory.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "_TILE", gpu._PAIR * pairs)
        patch.setattr(gpu, "_SETTERS", threads)
        patch.setattr(gpu, "_TILES", most)
        yield


@pytest.mark.filterwarnings("ignore:to_spikes:UserWarning")  # windows past which all events may lie
@few
@given(recorded(), seeds, st.sampled_from([(192, 256), (1, 64), (2, 32), (3, 96), (5, 64)]))
def test_set_bits(case, seed, sizes):
    recordings, sensor, steps, dt, rounding = case
    events, begin = as_fields(recordings, sensor, steps, dt, rounding)
    # A batch of any recordings, in any order, some of them twice.
    chosen = np.random.default_rng(seed).integers(0, len(recordings), 3)
    frames = [recordings[i].to_spikes(sensor, steps, dt, rounding=rounding) for i in chosen]
    theirs = packed_on_host(np.stack(frames, axis=1))
    with tiles(*sizes):
        ours = gpu.from_events(events, begin, chosen, (steps, len(chosen), *sensor))
        same(ours.words, theirs.words)
    same(ours.by_neuron, theirs.by_neuron)
    assert (ours.shape, ours.line) == (theirs.shape, theirs.line)


def drawn_events(seed, shape, counts):
    """Return the arguments of from_events for a sample of each number of events, and the boolean array."""
    rng, (steps, samples, *frame) = np.random.default_rng(seed), shape
    neurons = math.prod(frame)
    words, bits = event_fields(steps, neurons)
    assert words == 1
    x, parts = np.zeros((steps, samples, neurons), bool), []
    for n, count in enumerate(counts):
        step, feature = rng.integers(0, max(steps, 1), count), rng.integers(0, max(neurons, 1), count)
        x[step, n, feature] = True
        parts.append(step << bits | feature)
    events = np.concatenate([*parts, np.empty(0, int)]).astype(np.uint32)[:, None]
    begin = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    return (events, begin, np.arange(samples), shape), x.reshape(shape)


@pytest.mark.parametrize(
    ("shape", "counts", "blocks"),
    [
        # 375 words of time: two tiles of 192 and 183 words.
        ((12_000, 1, 1), [900], 2),
        ((12_000, 2, 3, 11, 1), [400, 0], 2 * 6),
        # A frame of 204 words: two tiles of half of it; of 102 words and 10 of time: six tiles.
        ((20, 1, 68, 34, 2), [1500], 2),
        ((300, 1, 34, 34, 2), [4000], 6),
        ((33, 0, 40), [], 0),
        ((0, 2, 40), [0, 0], 0),
        ((5, 2, 0), [0, 0], 0),
        ((1, 1, 1), [3], 1),
    ],
)
def test_set_bits_of_many_steps_and_of_large_frames(shape, counts, blocks):
    arguments, x = drawn_events(0, shape, counts)
    ours, theirs = gpu.from_events(*arguments), packed_on_host(x)
    with emulation(counting=True) as emulator:
        same(ours.words, theirs.words)
        assert [(launch.kernel, launch.grid) for launch in emulator.counts] == [("set_bits", (blocks, 1, 1))][:blocks]
    same(ours.by_neuron, theirs.by_neuron)


def test_events_of_more_than_32_bits_are_two_words(monkeypatch):
    assert event_fields(1 << 12, 1 << 20) == (1, 20)
    assert event_fields((1 << 12) + 1, 1 << 20) == (2, 20)
    assert event_fields(1 << 12, (1 << 20) + 1) == (2, 21)
    assert event_fields(1, 1 << 32) == (2, 32)
    assert event_fields(1, 1) == event_fields(0, 0) == (1, 0)
    rng = np.random.default_rng(0)
    step, feature = rng.integers(0, 40, 300), rng.integers(0, 5 * 14, 300)
    x = np.zeros((40, 1, 5, 7, 2), bool)
    x.reshape(40, 70)[step, feature] = True
    monkeypatch.setattr(gpu, "event_fields", lambda steps, features: (2, 33))
    events = np.stack([feature, step], axis=1).astype(np.uint32)
    for sizes in ((192, 256), (2, 64)):
        with tiles(*sizes):
            ours = gpu.from_events(events, np.array([0, 300]), np.array([0]), x.shape)
            same(ours.words, packed_on_host(x).words)
        same(ours.by_neuron, packed_on_host(x).by_neuron)


def test_packed_spikes_show_themselves_as_booleans():
    x = train(0, (4, 3, 5, 7, 2))
    spikes = packed_on_host(x)
    same(np.asarray(spikes), x)
    assert np.asarray(spikes, np.float32).dtype == np.float32
    same(spikes[1:, 0], x[1:, 0])
    same(spikes.unpack(), x)
    assert spikes.any()
    assert not packed_on_host(np.zeros((3, 2, 40), bool)).any()
    assert (len(spikes), spikes.ndim, spikes.size, spikes.dtype) == (4, 5, x.size, bool)
    assert repr(spikes) == "PackedSpikes(shape (4, 3, 5, 7, 2))"
    same(spikes.reshape(12, 5, 7, 2).unpack(), x.reshape(12, 5, 7, 2))
    with pytest.raises(ValueError, match=r"^packed spikes of shape .* keep 12 frames, got \(840,\)$"):
        spikes.reshape(840)
