"""Data sets in folders: `EventFolder`, `NMNIST`, `open_folder`."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.data import NMNIST, EventFolder, Events, Loader, Subset, open_folder, write_events
from cuslayer.data.fast_binning import bin_recordings
from cuslayer.data.formats import FORMATS
from cuslayer.data.loader import Misfits
from tests.support.event_bytes import write_any
from tests.support.refused import refused, refuses


def recording(number):
    return Events([1.0, 2.0], [number % 34, 1], [0, 0], [1, 0])


def folder_of(path, **lists):
    """Create a folder with lists, given as text, and all recordings in them."""
    path.mkdir(exist_ok=True)
    for name, text in lists.items():
        (path / f"{name}.txt").write_text(text)
        for line in text.splitlines():
            if line.strip()[:1].isdigit():
                number = int(line.split()[0])
                write_events(path / f"{number}.bs2", recording(number))
    return path


def nmnist_of(path, per_digit=2):
    number = 0
    for digit in range(10):
        (path / str(digit)).mkdir(parents=True)
        for _ in range(per_digit):
            write_events(path / str(digit) / f"{number:05d}.bin", recording(number))
            number += 1
    return path


def test_a_folder_has_the_recordings_in_the_order_of_the_list(tmp_path):
    data = EventFolder(folder_of(tmp_path, train="#sample #class\n7\t2\n\n 3  0\n"), tmp_path / "train.txt")
    assert len(data) == 2
    assert (data.shape, data.classes, data.duration) == ((34, 34, 2), 3, 300.0)
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [2, 0]
    assert data[0] == (recording(7), 2)
    assert data[-1] == (recording(3), 0)
    assert [label for _, label in data] == [2, 0]
    assert repr(data) == "EventFolder(2 recordings, shape (34, 34, 2), 3 classes)"


def test_a_folder_of_one_dimensional_recordings(tmp_path):
    write_events(tmp_path / "1.bs1", Events([1.0], [199], None, [1]))
    (tmp_path / "list.txt").write_text("1 0\n")
    data = EventFolder(tmp_path, tmp_path / "list.txt", 200, ".bs1", classes=2, duration=1900)
    assert (data.shape, data.classes, data.duration) == ((200,), 2, 1900.0)
    assert data[0][0].y is None
    loader = Loader(data, 1, steps=5)
    assert loader._fast_binning([0], Misfits()) is None
    ((x, labels),) = loader
    assert x.shape == (5, 1, 200)
    assert np.argwhere(x).tolist() == [[1, 0, 199]]
    assert labels.tolist() == [0]
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 1


def test_an_index_after_the_last_ends_an_iteration(tmp_path):
    data = EventFolder(folder_of(tmp_path, train="1 0\n"), tmp_path / "train.txt")
    for index in (1, -2):
        with refuses("EventFolder: index must lie within 1 samples"):
            data[index]
    refused("EventFolder: index must be an integer", lambda: data["1"])


@pytest.mark.parametrize("line", ["8", "8 1 1", "eight 1", "8 -1", "8 1.0"])
def test_a_malformed_line_is_named(tmp_path, line):
    folder_of(tmp_path, train="1 0\n")
    (tmp_path / "train.txt").write_text(f"# head\n1 0\n{line}\n")
    with refuses(f"EventFolder: {tmp_path}/train.txt line 3 must be 'number class', two integers from 0"):
        EventFolder(tmp_path, tmp_path / "train.txt")


def test_missing_recordings_are_reported_at_once(tmp_path):
    folder_of(tmp_path, train="1 0\n2 1\n3 1\n")
    for name in ("2.bs2", "3.bs2"):
        (tmp_path / name).unlink()
    message = f"{tmp_path} must hold all of {tmp_path}/train.txt, 2.bs2 is missing (2 of 3 are)"
    refused(f"EventFolder: {message}", lambda: EventFolder(tmp_path, tmp_path / "train.txt"))


def test_event_folder_with_invalid_arguments_raises(tmp_path):
    folder_of(tmp_path, train="1 4\n", none="# head\n")
    train = tmp_path / "train.txt"
    refused(f"EventFolder: folder {tmp_path}/no does not exist", lambda: EventFolder(tmp_path / "no", train))
    refused(f"EventFolder: folder {train} is not a folder", lambda: EventFolder(train, train))
    refused(f"EventFolder: list {tmp_path}/no.txt does not exist", lambda: EventFolder(tmp_path, tmp_path / "no.txt"))
    refused(f"EventFolder: list {tmp_path} is not a file", lambda: EventFolder(tmp_path, tmp_path))
    with refuses(f"EventFolder: list {tmp_path}/none.txt must name a recording"):
        EventFolder(tmp_path, tmp_path / "none.txt")
    with refuses(f"EventFolder: classes must be above each class in {train}"):
        EventFolder(tmp_path, train, classes=4)
    with refuses("EventFolder: suffix must be one of .bs2, .bin, .bs1, .bs3, .dat, .raw, .npy, .h5, .hdf5,"):
        EventFolder(tmp_path, train, suffix=".bs4")
    refused("EventFolder: duration must be positive", lambda: EventFolder(tmp_path, train, duration=0))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe1 0")
    with refuses(f"EventFolder: list {tmp_path}/bytes.txt must be text"):
        EventFolder(tmp_path, tmp_path / "bytes.txt")


def test_nmnist_reads_the_folder_of_each_digit_by_name(tmp_path, monkeypatch):
    nmnist_of(tmp_path / "Train")
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listed(path), reverse=True))
    data = NMNIST(tmp_path / "Train")
    assert len(data) == 20
    assert (data.shape, data.classes, data.duration) == ((34, 34, 2), 10, 300.0)
    assert data.labels.tolist() == [digit for digit in range(10) for _ in range(2)]
    assert [Path(data.where(i)).stem for i in range(20)] == [f"{number:05d}" for number in range(20)]
    assert data[7] == (recording(7), 3)
    for file in (tmp_path / "Train/4").iterdir():
        file.unlink()
    message = f"folder {tmp_path}/Train must hold folders 0 to 9 of .bin files, 4 has none"
    refused(f"NMNIST: {message}", lambda: NMNIST(tmp_path / "Train"))


def test_open_folder_finds_nmnists_layout(tmp_path):
    nmnist_of(tmp_path / "Train", 2)
    nmnist_of(tmp_path / "Test", 1)
    train, test = open_folder(tmp_path)
    assert (type(train), len(train), len(test)) == (NMNIST, 20, 10)


def test_open_folder_finds_lists_and_one_number_of_classes(tmp_path):
    train, test = open_folder(folder_of(tmp_path, train2="1 0\n2 4\n", testing="3 1\n"))
    assert (len(train), len(test)) == (2, 1)
    assert train.classes == test.classes == 5
    folder = folder_of(tmp_path / "several", train="1 0\n", train2="1 0\n2 1\n", test="3 0\n")
    train, test = open_folder(folder, train_list="train2.txt")
    assert (len(train), len(test)) == (2, 1)
    _, test = open_folder(folder, folder / "train.txt", folder / "train2.txt")
    assert len(test) == 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_open_folder_finds_the_format_of_its_files(tmp_path, suffix):
    flat = suffix == ".bs1"
    for number in (3, 4, 5):
        write_any(tmp_path / f"{number}{suffix}", [1000, 2000], [6, 3], [2, 0], [1, 0])
    write_events(tmp_path / "99.bs3", Events([1.0], [6], [2], [1]))
    (tmp_path / "train.txt").write_text("3 0\n4 1\n")
    (tmp_path / "test.txt").write_text("5 0\n")
    shape = 7 if flat else (3, 7, 2)
    for options in ({}, {"suffix": suffix}):
        train, test = open_folder(tmp_path, shape=shape, **options)
        assert train.shape == test.shape == ((7,) if flat else shape)
        assert test.where(0) == f"{tmp_path}/5{suffix}"
        assert len(train[1][0]) == 2
    data = EventFolder(tmp_path, tmp_path / "train.txt", shape)
    assert data.where(1) == f"{tmp_path}/4{suffix}"


def test_of_two_complete_formats_the_first_known_one_is_read_unless_another_is_given(tmp_path):
    folder_of(tmp_path, train="1 0\n", test="2 0\n")
    for number in (1, 2):
        write_events(tmp_path / f"{number}.npy", recording(number))
    assert open_folder(tmp_path)[0].where(0).endswith("1.bs2")
    assert open_folder(tmp_path, suffix=".npy")[0].where(0).endswith("1.npy")


def test_open_folder_refuses_a_shape_or_a_suffix_that_does_not_fit(tmp_path):
    with refuses("open_folder: shape must be (H, W, C), or a number of neurons"):
        open_folder(tmp_path, shape=(3, 4))
    with refuses("open_folder: suffix must be one of .bs2, .bin, .bs1, .bs3, .dat, .raw, .npy, .h5, .hdf5,"):
        open_folder(tmp_path, suffix=".bs4")
    for name in ("Train", "Test"):
        nmnist_of(tmp_path / name, 1)
    layout = f"open_folder: {tmp_path} has the layout of N-MNIST, Train/ and Test/: its"
    refused(f"{layout} shape must be (34, 34, 2)", lambda: open_folder(tmp_path, shape=(8, 8, 2)))
    refused(f"{layout} suffix must be .bin", lambda: open_folder(tmp_path, suffix=".bs2"))
    assert len(open_folder(tmp_path, shape=(34, 34, 2), suffix=".bin")[0]) == 10


def test_open_folder_errors_name_the_layouts(tmp_path, monkeypatch):
    rule = f"{tmp_path} must hold Train/ and Test/, or one list train*.txt and one test*.txt"
    refused(f"open_folder: {rule}", lambda: open_folder(tmp_path))
    folder_of(tmp_path, train="1 0\n", train2="2 1\n")
    refused(f"open_folder: {rule}", lambda: open_folder(tmp_path))
    (tmp_path / "train2.txt").unlink()
    refused(f"open_folder: {rule}", lambda: open_folder(tmp_path))
    refused(f"open_folder: folder {tmp_path}/no does not exist", lambda: open_folder(tmp_path / "no"))
    folder_of(tmp_path, train="1 0\n", train2="2 1\n", train3="3 1\n", test="3 0\n")
    found = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: sorted(found(path, pattern), reverse=True))
    with pytest.raises(ValueError, match=r"got 3 lists train\*\.txt: train\.txt, train2\.txt, train3\.txt$"):
        open_folder(tmp_path)


def test_a_short_read_disables_fast_binning(tmp_path, monkeypatch):
    data = NMNIST(nmnist_of(tmp_path / "Train", 1))
    assert len(data.recording(3)) == 10
    read = os.read
    monkeypatch.setattr(os, "read", lambda file, size: read(file, size - 5))
    assert data.recording(3) is None


# Fast binning of the bytes of files: the same spikes and errors as with `Events`


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


def test_events_outside_and_incomplete_records_return_none():
    outside = raw((7, 0, 0, 0)), raw((0, 5, 0, 0)), raw((255, 255, 1, 2**23 - 1))
    for broken in (*outside, b"", raw((0, 0, 0, 0))[:-1]):
        assert bin_recordings([raw((0, 0, 0, 0)), broken], (5, 7, 2), 3, 1.0, "floor") is None
    # Of events that come late none are counted.
    late = raw((6, 4, 1, 2**23 - 1))
    found, kept = bin_recordings([late, raw((0, 0, 0, 0)) + late], (5, 7, 2), 3, 1.0, "floor")
    assert (found.sum(), kept.tolist()) == (1, [0, 1])


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
