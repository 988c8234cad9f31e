"""The Yin-Yang data set, against its geometry."""

import numpy as np
import pytest

from cuslayer.data import Events, Loader, YinYang, load
from tests.support.refused import refuses


def areas(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the class of points: the upper half, with a bulge to the left, without one to the right, and the dots."""
    left, right = np.hypot(x - 0.25, y - 0.5), np.hypot(x - 0.75, y - 0.5)
    upper = np.where(left <= 0.25, True, np.where(right <= 0.25, False, y > 0.5))
    return np.where((left < 0.1) | (right < 0.1), 2, upper.astype(int))


@pytest.mark.parametrize(("split", "count"), [("train", 5000), ("valid", 1000), ("test", 1000)])
def test_the_points(split, count):
    data = YinYang(split)
    x, y = data.points[:, :2].T
    assert len(data) == count
    assert (np.hypot(x - 0.5, y - 0.5) <= 0.5).all()
    np.testing.assert_array_equal(data.labels, areas(x, y))
    np.testing.assert_array_equal(data.points[:, 2:], 1 - data.points[:, :2])
    assert abs(np.bincount(data.labels) / count - 1 / 3).max() < 0.05
    assert np.array_equal(YinYang(split).points, data.points)


def test_the_draws_are_those_of_the_authors():
    """For each point, a class, then pairs of numbers until one is of the class, by NumPy's first generator."""
    data, generator = YinYang("train"), np.random.RandomState(42)
    for i in range(100):
        label = generator.randint(3)
        while True:
            x, y = generator.rand(2)
            if np.hypot(x - 0.5, y - 0.5) <= 0.5 and areas(x, y) == label:
                break
        assert (*data.points[i, :2], data.labels[i]) == (x, y, label)


def test_the_spikes():
    data = YinYang("test", latest=10.0, fifth=4.0, duration=12.0)
    events, label = data[3]
    assert isinstance(events, Events)
    order = np.argsort(events.x)
    np.testing.assert_allclose(events.t[order], [*(10 * data.points[3]), 4.0])
    assert label == data.labels[3]
    loaded = load("yin-yang", split="test", dt=0.5)
    spikes, labels = Loader(loaded, batch=7)[0]
    assert spikes.shape == (120, 7, 5)
    assert (spikes.sum(axis=0) == 1).all()
    np.testing.assert_array_equal(spikes.argmax(axis=0)[:, :4], np.floor(60 * loaded.points[:7]))
    assert (spikes.argmax(axis=0)[:, 4] == 40).all()
    np.testing.assert_array_equal(labels, loaded.labels[:7])
    assert load("yin-yang", duration=45.0).steps == 45


def test_wrong_arguments():
    with refuses("YinYang: split must be one of train, valid, test, got 'all'"):
        YinYang("all")
    with refuses("YinYang: duration must be longer than the times of spikes, 30 ms, got 30"):
        YinYang(duration=30.0)
    with refuses("load: root must be the folder of the files of smnist, got None"):
        load("smnist")
