"""Archives of labelled waves and WAV files: what is read, and what is refused in one line."""

from __future__ import annotations

import re
import wave
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from cuslayer import check
from cuslayer.data import read_sounds, read_wave

ARRAYS = {
    "audio": np.arange(-5, 5, dtype=np.int16),
    "start": np.array([0, 3, 3, 10]),
    "label": np.array([1, 0, 1], np.uint8),
    "speaker": np.array(["b", "a", "b"]),
    "take": np.array([5, 6, 7]),
}


def saved(folder, **changes):
    path = folder / "sounds.npz"
    np.savez(path, **{name: values for name, values in (ARRAYS | changes).items() if values is not None})
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_waves_labels_and_fields(tmp_path, save):
    save(tmp_path / "s.npz", **ARRAYS, rate=np.array(8000))
    sounds = read_sounds(tmp_path / "s.npz")
    assert [each.tolist() for each in sounds.waves] == [[-5, -4, -3], [], [-2, -1, 0, 1, 2, 3, 4]]
    assert sounds.labels.tolist() == [1, 0, 1]
    assert sounds.labels.dtype == np.int64
    assert sorted(sounds.fields) == ["speaker", "take"]
    assert sounds.where("take", [5, 7]).tolist() == [True, False, True]
    some = sounds.select(sounds.where("speaker", ["a"]))
    assert [len(some.waves), some.labels.tolist(), some.fields["take"].tolist()] == [1, [0], [6]]
    with pytest.raises(ValueError, match=r"^read_sounds: the file has no field 'age'; its fields: speaker, take$"):
        sounds.where("age", [1])
    with pytest.raises(ValueError, match=r"^read_sounds: no recording has take 8, 9$"):
        sounds.where("take", [8, 9])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "{} has no array 'label'; it must have audio, start and label"),
        ({"audio": np.zeros((2, 5))}, "{}: audio must be (samples,) signed integers or floating, got float64 (2, 5)"),
        (
            {"audio": np.zeros(10, np.uint8)},
            "{}: audio must be (samples,) signed integers or floating, got uint8 (10,)",
        ),
        ({"label": np.zeros(3)}, "{}: label must be integers in one dimension, got float64 (3,)"),
        ({"start": np.array([0, 10])}, "{}: start must have one number more than label, got 2 and 3"),
        ({"start": np.array([0, 4, 3, 10])}, "{}: start must ascend from 0 to the 10 samples of audio"),
        ({"start": np.array([0, 3, 4, 9])}, "{}: start must ascend from 0 to the 10 samples of audio"),
        ({"start": np.array([1, 3, 4, 10])}, "{}: start must ascend from 0 to the 10 samples of audio"),
        ({"label": np.array([0, 1, -1])}, "{}: label must be integers from 0, got -1"),
        ({"speaker": np.array([{}], object)}, "{} is no npz file of arrays (ValueError)"),
    ],
)
def test_archives_that_do_not_fit(tmp_path, changes, message):
    path = saved(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(f'read_sounds: {path}'))}$"):
        read_sounds(path)


def test_archives_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^read_sounds: .*none\.npz cannot be read \(No such file or directory\)$"):
        read_sounds(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValueError, match=r"^read_sounds: .*text\.npz is no npz file of arrays \(BadZipFile\)$"):
        read_sounds(tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as file:
        content = saved(tmp_path).read_bytes()
        file.writestr("audio.npy", content[:40])
    with pytest.raises(ValueError, match=r"^read_sounds: .*short\.npz "):
        read_sounds(tmp_path / "short.npz")
    monkeypatch.setattr(check, "_machine_memory", lambda: 19)
    with pytest.raises(ValueError, match=r"^read_sounds: .*: array audio must fit into memory, got shape \(10,\) of "):
        read_sounds(saved(tmp_path))


def write(path, samples, channels=1, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_wav_files(tmp_path, dtype):
    samples = np.array([0, 5, np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    found, rate = read_wave(write(tmp_path / "a.wav", samples, rate=11025))
    assert (found.tolist(), rate) == (samples.tolist(), 11025)
    both, _ = read_wave(write(tmp_path / "b.wav", samples, channels=2))
    np.testing.assert_allclose(both, samples.reshape(2, 2).mean(axis=1) / -float(np.iinfo(dtype).min))


def test_wav_files_of_bytes(tmp_path):
    found, _ = read_wave(write(tmp_path / "a.wav", np.array([128, 255, 0], np.uint8)))
    assert (found.tolist(), found.dtype.name) == ([0, 127, -128], "int8")


def test_wav_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"^read_wave: .*none\.wav cannot be read \(No such file or directory\)$"):
        read_wave(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("text, and more of it")
    with pytest.raises(ValueError, match=r"^read_wave: .*text\.wav is no WAV file of uncompressed samples \(.*\)$"):
        read_wave(tmp_path / "text.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^read_wave: .*empty\.wav is no WAV file of uncompressed samples \(it ends"):
        read_wave(tmp_path / "empty.wav")
    path = tmp_path / "24.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(8000)
        file.writeframes(b"123456")
    with pytest.raises(ValueError, match=r"^read_wave: .*24\.wav: samples must have 8, 16 or 32 bits, got 24$"):
        read_wave(path)


def test_a_wav_file_that_ends_early_has_its_first_samples_or_is_refused(tmp_path):
    whole, read = write(tmp_path / "cut.wav", np.arange(100, dtype=np.int16)).read_bytes(), 0
    for size in range(0, len(whole), 7):
        (tmp_path / "cut.wav").write_bytes(whole[:size])
        with suppress(ValueError):
            found, _ = read_wave(tmp_path / "cut.wav")
            assert found.tolist() == list(range(len(found)))
            read += 1
    assert read > 20
