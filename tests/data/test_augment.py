"""Transforms of recordings, alone and in a loader."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer import backend
from cuslayer.data import (
    AudioToNumbers,
    Bands,
    Compose,
    Crop,
    Downsample,
    Drop,
    Events,
    Flip,
    FromStart,
    Jitter,
    Loader,
    Mask,
    OtherVoice,
    RandomShift,
    ShiftChannels,
    Stretch,
)
from cuslayer.data.augment import moves_time
from tests.support.refused import refuses

SHAPE = (6, 8, 2)


def recording(n=400, shape=SHAPE, seed=0):
    r = np.random.default_rng(seed)
    place = [r.integers(0, side, n) for side in shape]
    t = np.sort(r.uniform(0, 10, n))
    return Events(t, place[0], None, np.ones(n, int)) if len(shape) == 1 else Events(t, place[1], place[0], place[2])


def rng(seed=0):
    return np.random.default_rng(seed)


def by_loop(change, found, sides, rng):
    """Events [t, x, y, p] after a transform by its formula, one at a time, and the new sensor."""
    columns, times = sides[1] if len(sides) == 3 else sides[0], [t for t, *_ in found]
    if isinstance(change, Compose):
        for step in change.steps:
            found, sides = by_loop(step, found, sides, rng)
        return found, sides
    if isinstance(change, RandomShift):
        move = rng.uniform(-change.ms, change.ms)
        return [[t + move, *place] for t, *place in found if t + move >= 0], sides
    if isinstance(change, Stretch):
        factor = math.exp(rng.uniform(-math.log(change.factor), math.log(change.factor)))
        return [[t * factor, *place] for t, *place in found], sides
    if isinstance(change, FromStart):
        return [[t - min(times), *place] for t, *place in found], sides
    if isinstance(change, Drop):
        return [event for event, drawn in zip(found, rng.random(len(found)), strict=True) if drawn >= change.p], sides
    if isinstance(change, ShiftChannels):
        move, width = int(rng.integers(-change.channels, change.channels, endpoint=True)), columns // change.populations
        return [[t, x + move, *rest] for t, x, *rest in found if (x + move) // width == x // width], sides
    if isinstance(change, Mask):
        (length, run, start, place), width = rng.random(4), columns // change.populations
        first, last = min(times, default=0), max(times, default=0)
        length, run = length * change.ms, int(run * (change.channels + 1))
        start, place = first + start * max(0.0, last - first - length), int(place * (width - run + 1))
        kept = [not start <= t < start + length and x % width not in range(place, place + run) for t, x, *_ in found]
        return [event for event, k in zip(found, kept, strict=True) if k], sides
    if isinstance(change, Jitter):
        moves = rng.integers(-change.pixels, change.pixels, (2, len(found)), endpoint=True).T.tolist()
        moved = [[t, x + i, y if y is None else y + j, p] for (t, x, y, p), (i, j) in zip(found, moves, strict=True)]
        return [e for e in moved if 0 <= e[1] < columns and (e[2] is None or 0 <= e[2] < sides[0])], sides
    if isinstance(change, Flip):
        flips = rng.random(3) < (change.horizontal, change.vertical, change.polarity)
        for event in found:
            for axis, side, flip in zip((1, 2, 3), (columns, sides[0], sides[-1]), flips, strict=True):
                if flip and (axis < 3 or side > 1):
                    event[axis] = side - 1 - event[axis]
        return found, sides
    if isinstance(change, Crop):
        windows = [change.time, change.columns, change.rows, None]
        for axis, window in enumerate(windows):
            if window:
                found = [
                    [*e[:axis], e[axis] - window[0], *e[axis + 1 :]] for e in found if window[0] <= e[axis] < window[1]
                ]
        within = [window or (0, side) for window, side in zip((*windows[2:0:-1], None), sides, strict=False)]
        return found, tuple(
            last - first for first, last in ([windows[1] or (0, columns)] if len(sides) == 1 else within)
        )
    rows, across = change.factor if isinstance(change.factor, tuple) else (change.factor, change.factor)
    found = [[t, x // across, y if y is None else y // rows, p] for t, x, y, p in found]
    return found, tuple(
        math.ceil(s / f) for s, f in zip(sides, (across,) if len(sides) == 1 else (rows, across, 1), strict=True)
    )


def change_of(rng, sides, inner=True):
    """Return a transform that fits a sensor, of which every kind and option is as likely as the others."""
    flat = len(sides) == 1
    columns = sides[0 if flat else 1]

    def pick(*values):
        return values[rng.integers(len(values))]

    def window(side):
        first, last = sorted(rng.choice(side + 1, 2, replace=False).tolist())
        return pick(None, (first, last))

    ms, parts = pick(0.0, 2.5, 7.0, 1e9), pick(*(n for n in (1, 2, 3) if columns % n == 0))
    if inner and rng.random() < 0.3:
        steps = []
        for _ in range(rng.integers(1, 4)):
            steps.append(change_of(rng, sides, inner=False))
            sides = steps[-1].sensor(sides)
        return Compose(tuple(steps))
    return pick(
        RandomShift(ms),
        Stretch(pick(1.0, 1.5)),
        FromStart(),
        Drop(pick(0.0, 0.4)),
        ShiftChannels(int(rng.integers(5)), parts),
        *(Mask(ms, int(rng.integers(columns // parts + 1)), parts) for _ in range(2)),
        Jitter(int(rng.integers(4))),
        Flip(*(pick(0.0, 0.5, 1.0) for _ in range(1 if flat else 3))),
        Crop(None if flat else window(sides[0]), window(columns), pick(None, (1.0, 6.0))),
        Downsample(pick(1, 2, 5, (2, 3), (3, 1))),
    )


@settings(max_examples=400)
@given(st.integers(0, 2**32 - 1))
def test_events_are_those_of_a_loop(seed):
    """In whole ms, so that some lie on the edge of a window; with as many random numbers."""
    r = np.random.default_rng(seed)
    sides = [(6,), (7, 4, 2), (3, 12, 1), (5, 6, 3)][r.integers(4)]
    change, count = change_of(r, sides), r.integers(41)
    x, y, p = (
        r.integers(0, side, count) for side in ([*sides, 1, 1] if len(sides) == 1 else np.take(sides, [1, 0, 2]))
    )
    events = Events(r.integers(0, 10, count), x, None if len(sides) == 1 else y, p)
    ours, theirs, before = rng(seed), rng(seed), list(events)
    found = change(events, sides, ours)
    wanted, sensor = by_loop(change, list(map(list, events)), sides, theirs)
    assert list(found) == [tuple(event) for event in wanted]
    assert Events(found.t, found.x, found.y, found.p) == found  # or raises
    assert not any(each.flags.writeable for each in (found.t, found.x, found.p))
    assert list(events) == before
    assert change.sensor(sides) == sensor
    assert ours.random() == theirs.random()


@pytest.mark.parametrize(
    "options",
    [
        [Mask(ms, channels, parts) for ms in (0.0, 5.0) for channels in (0, 1, 4) for parts in (1, 2)],
        [Flip(*each) for each in ((0.0, 0.0, 0.0), (1.0, 0.0, 0.5), (0.5, 1.0, 1.0))],
        [Stretch(1.0), Stretch(2.0), RandomShift(0.0), RandomShift(9.0)],
    ],
)
def test_a_change_of_an_option_does_not_change_other_draws(options):
    """Nor what a `Compose` draws afterwards; and a mask's interval is that of any number of channels."""
    after = []
    for change in options:
        r = rng(4)
        change(recording(), SHAPE, r)
        after.append((r.random(), r.integers(1000)))
    assert after == after[:1] * len(options)


