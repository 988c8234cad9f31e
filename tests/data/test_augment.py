"""Transforms of recordings, alone and in a loader."""

import numpy as np
import pytest

from cuslayer import backend
from cuslayer.data import Compose, Crop, Downsample, Drop, Events, Flip, FromStart, Jitter, Loader, RandomShift
from tests.support.refused import refuses

SHAPE = (6, 8, 2)
CHANGES = [
    RandomShift(3.0),
    Jitter(2),
    Flip(0.5, 0.5, 0.5),
    Drop(0.4),
    Crop((1, 5), (2, 8), (1.0, 9.0)),
    Downsample((2, 3)),
    FromStart(),
    Compose((Jitter(1), Crop(rows=(2, 6)), Flip(vertical=1.0), Downsample(2), RandomShift(1.0))),
]


def recording(n=400, shape=SHAPE, seed=0):
    r = np.random.default_rng(seed)
    place = [r.integers(0, side, n) for side in shape]
    t = np.sort(r.uniform(0, 10, n))
    return Events(t, place[0], None, np.ones(n, int)) if len(shape) == 1 else Events(t, place[1], place[0], place[2])


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: type(c).__name__)
def test_events_depend_on_the_seed_and_lie_on_the_returned_sensor(change):
    events = recording()
    before = Events(events.t, events.x, events.y, events.p)
    found = change(events, SHAPE, rng(3))
    assert found == change(events, SHAPE, rng(3))
    assert events == before
    # Both raise unless the events are valid and on the sensor.
    assert Events(found.t, found.x, found.y, found.p) == found
    assert found.to_spikes(change.sensor(SHAPE), 20).sum() > 0
    with pytest.raises(ValueError, match="read-only"):
        found.t[0] = 1
    assert len(change(Events([], [], [], []), SHAPE, rng())) == 0


@pytest.mark.parametrize(
    "change", [RandomShift(3.0), Jitter(2), Flip(1.0), Drop(0.4), Crop(columns=(2, 5)), Downsample(3), FromStart()]
)
def test_one_dimensional_recordings_are_transformed(change):
    events = recording(shape=(9,))
    found = change(events, 9, rng())
    assert found.y is None
    assert found.to_spikes(change.sensor(9), 20).any()


def test_the_default_generator_is_the_librarys():
    backend.seed(5)
    first = Drop(0.5)(recording(), SHAPE)
    backend.seed(5)
    assert Drop(0.5)(recording(), SHAPE) == first
    assert Drop(0.5)(recording(), SHAPE) != first


def test_a_shift_is_uniform_and_equal_for_all_events():
    events = Events([10.0, 20.0], [1, 2], [1, 2], [0, 1])
    shifts = []
    for seed in range(400):
        found = RandomShift(4.0)(events, SHAPE, rng(seed))
        assert np.diff(found.t)[0] == pytest.approx(10.0)
        shifts.append(found.t[0] - 10.0)
    assert -4 <= min(shifts) < -3.8
    assert 3.8 < max(shifts) <= 4
    assert abs(np.mean(shifts)) < 0.4


def test_events_shifted_before_0_are_dropped():
    events = Events([1.0, 2.0, 50.0], [1, 2, 3], [0, 0, 0], [0, 0, 0])
    kept = {len(RandomShift(3.0)(events, SHAPE, rng(seed))) for seed in range(50)}
    assert kept == {1, 2, 3}
    assert all(RandomShift(3.0)(events, SHAPE, rng(seed)).t.min() >= 0 for seed in range(50))


def test_jitter_moves_each_event_independently_and_drops_those_outside():
    events = Events(np.zeros(3000), np.full(3000, 4), np.full(3000, 3), np.zeros(3000, int))
    found = Jitter(2)(events, SHAPE, rng())
    assert len(found) == 3000
    assert np.bincount(found.x, minlength=8).tolist()[:2] == [0, 0]
    for values, middle in ((found.x, 4), (found.y, 3)):
        moves = np.bincount(values - middle + 2)
        assert len(moves) == 5
        assert moves.min() > 500
    assert abs(np.corrcoef(found.x, found.y)[0, 1]) < 0.1
    corner = Events(np.zeros(900), np.zeros(900, int), np.full(900, 5), np.zeros(900, int))
    assert 330 < len(Jitter(1)(corner, SHAPE, rng())) < 470
    assert Jitter(0)(events, SHAPE, rng()) == events


def test_a_flip_mirrors_the_whole_recording():
    events = recording()
    flipped = Flip(1.0, 1.0, 1.0)(events, SHAPE, rng())
    assert flipped == Events(events.t, 7 - events.x, 5 - events.y, 1 - events.p)
    assert Flip(1.0, 1.0, 1.0)(flipped, SHAPE, rng()) == events
    assert Flip(0.0)(events, SHAPE, rng()) == events
    chosen = [Flip(0.25)(events, SHAPE, rng(seed)) for seed in range(200)]
    assert 30 < sum(found != events for found in chosen) < 70
    # With one channel the polarity is not an index.
    assert Flip(0.0, 0.0, 1.0)(events, (6, 8, 1), rng()) == events


def test_drop_keeps_a_fraction_of_the_events_in_order():
    events = recording(4000)
    found = Drop(0.25)(events, SHAPE, rng())
    assert 2850 < len(found) < 3150
    assert (np.diff(found.t) >= 0).all()
    assert np.isin(found.t, events.t).all()
    assert Drop(0.0)(events, SHAPE, rng()) == events


def test_a_crop_is_relative_to_its_start():
    events = Events([1.0, 4.9, 5.0, 5.5], [2, 3, 4, 7], [1, 1, 4, 4], [0, 1, 0, 1])
    crop = Crop(rows=(1, 5), columns=(3, 8), time=(4.0, 5.5))
    assert crop(events, SHAPE) == Events([4.9 - 4.0, 1.0], [0, 1], [0, 3], [1, 0])
    assert crop.sensor(SHAPE) == (4, 5, 2)
    assert Crop()(events, SHAPE) == events


def test_downsampling_keeps_every_event():
    events = recording()
    half = Downsample((2, 3))
    assert half(events, SHAPE) == Events(events.t, events.x // 3, events.y // 2, events.p)
    assert half.sensor(SHAPE) == (3, 3, 2)
    counts = half(events, SHAPE).to_spikes((3, 3, 2), 10, binning="sum")
    whole = np.pad(events.to_spikes(SHAPE, 10, binning="sum"), ((0, 0), (0, 0), (0, 1), (0, 0)))
    assert (counts == whole.reshape(10, 3, 2, 3, 3, 2).sum((2, 4))).all()


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
    with refuses("Loader: transform must be a Transform, got function", TypeError):
        Loader(Recordings(), 7, steps=12, transform=lambda events, shape, rng: events)


def test_an_event_shifted_to_0_ms_is_kept():
    class Back:
        def uniform(self, least, most):
            assert (least, most) == (-2.0, 2.0)
            return -1.0

    shifted = RandomShift(2.0)(Events([0.5, 1.0, 3.5], [0, 1, 2], [0, 0, 0], [0, 1, 0]), SHAPE, Back())
    assert shifted == Events([0.0, 2.5], [1, 2], [0, 0], [1, 0])
