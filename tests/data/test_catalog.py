"""Known data sets by name, and the adapter for those of tonic."""

import inspect
import os
import sys

import numpy as np
import pytest

from cuslayer.data import Events, FromTonic, Loader, load
from cuslayer.data.catalog import _KNOWN, _order
from tests.support.refused import refused, refuses
from tools import fake_tonic
from tools.fake_tonic import CLASSES, SHD


@pytest.fixture
def tonic(monkeypatch):
    fake_tonic.install(monkeypatch)


@pytest.mark.parametrize("name", _KNOWN)
def test_every_data_set_is_prepared(name, tonic, tmp_path):
    known = _KNOWN[name]
    for split in known.splits:
        data = load(name, tmp_path, split, download=True)
        assert (data.name, data.split) == (name, split)
        assert (data.shape, data.classes) == (known.shape, known.classes)
        assert data.classes == CLASSES[known.kind]
        assert (data.dt, data.duration, data.steps) == (1.0, known.duration, int(known.duration))
        assert data._source._dataset.options == known.splits[split]
        assert known.splits[split].get("single_digits", False) == (name == "ntidigits")
        assert sorted(set(data.labels.tolist())) == list(range(known.classes))
        events, label = data[0]
        assert isinstance(events, Events)
        assert events.t[0] == {"nmnist": 2.0, "cifar10dvs": 0, "dvsgesture": 0}.get(name, 1.5)
        assert label == data.labels[0]
        assert [one for _, one in data] == data.labels.tolist()
        size = f"{len(data)} recordings, {data.steps} steps of 1 ms, shape {known.shape}"
        assert repr(data) == f"Loaded({name!r}, {split!r}, {size}, {known.classes} classes)"
        assert data.where(3) == f"{name}, {split} recording 3"
        with pytest.raises(ValueError, match="read-only"):
            data.labels[0] = 1
    x, labels = Loader(data, batch=2)[0]
    assert x.shape == (data.steps, 2, *known.shape)
    assert x[:3].any()
    assert labels.tolist() == data.labels[:2].tolist()


def test_steps_and_duration_are_options(tonic, tmp_path):
    data = load("shd", tmp_path, download=True, dt=5.0, duration=1000.0)
    assert (data.dt, data.steps) == (5.0, 200)
    x, _ = Loader(data, batch=2)[0]
    assert x.shape == (200, 2, 700)
    assert np.argwhere(x[:, 0]).tolist() == [[0, 3], [140, 0]]


def test_the_order_the_split_and_the_classes_of_recordings(tonic, tmp_path):
    data = load("dvsgesture", tmp_path, download=True)
    assert data.labels.tolist() == [int(label) for label in sorted(map(str, range(11))) for _ in range(3)]
    paths = [data._source._dataset.data[i] for i in data._order]
    assert paths == sorted(paths)
    # By the parts of a path: a folder comes before another whose name goes on.
    listed = type("Listed", (), {"data": [os.path.join(name, "0") for name in ("a-b", "a")], "__len__": lambda self: 2})
    assert _order(listed()).tolist() == [1, 0]
    parts = {split: load("cifar10dvs", tmp_path, split, download=True) for split in ("train", "test")}
    assert [np.bincount(parts[split].labels).tolist() for split in ("train", "test")] == [[20] * 10, [2] * 10]
    paths = {split: {part._source._dataset.data[i] for i in part._order} for split, part in parts.items()}
    assert not paths["train"] & paths["test"]
    assert len(paths["train"] | paths["test"]) == 220
    assert {os.path.basename(path) for path in paths["test"]} == {"009.bin", "019.bin"}
    data = load("ssc", tmp_path, download=True)
    assert data._source._dataset.reads <= 2


def test_nothing_is_downloaded_unless_asked(tonic, tmp_path):
    there = os.path.join(tmp_path, "SHD")
    with refuses(f"load: shd must be in {there}, which lacks files of it", "; download=True fetches them"):
        load("shd", tmp_path)
    assert not os.listdir(tmp_path)
    load("shd", tmp_path, download=True)
    assert load("shd", str(tmp_path)).labels.tolist() == load("shd", tmp_path, download=True).labels.tolist()
    assert os.listdir(tmp_path) == ["SHD"]


def test_without_tonic_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.delitem(sys.modules, "tonic.datasets", raising=False)
    with pytest.raises(ImportError, match=r"^load: tonic is not installed; pip install 'cuslayer\[tonic\]'$"):
        load("nmnist", tmp_path)


def test_arguments_that_do_not_fit_raise(tonic, tmp_path, monkeypatch):
    refused(
        "load: name must be one of cifar10dvs, dvsgesture, nmnist, ntidigits, shd, ssc,", lambda: load("SHDD", tmp_path)
    )
    refused("load: split of shd must be one of train, test", lambda: load("shd", tmp_path, "valid"))
    refused("load: dt must be positive", lambda: load("shd", tmp_path, dt=0))
    refused("load: duration must be positive", lambda: load("shd", tmp_path, duration=-1))
    with refuses("load: duration must be at least a step of 100 ms"):
        load("shd", tmp_path, dt=100.0, duration=20)
    refused("load: root must be a path", lambda: load("shd", 3))
    monkeypatch.setattr(SHD, "sensor_size", (512, 1, 1))
    with refuses("load: recordings of shd must have the shape (700,), tonic's have (512,)"):
        load("shd", tmp_path, download=True)
    with refuses("Loaded: index must lie within 22 samples"):
        load("ntidigits", tmp_path, download=True)[22]


def test_tonics_own_classes_take_these_arguments():
    datasets = pytest.importorskip("tonic.datasets")
    for known in _KNOWN.values():
        kind = getattr(datasets, known.kind)
        for options in known.splits.values():
            inspect.signature(kind).bind("root", **options)
        width, height, channels = kind.sensor_size
        assert known.shape in ((height, width, channels), (width,))
        assert "download" in dir(kind)


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


def test_listed_classes_and_recordings_without_y():
    source = Tonic()
    FromTonic(source, duration=3.0)
    assert set(source.read) == {0}
    data = FromTonic(Tonic(kind=[KIND[0], KIND[2], KIND[3]]), duration=3.0, classes=20)
    assert (data.shape, data.classes) == ((5,), 20)
    assert data[1] == (Events([1.5, 2.999], [4, 1], None, [1, 0]), 0)


def test_invalid_data_sets_raise():
    refused("FromTonic: dataset must have sensor_size", lambda: FromTonic([1], duration=3.0))
    refused("FromTonic: dataset must hold a recording", lambda: FromTonic(Tonic(targets=()), duration=3.0))
    refused("FromTonic: duration must be positive", lambda: FromTonic(Tonic(), duration=0))
    refused("FromTonic: classes must be at least 3", lambda: FromTonic(Tonic(), duration=3.0, classes=2))
    with refuses("FromTonic: a class must be an integer"):
        FromTonic(Tonic(targets=("dog", "cat")), duration=3.0)
    with refuses("FromTonic: sample 0 must have the fields x, y, t, p"):
        FromTonic(Tonic(kind=KIND[:3]), duration=3.0)
    plain = Tonic()
    plain.__class__ = type("Plain", (Tonic,), {"__getitem__": lambda self, index: ([1, 2], 0)})
    refused("FromTonic: sample 0 must have the fields x, t, p", lambda: FromTonic(plain, duration=3.0))
    with refuses("FromTonic: index must lie within 3 samples"):
        FromTonic(Tonic(), duration=3.0)[3]