def other_voice(voice, x, rng):
    """The formula of `OtherVoice`, one step and one band at a time."""
    middles = voice.to_numbers.bands.frequencies
    bands = range(len(middles))
    levels = 2.0 * x[:, : len(middles)].astype(float)
    factors = [math.exp(rng.uniform(-math.log(most), math.log(most))) for most in (voice.stretch, voice.warp)]
    slow = [(k + 0.5) / factors[0] - 0.5 for k in range(max(1, round(len(levels) * factors[0])))]
    levels = np.array([[np.interp(at, range(len(levels)), levels[:, c]) for c in bands] for at in slow])
    levels = np.array([[np.interp(middles[c] * factors[1], middles, row) for c in bands] for row in levels])
    silent, curve = levels.min(), [rng.normal() for _ in range(3)]
    for c in bands:
        if middles[c] * factors[1] > middles[-1]:
            levels[:, c] = silent
    for c in bands:
        wave = sum(a * math.cos(math.pi * k * c / len(bands)) / math.sqrt(k) for k, a in enumerate(curve, start=1))
        levels[:, c] += voice.gain * wave
    if voice.noise is not None:
        level, slope = levels.max() + rng.uniform(*voice.noise), rng.normal()
        for step, row in enumerate(rng.exponential(size=levels.shape)):
            for c in bands:
                noise = 10 ** ((level + 6 * slope * (c / len(bands) - 0.5)) / 10) * row[c]
                levels[step, c] = 10 * math.log10(10 ** (levels[step, c] / 10) + noise)
    return levels


