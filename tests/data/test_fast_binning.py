"""Fast binning of the bytes of files: the same spikes and errors as with `Events`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.data import Digits, EventFolder, Events, Loader, Subset, write_events
from cuslayer.data.fast_binning import bin_recordings
from cuslayer.data.loader import Misfits

events = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 1), st.integers(0, 9000)), min_size=1)


def raw(*recorded):
    return b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for x, y, p, t in recorded)


@pytest.mark.filterwarnings("ignore:to_spikes:UserWarning")  # short windows, past which all events may lie
@settings(max_examples=150)
@given(
    st.lists(events, min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 80),
    st.sampled_from([0.1, 0.3, 1.0, 7.0]),
    st.sampled_from(["floor", "nearest"]),
)
def test_fast_binning_equals_to_spikes(recordings, channels, steps, dt, rounding):
    found = bin_recordings([raw(*r) for r in recordings], (5, 7, channels), steps, dt, rounding)[0]
    for sample, recorded in enumerate(recordings):
        x, y, p, t = np.array(recorded).T
        spikes = Events(t / 1000.0, x, y, p).to_spikes((5, 7, channels), steps, dt, rounding=rounding)
        if channels == 1 or p.max() < channels:
            assert (found[:, sample] == spikes).all()


@pytest.mark.parametrize("event", [(7, 0, 0, 0), (0, 5, 0, 0), (255, 255, 1, 2**23 - 1)])
def test_events_outside_return_none(event):
    assert bin_recordings([raw((0, 0, 0, 0)), raw(event)], (5, 7, 2), 3, 1.0, "floor") is None
    # Of events that come late none are counted.
    late = raw((6, 4, 1, 2**23 - 1))
    found, kept = bin_recordings([late, raw((0, 0, 0, 0)) + late], (5, 7, 2), 3, 1.0, "floor")
    assert (found.sum(), kept.tolist()) == (1, [0, 1])


@pytest.mark.parametrize("broken", [b"", raw((0, 0, 0, 0))[:-1]])
def test_files_of_incomplete_records_return_none(broken):
    assert bin_recordings([raw((0, 0, 0, 0)), broken], (5, 7, 2), 3, 1.0, "floor") is None


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    lines = []
    for number in range(5):
        x, y = generator.integers(0, 34, (2, 200))
        recorded = Events(generator.uniform(0, 300, 200), x, y, generator.integers(0, 2, 200))
        write_events(tmp_path / f"{number}.bs2", recorded)
        lines.append(f"{number} {number % 3}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return tmp_path


def batches(dataset, fast):
    loader = Loader(dataset, 2, steps=300, shuffle=True, seed=1)
    if not fast:
        loader._fast_binning = lambda samples, misfits: None
    return list(loader)


def test_the_loader_returns_the_same_with_and_without_fast_binning(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CUSLAYER_CACHE", str(tmp_path))
    for dataset in (EventFolder(folder, folder / "list.txt"), Digits("test")):
        loader = Loader(dataset, 2, steps=300)
        assert loader._fast_binning([0, 1], Misfits()) is not None
        for (x, labels), (y, others) in zip(batches(dataset, True), batches(dataset, False), strict=True):
            assert (x == y).all()
            assert labels.dtype == others.dtype
            assert (labels == others).all()
            labels[:] = 0  # a batch may be written to


def test_errors_are_those_of_reading_events(folder):
    dataset = EventFolder(folder, folder / "list.txt", shape=(34, 20, 2))
    with pytest.raises(ValueError, match=r"^Loader: .*\.bs2: events must lie within"):
        list(Loader(dataset, 2, steps=300))
    dataset = EventFolder(folder, folder / "list.txt")
    (folder / "3.bs2").write_bytes(b"1234567")
    with pytest.raises(ValueError, match=r"3\.bs2 is 7 bytes, not a multiple of 5$"):
        list(Loader(dataset, 2, steps=300))
    (folder / "3.bs2").unlink()
    with pytest.raises(ValueError, match=r"3\.bs2 does not exist$"):
        list(Loader(dataset, 2, steps=300))


def test_other_recordings_are_not_binned_fast(tmp_path):
    write_events(tmp_path / "1.bs1", Events([1.0, 2.0], [3, 4], None, [0, 1]))
    (tmp_path / "list.txt").write_text("1 0")
    dataset = EventFolder(tmp_path, tmp_path / "list.txt", shape=9, suffix=".bs1")
    loader = Loader(dataset, 1, steps=5)
    assert loader._fast_binning([0], Misfits()) is None
    ((x, labels),) = loader
    assert x.shape == (5, 1, 9)
    assert np.argwhere(x).tolist() == [[1, 0, 3], [2, 0, 4]]
    assert labels.tolist() == [0]


@pytest.mark.parametrize("indices", [[3, 1], [-1, 0, 2]])
def test_a_part_of_a_folder_has_its_recordings_labels_and_names(folder, indices):
    dataset = EventFolder(folder, folder / "list.txt")
    part, nested = Subset(dataset, indices), Subset(Subset(dataset, [4, 3, 2, 1, 0]), [4 - i % 5 for i in indices])
    whole, labels = Loader(dataset, 5, steps=300)[0]
    for of in (part, nested):
        for number, index in enumerate(indices):
            assert of[number] == dataset[index]
            assert of.recording(number) == (folder / f"{index % 5}.bs2").read_bytes()
            assert of.where(number).endswith(f"{index % 5}.bs2")
        for fast in (True, False):  # binned from the bytes of files, or read as events
            loader = Loader(of, len(indices), steps=300)
            assert loader._fast_binning([0], Misfits()) is not None
            if not fast:
                loader._fast_binning = lambda samples, misfits: None
            ((x, found),) = loader
            np.testing.assert_array_equal(x, whole[:, indices])
            assert found.tolist() == labels[indices].tolist()
