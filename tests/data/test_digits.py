"""The embedded digits: recordings, cache file, simulated camera."""

import os
from pathlib import Path

import numpy as np
import pytest

from cuslayer.data import Digits, digits, saccades
from cuslayer.data import simulated_camera as camera
from tests.support.refused import refused

pytestmark = pytest.mark.all


@pytest.fixture(scope="module")
def made():
    return digits._simulate(0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no cached recordings in memory before and after."""
    monkeypatch.setenv("CUSLAYER_CACHE", str(tmp_path))
    digits._recordings.cache_clear()
    yield tmp_path
    digits._recordings.cache_clear()


@pytest.fixture
def quick(made, monkeypatch):
    """Replace the simulation by `made`, and return the list of seeds it was called with."""
    seeds = []

    def make(seed):
        seeds.append(seed)
        return made

    monkeypatch.setattr(digits, "_simulate", make)
    return seeds


def test_the_package_contains_the_digits_and_their_credit():
    images, labels = digits.labelled_images()
    assert images.shape == (1797, 8, 8)
    assert (images.dtype, images.min(), images.max()) == (np.uint8, 0, 16)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    with np.load(Path(digits.__file__).with_name("digits.npz"), allow_pickle=False) as file:
        assert "Alpaydin and C. Kaynak" in str(file["credit"])
        assert "CC BY 4.0" in str(file["credit"])


def test_recordings_have_the_statistics_of_an_event_camera(cache, quick):
    data = Digits("all")
    assert (data.shape, data.classes, data.duration) == ((34, 34, 2), 10, 300.0)
    counts = []
    on = []
    for events, _ in data:
        counts.append(len(events))
        on.append(events.p.mean())
        assert events.t.min() >= 0
        assert 295 < events.t.max() < 300
        assert events.x.max() < 34
        assert events.y.max() < 34
        assert (np.diff(events.t) >= 0).all()
        # Events are spread over the saccades.
        assert (np.histogram(events.t, [0, 100, 200, 300])[0] > 300).all()
    assert 3000 < np.mean(counts) < 5000
    assert min(on) > 0.4
    assert max(on) < 0.6
    events, _ = data[0]
    assert len(np.unique(np.rint(events.t * 1000) % 1000)) > 500


def test_the_path_is_a_triangle_of_three_saccades():
    path = saccades.image_path()
    assert path.shape == (301, 2)
    assert np.allclose(path[[0, 100, 200, 300]], [[-2.6, -3], [2.6, 0], [-2.6, 3], [-2.6, -3]])
    assert np.allclose(path[[50, 150, 250]], [[0, -1.5], [0, 1.5], [-2.6, 0]])
    assert np.hypot(*np.diff(path, axis=0).T).max() < 0.1


def test_recordings_depend_on_the_seed_only(made, monkeypatch):
    images, labels = digits.labelled_images()
    monkeypatch.setattr(digits, "labelled_images", lambda: (images[:9], labels[:9]))
    again, other = digits._simulate(0), digits._simulate(1)
    assert np.array_equal(again.raw, made.raw[: made.offsets[9]])
    assert np.array_equal(again.offsets, made.offsets[:10])
    assert not np.array_equal(other.offsets, again.offsets)


def test_the_split_is_fixed_and_disjoint(cache, quick):
    train, test, everything = Digits("train"), Digits("test"), Digits("all", seed=0)
    assert sorted([*train._number, *test._number]) == list(range(1797))
    assert test._number.tolist() == list(range(0, 1797, 5))
    assert np.array_equal(Digits("test", seed=5)._number, test._number)
    assert test[3] == everything[15]
    assert test.labels.dtype == np.int64
    assert test.labels.tolist() == everything.labels[::5].tolist()
    assert train[-1][1] == train.labels[-1] == everything.labels[1796]
    assert repr(test) == "Digits('test', seed=0, 360 recordings)"


def test_the_cache_returns_the_simulated_recordings(cache, quick, made):
    first = Digits("all")
    assert [p.name for p in cache.iterdir()] == ["digits-v1-seed0.npz"]
    digits._recordings.cache_clear()
    second = Digits("all")
    assert quick == [0]
    assert second._recordings is not first._recordings
    assert np.array_equal(second._recordings.raw, made.raw)
    assert np.array_equal(second._recordings.offsets, made.offsets)
    Digits("all", seed=3)
    assert quick == [0, 3]


def flip_a_bit(raw):
    return raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"nonsense", lambda raw: raw[: len(raw) // 2], flip_a_bit])
def test_a_damaged_cache_is_replaced(cache, quick, made, damage):
    Digits()
    file = cache / "digits-v1-seed0.npz"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    digits._recordings.cache_clear()
    assert np.array_equal(Digits()._recordings.raw, made.raw)
    assert quick == [0, 0]
    assert file.read_bytes() == whole


def test_a_cache_that_is_no_file_or_unfolds_is_not_read(cache, quick, made):
    file = cache / "digits-v1-seed0.npz"
    os.mkfifo(file)
    Digits()
    file.unlink()
    np.savez_compressed(file, raw=made.raw, offsets=made.offsets)
    digits._recordings.cache_clear()
    Digits()
    assert quick == [0, 0]
    # Consistent, but one sample short.
    np.savez(file, raw=made.raw[: made.offsets[-2]], offsets=made.offsets[:-1])
    digits._recordings.cache_clear()
    Digits()
    assert quick == [0, 0, 0]


def test_an_unwritable_cache_is_not_an_error(cache, quick, monkeypatch):
    (cache / "file").write_text("in the way")
    monkeypatch.setenv("CUSLAYER_CACHE", str(cache / "file" / "folder"))
    assert len(Digits()) == 1437
    assert (cache / "file").read_text() == "in the way"


def test_the_default_cache_folder_is_that_of_the_system(monkeypatch, tmp_path):
    monkeypatch.delenv("CUSLAYER_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert digits._cache_file(2) == tmp_path / "cuslayer/digits-v1-seed2.npz"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert digits._cache_file(2) == Path.home() / ".cache/cuslayer/digits-v1-seed2.npz"
    monkeypatch.setattr("sys.platform", "darwin")
    assert digits._cache_file(2) == Path.home() / "Library/Caches/cuslayer/digits-v1-seed2.npz"

    def homeless():
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "home", homeless)
        assert digits._cache_file(2) is None


def test_digits_with_invalid_arguments_raise(cache, quick):
    refused("Digits: split must be one of train, test, all", lambda: Digits("tests"))
    refused("Digits: index must lie within 360 samples", lambda: Digits("test")[360])


def test_the_camera_records_a_moving_edge():
    edge = np.zeros((3, 8))
    edge[:, 4:] = 1.0
    # The sensor moves right by one pixel: pixel 3 turns from black to white, log(1.1 / 0.1) = 2.398.
    path = np.stack([np.zeros(11), np.arange(11) / 10], axis=1)
    events = camera.record(edge, path, np.full((1, 5, 2), 0.5))
    assert events[:, 1].tolist() == [3, 3, 3, 3]
    assert events[:, 3].tolist() == [1, 1, 1, 1]
    level = np.log(0.1) + 0.5 * np.arange(1, 5)
    exact = 10_000 * (np.exp(level) - 0.1)
    # Within a step of 1 ms the logarithm is interpolated linearly.
    assert (np.abs(events[:, 0] - exact) < 200).all()
    back = camera.record(edge, path[::-1], np.full((1, 5, 2), 0.5))
    assert back[:, 3].tolist() == [0, 0, 0, 0]
    # A camera that does not move records nothing.
    assert len(camera.record(edge, np.zeros((11, 2)), np.full((1, 5, 2), 0.5))) == 0


def test_the_camera_extends_its_capacity(monkeypatch):
    noise = np.random.default_rng(0).random((46, 46))
    path = np.stack([5 + 4 * np.sin(np.arange(50.0) / 4), 5 + 4 * np.cos(np.arange(50.0) / 4)], axis=1)
    thresholds = np.full((34, 34, 2), 0.3)
    plenty = camera.record(noise, path, thresholds)
    monkeypatch.setattr(camera, "_CAPACITY", 10)
    assert np.array_equal(camera.record(noise, path, thresholds), plenty)
    assert len(plenty) > 10
    assert (np.diff(plenty[:, 0]) >= 0).all()


def test_digits_are_upright(monkeypatch):
    """Events lie along the edges of the image at its position, and not of the mirrored image."""
    images, labels = digits.labelled_images()
    monkeypatch.setattr(digits, "labelled_images", lambda: (images[:40], labels[:40]))
    made, enlarge = digits._simulate(0), saccades.enlargement(8, 24)
    turns = (lambda m: m, lambda m: m.T, lambda m: m[::-1], lambda m: m[:, ::-1], lambda m: m[::-1, ::-1])
    best = []
    for number in range(40):
        events = digits.decode(made.raw[made.offsets[number] : made.offsets[number + 1]])
        counts = np.zeros((34, 34))
        np.add.at(counts, (events.y, events.x), 1.0)
        fits = []
        for turned in turns:
            picture = np.pad(turned(enlarge @ images[number].astype(float) @ enlarge.T), 5)
            edges = np.hypot(*np.gradient(picture))
            # The largest correlation over all shifts, which has the same scale for mirrored images.
            spectra = np.fft.fft2(counts - counts.mean()) * np.conj(np.fft.fft2(edges - edges.mean()))
            fits.append(np.fft.ifft2(spectra).real.max())
        best.append(int(np.argmax(fits)))
    # Some 0 and 8 are nearly symmetric.
    assert best.count(0) >= 34
