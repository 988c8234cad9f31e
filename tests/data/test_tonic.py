"""`FromTonic`: a data set of tonic in a loader's interface."""

from __future__ import annotations

import numpy as np
import pytest

from cuslayer.data import Events, FromTonic, Loader
from tests.support.refused import refused, refuses

KIND = [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)]


class Tonic:
    """A data set as in tonic: structured events, time in us, sensor (W, H, C)."""

    sensor_size = (5, 4, 2)

    def __init__(self, targets=(2, 0, 1), kind=KIND, listed=True):
        self.kind, self.classes_of = kind, targets
        self.read = []
        if listed:
            self.targets = list(targets)

    def __len__(self):
        return len(self.classes_of)

    def __getitem__(self, index):
        self.read.append(index)
        rows = [(4, 3, 1500, 1), (index, 0, 2999, 0)]
        names = [name for name, _ in self.kind]
        whole = np.array(rows, dtype=KIND)
        return np.array([tuple(row[name] for name in names) for row in whole], dtype=self.kind), self.classes_of[index]


@pytest.mark.parametrize("listed", [True, False])
def test_a_data_set_of_tonic(listed):
    data = FromTonic(Tonic(targets=(np.int64(2), 0, 1), listed=listed), duration=3.0)
    assert (data.shape, data.classes, data.duration, len(data)) == ((4, 5, 2), 3, 3.0, 3)
    assert data.labels.tolist() == [2, 0, 1]
    assert data[-1] == data[2] == (Events([1.5, 2.999], [4, 2], [3, 0], [1, 0]), 1)
    assert [label for _, label in data] == [2, 0, 1]
    assert repr(data) == "FromTonic(Tonic, 3 recordings, shape (4, 5, 2), 3 classes)"
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 1
    (x, labels), *_ = Loader(data, 3, steps=3)
    assert labels.tolist() == [2, 0, 1]
    assert [tuple(i) for i in np.argwhere(x[:, 1])] == [(1, 3, 4, 1), (2, 0, 1, 0)]


def test_listed_classes_are_not_read_from_samples():
    source = Tonic()
    FromTonic(source, duration=3.0)
    assert set(source.read) == {0}


def test_recordings_without_y_are_one_dimensional():
    data = FromTonic(Tonic(kind=[KIND[0], KIND[2], KIND[3]]), duration=3.0, classes=20)
    assert (data.shape, data.classes) == ((5,), 20)
    assert data[1] == (Events([1.5, 2.999], [4, 1], None, [1, 0]), 0)


def test_invalid_data_sets_raise():
    refused("FromTonic: dataset must have sensor_size, got list", lambda: FromTonic([1], duration=3.0), TypeError)
    refused("FromTonic: dataset must hold a recording, got none", lambda: FromTonic(Tonic(targets=()), duration=3.0))
    refused("FromTonic: duration must be positive, got 0", lambda: FromTonic(Tonic(), duration=0))
    refused("FromTonic: classes must be at least 3, got 2", lambda: FromTonic(Tonic(), duration=3.0, classes=2))
    with refuses("FromTonic: a class must be an integer, got str", TypeError):
        FromTonic(Tonic(targets=("dog", "cat")), duration=3.0)
    with refuses("FromTonic: sample 0 must have the fields x, y, t, p, got the fields x, y, t"):
        FromTonic(Tonic(kind=KIND[:3]), duration=3.0)
    plain = Tonic()
    plain.__class__ = type("Plain", (Tonic,), {"__getitem__": lambda self, index: ([1, 2], 0)})
    refused("FromTonic: sample 0 must have the fields x, t, p, got list", lambda: FromTonic(plain, duration=3.0))
    with refuses("FromTonic: index must lie within 3 samples, got 3", IndexError):
        FromTonic(Tonic(), duration=3.0)[3]
