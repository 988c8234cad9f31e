"""`AudioToSpikes` and `Waves`: labelled sounds as spikes, in a loader, with other spikes in each epoch."""

from __future__ import annotations

import numpy as np

from cuslayer.data import (
    AudioToSpikes,
    Bands,
    Compose,
    Delta,
    Drop,
    Events,
    Latency,
    Levels,
    Loader,
    Mask,
    RandomShift,
    Rate,
    ShiftChannels,
    Stretch,
    Subset,
    Waves,
    split,
)
from tests.support.refused import refused, refuses

CODES = (Rate(100.0), Delta(0.2), Levels((0.5, 0.8)), Latency(50.0))
BANDS = Bands(8000, channels=10)
TO_SPIKES = AudioToSpikes(BANDS, CODES, duration=200.0)


def waves(count=6, seed=0):
    rng = np.random.default_rng(seed)
    return [
        np.sin((0.3 + 0.2 * (i % 3)) * np.arange(rng.integers(500, 2500))) + rng.standard_normal(1) / 10
        for i in range(count)
    ]


def test_the_codes_follow_one_another():
    wave = waves()[1]
    spikes = TO_SPIKES(wave)
    assert (TO_SPIKES.populations, TO_SPIKES.neurons, TO_SPIKES.steps, TO_SPIKES.dt) == (6, 60, 40, 5.0)
    assert (spikes.shape, spikes.dtype) == ((40, 60), np.bool_)
    x = BANDS(wave, duration=200.0)
    at = 0
    for code in CODES:
        width = 10 * code.populations
        np.testing.assert_array_equal(spikes[:, at : at + width], code(x, 5.0))
        at += width
    np.testing.assert_array_equal(AudioToSpikes(BANDS, CODES[0], duration=200.0)(wave), spikes[:, :10])
    np.testing.assert_array_equal(AudioToSpikes(BANDS, list(CODES), duration=200.0)(wave), spikes)


def test_silence_has_no_spikes():
    assert not TO_SPIKES(np.zeros(700)).any()
    assert TO_SPIKES(np.zeros(0)).shape == (40, 60)


def test_waves_are_a_data_set():
    given = waves()
    data = Waves(given, [0, 1, 2, 0, 1, 2], TO_SPIKES)
    assert (data.shape, data.classes, data.steps, data.dt, len(data)) == ((60,), 3, 40, 5.0, 6)
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert repr(data) == "Waves(6 recordings, 40 steps of 5 ms, 60 neurons, 3 classes)"
    for _ in range(2):  # of the wave, then of what was kept
        for i, wave in enumerate(given):
            spikes, label = data[i]
            assert label == i % 3
            assert spikes.dtype == np.bool_
            np.testing.assert_array_equal(spikes, TO_SPIKES(wave))
    np.testing.assert_array_equal(data[-1][0], data[5][0])
    x, labels = next(iter(Loader(data, batch=6)))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_array_equal(x, np.stack([TO_SPIKES(wave) for wave in given], axis=1))
    assert Waves(given, np.eye(4)[[0, 1, 2, 3, 0, 1]], TO_SPIKES).classes == 4
    assert Waves(given, [0] * 6, TO_SPIKES, classes=10).classes == 10
    part = Subset(data, [4, 0])
    assert (part.labels.tolist(), part.steps, part.dt) == ([1, 0], 40, 5.0)
    train, test = split(data, test=0.5, seed=0)
    assert (len(train), len(test), train.classes) == (3, 3, 3)


def test_what_is_returned_may_be_changed():
    data = Waves(waves(), [0] * 6, TO_SPIKES)
    spikes = data[1][0]
    assert spikes.any()
    spikes[:] = False
    assert data[1][0].any()


def test_a_loader_changes_the_spikes_differently_in_each_epoch_and_equally_for_a_seed():
    data = Waves(waves(), [0] * 6, TO_SPIKES)
    change = Compose((Stretch(1.2), RandomShift(20.0), ShiftChannels(2, populations=6), Drop(0.1)))

    def epochs(seed, batch=3, shuffle=False):
        loader = Loader(data, batch=batch, seed=seed, transform=change, shuffle=shuffle)
        return [np.concatenate([x for x, _ in loader], axis=1) for _ in range(2)]

    first, second = epochs(0)
    assert first.shape == (40, 6, 60)
    assert (first != second).any()
    assert all((a != b).any() for a, b in zip(first.swapaxes(0, 1), second.swapaxes(0, 1), strict=True))
    np.testing.assert_array_equal(epochs(0), [first, second])
    np.testing.assert_array_equal(epochs(0, batch=4), [first, second])
    assert (epochs(1)[0] != first).any()
    # The order of the samples does not matter to what is drawn.
    order = np.arange(6)
    np.random.default_rng((0, 0)).shuffle(order)
    np.testing.assert_array_equal(epochs(0, shuffle=True)[0], first[:, order])