def numbers_of(levels, range_db):
    """Levels (T, channels) in dB as numbers: a floor, relative to the mean, in 2 dB, and their changes."""
    levels = np.array([[max(level, levels.max() - range_db) for level in row] for row in levels])
    levels = (levels - levels.mean()) / 2
    changes = [levels[k] - levels[k - 2] if k > 1 else 0 * levels[k] for k in range(len(levels))]
    return np.concatenate([levels, changes], axis=1)


@settings(max_examples=150)
@given(
    st.integers(0, 99),
    st.integers(1, 9),
    st.integers(1, 14),
    st.sampled_from([15.0, 40.0, 90.0]),
    st.sampled_from(["mel", "gammatone"]),
    st.fixed_dictionaries(
        {},
        optional={
            "stretch": st.sampled_from([1.3, 2.0]),
            "warp": st.sampled_from([1.2, 1.6]),
            "gain": st.sampled_from([0.5, 6.0]),
            "noise": st.sampled_from([(-50.0, -30.0), (-10.0, 0.0), (-20.0, -20.0)]),
        },
    ),
)
def test_another_voice_is_that_of_a_loop(seed, channels, steps, range_db, scale, options):
    to_numbers = AudioToNumbers(Bands(8000, channels, scale=scale, range_db=range_db), duration=400.0)
    x = numbers_of(rng(seed).uniform(-30, 0, (steps, channels)), range_db).astype(np.float32)
    voice = OtherVoice(to_numbers, **options)
    found = voice(x, (2 * channels,), rng(seed))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, numbers_of(other_voice(voice, x, rng(seed)), range_db), atol=2e-4)
    assert moves_time(voice) == moves_time(Compose((Drop(0.1), voice))) == ("stretch" in options)


def test_the_default_generator_is_the_librarys():
    backend.seed(5)
    first = Drop(0.5)(recording(), SHAPE)
    backend.seed(5)
    assert Drop(0.5)(recording(), SHAPE) == first
    assert Drop(0.5)(recording(), SHAPE) != first


# In a loader


class Recordings:
    duration, classes, shape = 10.0, 3, SHAPE

    def __init__(self, samples=7):
        self.labels = np.arange(samples) % 3

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return recording(seed=index), int(self.labels[index])


def epochs(batch, count=2, **options):
    """Return the spikes (T, samples, ...) of some epochs in the order of the data set."""
    loader = Loader(Recordings(), batch, steps=12, seed=4, **options)
    return [np.concatenate([x for x, _ in loader], axis=1) for _ in range(count)]


def test_a_loaders_transform_depends_on_seed_epoch_and_sample_only():
    change = Compose((Jitter(1), RandomShift(2.0), Drop(0.3)))
    first, second = epochs(2, transform=change)
    assert (epochs(7, transform=change)[1] == second).all()
    assert (first != second).any()
    wanted = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(1, 5)))
    assert (second[:, 5] == change(recording(seed=5), SHAPE, wanted).to_spikes(SHAPE, 12)).all()
    loader = Loader(Recordings(), 7, steps=12, transform=Compose((Crop(rows=(0, 4)), Downsample(2))))
    assert loader.shape == (2, 4, 2)
    (x, _), *_ = loader
    assert x.shape == (12, 7, 2, 4, 2)
    assert Loader(Recordings(), 7, steps=12).shape == SHAPE
    with refuses("Loader: transform must be a Transform"):
        Loader(Recordings(), 7, steps=12, transform=lambda events, shape, rng: events)


def test_an_event_shifted_to_0_ms_is_kept():
    class Back:
        def uniform(self, least, most):
            assert (least, most) == (-2.0, 2.0)
            return -1.0

    shifted = RandomShift(2.0)(Events([0.5, 1.0, 3.5], [0, 1, 2], [0, 0, 0], [0, 1, 0]), SHAPE, Back())
    assert shifted == Events([0.0, 2.5], [1, 2], [0, 0], [1, 0])
