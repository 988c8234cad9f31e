"""`Loader`: batches, order, background thread, errors."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from cuslayer import backend
from cuslayer.data import Events, Loader, open_folder
from tests.support.refused import refused, refuses

SMALL = Path(__file__).parents[3] / "shared/data/nmnist-small"


class Numbered:
    """Sample i has one event, at i ms and pixel i, and class i."""

    duration = 20.0

    def __init__(self, samples=10, shape=(2, 5, 2), broken=None):
        self.samples, self.shape, self.classes, self.broken = samples, shape, samples, broken
        self.labels = np.arange(samples)
        self.read = []

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        self.read.append(index)
        if index == self.broken:
            raise ValueError(f"read_events: {index}.bs2 is empty")
        if len(self.shape) == 1:
            return Events([index], [index], None, [1]), index
        return Events([index], [index % 5], [index // 5], [1]), index


def order(loader):
    return [label for _, labels in loader for label in labels.tolist()]


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("cuslayer-loader")]


def test_batches_hold_the_samples_spikes_in_time_and_place():
    loader = Loader(Numbered(), 4, steps=10)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [x.shape for x, _ in batches] == [(10, 4, 2, 5, 2), (10, 4, 2, 5, 2), (10, 2, 2, 5, 2)]
    for x, labels in batches:
        assert (x.dtype, labels.dtype) == (np.bool_, np.int64)
        assert x.flags.c_contiguous
        found = sorted(tuple(i) for i in np.argwhere(x).tolist())
        wanted = [(i, n, i // 5, i % 5, 1) for n, i in enumerate(labels.tolist())]
        assert found == sorted(wanted)


@pytest.mark.filterwarnings("ignore:to_spikes:UserWarning")  # the event of sample 9 lies past the window
def test_batches_equal_to_spikes_of_each_sample():
    data = Numbered()
    x, labels = next(iter(Loader(data, 10, steps=6, dt=1.5, rounding="nearest")))
    for n, label in enumerate(labels):
        assert (x[:, n] == data[int(label)][0].to_spikes(data.shape, 6, 1.5, rounding="nearest")).all()


def test_recordings_in_one_dimension_make_flat_batches():
    (x, _), *_ = Loader(Numbered(shape=(10,)), 5, steps=10)
    assert x.shape == (10, 5, 10)
    assert [tuple(i) for i in np.argwhere(x)] == [(i, i, i) for i in range(5)]


def test_without_shuffling_the_order_is_the_data_sets():
    loader = Loader(Numbered(), 3, steps=10)
    assert order(loader) == order(loader) == list(range(10))


def test_the_order_depends_on_seed_and_epoch_only():
    loader = Loader(Numbered(), 3, steps=10, shuffle=True, seed=4)
    first, second = order(loader), order(loader)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert loader.epoch == 2
    # The documented rule, so that another version can resume a run.
    wanted = np.arange(10)
    np.random.default_rng((4, 1)).shuffle(wanted)
    assert second == wanted.tolist()
    resumed = Loader(Numbered(), 5, steps=10, shuffle=True, seed=4)
    resumed.epoch = 1
    assert order(resumed) == second
    assert order(Loader(Numbered(), 3, steps=10, shuffle=True, seed=5)) != first


def test_the_default_seed_is_drawn_from_the_librarys_generator():
    backend.seed(3)
    loader = Loader(Numbered(), 3, steps=10, shuffle=True)
    backend.seed(3)
    assert Loader(Numbered(), 3, steps=10, shuffle=True).seed == loader.seed
    assert Loader(Numbered(), 3, steps=10, shuffle=True).seed != loader.seed


def test_drop_last_drops_the_smaller_batch():
    loader = Loader(Numbered(), 4, steps=10, drop_last=True)
    assert len(loader) == 2
    assert order(loader) == list(range(8))
    assert len(Loader(Numbered(), 5, steps=10, drop_last=True)) == len(Loader(Numbered(), 5, steps=10)) == 2


def test_only_the_next_batch_is_prepared():
    data = Numbered()
    batches = iter(Loader(data, 2, steps=10))
    next(batches)
    batches.close()  # waits for what the thread was given
    assert data.read == [0, 1, 2, 3]


def test_an_error_in_the_thread_reaches_the_caller():
    seen = []
    with refuses("read_events: 5.bs2 is empty"):
        for _, labels in Loader(Numbered(broken=5), 2, steps=10):
            seen += labels.tolist()
    assert seen == [0, 1, 2, 3]
    assert threads() == []


def test_an_event_outside_the_sensor_names_its_sample():
    data = Numbered()
    data.shape = (1, 5, 2)
    rule = "events must lie within the sensor (1, 5, 2) (H, W, C), event 0 is at x=0, y=1, p=1"
    refused(f"Loader: sample 5: {rule}", lambda: list(Loader(data, 10, steps=10)))


def test_no_thread_is_left():
    loader = Loader(Numbered(), 2, steps=10)
    list(loader)
    assert threads() == []
    for _ in loader:
        assert len(threads()) == 1
        break
    assert threads() == []
    batches = iter(loader)
    next(batches)
    del batches
    assert threads() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"dt": -1.0}, "dt must be positive, got -1"),
        ({"rounding": "flor"}, "rounding must be one of floor, nearest, got 'flor'; did you mean floor?"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"dataset": Numbered(0)}, "dataset must hold a recording, got none"),
        ({"batch": 11, "drop_last": True}, "batch must be at most 10 for drop_last to leave one, got 11"),
    ],
)
def test_loader_with_invalid_arguments_raises(arguments, message):
    refused(f"Loader: {message}", lambda: Loader(**({"dataset": Numbered(), "batch": 2, "steps": 10} | arguments)))


def test_a_batch_of_nmnist_equals_its_recordings():
    if not SMALL.is_dir():
        pytest.skip("the folder shared/data/nmnist-small is missing")
    train, _ = open_folder(SMALL)
    x, labels = next(iter(Loader(train, 8, steps=300)))
    assert labels.tolist() == train.labels[:8].tolist()
    for n in range(8):
        assert (x[:, n] == train[n][0].to_spikes((34, 34, 2), 300)).all()