def test_channels_move_together_and_stay_within_their_population():
    events = Events(np.arange(6.0), [0, 4, 5, 9, 10, 14], None, [0] * 6)  # three populations of 5
    seen = set()
    for seed in range(40):
        found = ShiftChannels(2, populations=3)(events, (15,), np.random.default_rng(seed))
        assert (found.x // 5 == found.t // 2).all()
        move = set((found.x - np.array([0, 4, 5, 9, 10, 14])[found.t.astype(int)]).tolist())
        assert len(move) == 1
        seen |= move
        assert len(found) == (6 if move == {0} else 3)
    assert seen == {-2, -1, 0, 1, 2}
    assert ShiftChannels(0)(events, (15,)) == events
    camera = Events([0.0, 1.0], [3, 3], [2, 2], [0, 1])
    found = ShiftChannels(1)(camera, (4, 8, 2), np.random.default_rng(0))
    assert (found.y.tolist(), found.p.tolist()) == ([2, 2], [0, 1])
    assert found.x[0] == found.x[1]


def test_a_stretch_multiplies_all_times():
    events = Events([1.0, 10.0, 20.0], [0, 1, 2], None, [0, 0, 0])
    factors = []
    for seed in range(200):
        found = Stretch(2.0)(events, (3,), np.random.default_rng(seed))
        np.testing.assert_allclose(found.t / events.t, found.t[0])
        factors.append(found.t[0])
    assert 0.5 <= min(factors) < 0.6
    assert 1.8 < max(factors) <= 2
    # As often slower as faster.
    assert abs(np.mean(np.log(factors))) < 0.1
    assert Stretch(1.0)(events, (3,)) == events


def test_a_mask_drops_one_interval_and_the_same_channels_of_each_population():
    time, neuron = (grid.ravel() for grid in np.meshgrid(np.arange(50.0), np.arange(30), indexing="ij"))
    events = Events(time, neuron, None, 0 * neuron)  # three populations of 10
    lengths, widths, starts, places = set(), set(), set(), set()
    for seed in range(200):
        found = Mask(20.0, channels=4, populations=3)(events, (30,), np.random.default_rng(seed))
        left = np.zeros((50, 3, 10), bool)
        left[found.t.astype(int), found.x // 10, found.x % 10] = True
        silent, dropped = ~left.any(axis=(1, 2)), ~left.any(axis=(0, 1))
        assert (left == (~silent[:, None, None] & ~dropped[None, None, :])).all()
        assert not silent[-1]
        for gap, sizes, begins in ((silent, lengths, starts), (dropped, widths, places)):
            at = np.flatnonzero(gap)
            assert len(at) == 0 or at[-1] - at[0] + 1 == len(at)
            sizes.add(len(at))
            begins.update(at[:1].tolist())
    assert (min(lengths), max(lengths), widths) == (0, 20, {0, 1, 2, 3, 4})
    assert min(starts) < 3
    assert max(starts) > 40
    assert places == set(range(10))
    assert Mask(0.0)(events, (30,)) == events
    assert Mask(1e9)(events, (30,), np.random.default_rng(0)).t.size in (0, events.t.size)
    assert len(Mask(5.0, 2)(Events([], [], None, []), (4,))) == 0


def test_silence_before_a_wave():
    ahead = AudioToSpikes(TO_SPIKES.bands, TO_SPIKES.codes, TO_SPIKES.duration, lead=50.0)
    wave, late = waves()[1], round(50.0 / TO_SPIKES.dt)
    assert not ahead(wave)[:late].any()
    np.testing.assert_array_equal(ahead(wave)[late:], TO_SPIKES(wave)[: ahead.steps - late])
    nearly = AudioToSpikes(TO_SPIKES.bands, TO_SPIKES.codes, 20.0, lead=19.9)
    assert nearly(wave).shape == (round(20 / TO_SPIKES.dt), TO_SPIKES.neurons)
    assert not nearly(wave).any()
    with refuses("AudioToSpikes: lead must be under duration, 20 ms, got 20"):
        AudioToSpikes(TO_SPIKES.bands, TO_SPIKES.codes, 20.0, lead=20.0)
    with refuses("AudioToSpikes: lead must not be negative, got -1"):
        AudioToSpikes(TO_SPIKES.bands, TO_SPIKES.codes, 20.0, lead=-1.0)


def test_errors_of_transforms():
    refused("Mask: ms must not be negative, got -1", lambda: Mask(-1.0))
    refused("Mask: channels must be at least 0, got -1", lambda: Mask(1.0, -1))
    with refuses("Mask: populations must divide the 7 neurons, got 2"):
        Mask(1.0, populations=2)(Events([], [], None, []), (7,))
    with refuses("Mask: channels must be at most the 7 of the recording, got 8"):
        Mask(1.0, 8)(Events([], [], None, []), (7,))
    refused("ShiftChannels: channels must be at least 0, got -1", lambda: ShiftChannels(-1))
    refused("ShiftChannels: populations must be at least 1, got 0", lambda: ShiftChannels(1, populations=0))
    with refuses("ShiftChannels: populations must divide the 7 neurons, got 2"):
        ShiftChannels(1, populations=2)(Events([], [], None, []), (7,))
    with refuses("ShiftChannels: events must lie within 7 neurons, event 0 is at x=7"):
        ShiftChannels(1)(Events([0.0], [7], None, [0]), (7,))
    refused("ShiftChannels: channels must be an integer, got float", lambda: ShiftChannels(1.5), TypeError)
    refused("Stretch: factor must be at least 1, got 0.9", lambda: Stretch(0.9))
    refused("Stretch: factor must be a number, got str", lambda: Stretch("2"), TypeError)


def test_errors_of_what_makes_spikes():
    op = "AudioToSpikes"
    refused(f"{op}: bands must be Bands, got int", lambda: AudioToSpikes(8000, CODES, duration=200.0), TypeError)
    refused(f"{op}: codes must have a code, got none", lambda: AudioToSpikes(BANDS, (), duration=200.0))
    with refuses(f"{op}: a code must be one such as Rate(...), got str", TypeError):
        AudioToSpikes(BANDS, "rate", duration=200.0)
    with refuses(f"{op}: a code is the class Rate; write Rate(...)", TypeError):
        AudioToSpikes(BANDS, Rate, duration=200.0)
    refused(f"{op}: duration must be positive, got 0", lambda: AudioToSpikes(BANDS, CODES, duration=0))
    refused(f"{op}: duration must be at least a step of 5 ms, got 2", lambda: AudioToSpikes(BANDS, CODES, duration=2))


def test_errors_of_waves():
    refused("Waves: to_spikes must be AudioToSpikes, got Bands", lambda: Waves(waves(), [0] * 6, BANDS), TypeError)
    refused("Waves: waves must hold a wave, got none", lambda: Waves([], [], TO_SPIKES))
    refused("Waves: waves and y must have one length, got 6 and 5", lambda: Waves(waves(), [0] * 5, TO_SPIKES))
    with refuses("Waves: classes must be at least 3 for these y, got 2"):
        Waves(waves(), [0, 1, 2, 0, 1, 2], TO_SPIKES, classes=2)
    refused("Waves: y must hold a class, got none", lambda: Waves(waves(), [], TO_SPIKES))
    with refuses("Waves: y must be (samples,) or one-hot (samples, classes), got spike trains"):
        Waves(waves(), np.zeros((6, 4, 2), bool), TO_SPIKES)
    refused("Waves: y must be integers from 0, sample 1 has -1", lambda: Waves(waves(2), [0, -1], TO_SPIKES))
    with refuses("Waves: sample 1: Bands: wave must be (samples,), got shape ()"):
        Waves([np.zeros(4), np.float64(0)], [0, 1], TO_SPIKES)[1]
    with refuses("Waves: sample 0: Bands: wave must be floating or signed integers, got bool", TypeError):
        Waves([np.zeros(4, bool)], [0], TO_SPIKES)[0]
    refused("Waves: index must lie within 6 samples, got 6", lambda: Waves(waves(), [0] * 6, TO_SPIKES)[6], IndexError)
