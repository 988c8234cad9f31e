"""Archives of labelled waves and WAV files: what is read, and what is refused in one line."""

import os
import re
import struct
import tracemalloc
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cuslayer import check
from cuslayer.data import read_sounds, read_wave
from tests.support.refused import raises

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
    raises(r"^read_sounds: the file has no field 'age'; its fields: speaker, take$", lambda: sounds.where("age", [1]))
    raises(r"^read_sounds: no recording has take 8, 9$", lambda: sounds.where("take", [8, 9]))


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
        ({"label": np.array([0, 1, -1])}, "{}: label must be integers from 0, under 2147483648, got -1"),
        (
            {"label": np.array([0, 2**63 + 1, 1], np.uint64)},
            f"{{}}: label must be integers from 0, under 2147483648, got {2**63 + 1}",
        ),
        ({"speaker": np.array([{}], object)}, "{} is no npz file of arrays (ValueError)"),
    ],
)
def test_archives_that_do_not_fit(tmp_path, changes, message):
    path = saved(tmp_path, **changes)
    raises(f"^{re.escape(message.format(f'read_sounds: {path}'))}$", lambda: read_sounds(path))


def test_archives_that_are_none(tmp_path, monkeypatch):
    raises(r"^read_sounds: .*none\.npz does not exist$", lambda: read_sounds(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValueError, match=r"^read_sounds: .*text\.npz is no npz file of arrays \(BadZipFile\)$"):
        read_sounds(tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as file:
        content = saved(tmp_path).read_bytes()
        file.writestr("audio.npy", content[:40])
    raises(r"^read_sounds: .*short\.npz ", lambda: read_sounds(tmp_path / "short.npz"))
    monkeypatch.setattr(check, "_machine_memory", lambda: 19)
    with pytest.raises(ValueError, match=r"^read_sounds: .*: array audio must fit into memory, got shape \(10,\) of "):
        read_sounds(saved(tmp_path))


@pytest.mark.parametrize("read", [read_sounds, read_wave])
def test_what_is_no_file_is_not_opened(tmp_path, read):
    pipe, device, folder = (tmp_path / name for name in ("pipe", "device", "folder"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    folder.mkdir()
    for path, what in ((pipe, "named pipe"), (device, "device"), (folder, "folder")):
        with pytest.raises(ValueError, match=f"^{read.__name__}: {path} is a {what}, not a file$"):
            read(path)
    raises(f"^{read.__name__}: path must be a path, got int$", lambda: read(3), TypeError)


@pytest.mark.parametrize("name", ["audio", "speaker", "noise"])
def test_archives_that_unfold_are_refused_before_memory_is_taken(tmp_path, name):
    """16 MB, or eight times the size of the file, are read."""
    for size, fits in ((1 << 21, True), (1 << 25, False)):
        whole = {"start": np.array([0, 2, size]), "label": np.array([0, 1])} if name == "audio" else ARRAYS
        np.savez_compressed(tmp_path / "s.npz", **whole | {name: np.zeros(size, np.int32)})
        tracemalloc.start()
        try:
            if fits:
                read_sounds(tmp_path / "s.npz")
            else:
                rule = (
                    r"^read_sounds: .*s\.npz must hold at most 16,777,216 bytes in a file of \d\d\d,\d\d\d, got 134,217"
                )
                raises(rule, lambda: read_sounds(tmp_path / "s.npz"))
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


def test_arrays_are_counted_together_unless_nothing_is_compressed(tmp_path):
    np.savez_compressed(tmp_path / "s.npz", **ARRAYS, **{name: np.zeros(1 << 20) for name in "abc"})
    with pytest.raises(ValueError, match=r"^read_sounds: .*s\.npz must hold at most 16,777,216 bytes in a file of "):
        read_sounds(tmp_path / "s.npz")
    sizes = {"start": np.array([0, 9_000_000]), "label": np.array([0])}
    np.savez(tmp_path / "s.npz", audio=np.zeros(9_000_000, np.int16), **sizes)
    assert len(read_sounds(tmp_path / "s.npz").waves[0]) == 9_000_000


def test_the_spoken_digits_are_read():
    path = Path(__file__).parents[3] / "shared/data/spoken-digits/recordings.npz"
    if not path.is_file():
        pytest.skip("the file shared/data/spoken-digits/recordings.npz is missing")
    assert len(read_sounds(path).waves) == 2700


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


def riff(*parts):
    """Return a WAV file of parts, each a name, its content, and its length if it is another."""
    body = b"".join(
        name + (len(content) if not length else length[0]).to_bytes(4, "little") + content + bytes(len(content) % 2)
        for name, content, *length in parts
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body


def form(kind=1, channels=1, rate=8000, frame=2, bits=16):
    return b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * frame % 2**32, frame, bits)


LONG = struct.pack("<HHIH", 22, 16, 0, 1) + bytes.fromhex("000000001000800000aa00389b71")
DATA = b"data", bytes(range(12))


@pytest.mark.parametrize(
    "parts",
    [
        [form(), DATA],
        [(b"LIST", b"odd"), form(), (b"fact", b""), DATA, (b"LIST", b"behind", 2**32 - 1)],
        [(b"fmt ", form(0xFFFE)[1] + LONG), DATA],
        [(b"fmt ", form()[1] + b"\0\0"), DATA],
    ],
)
def test_parts_of_wav_files(tmp_path, parts):
    (tmp_path / "a.wav").write_bytes(riff(*parts))
    found, rate = read_wave(tmp_path / "a.wav")
    assert (found.tolist(), rate) == (np.frombuffer(DATA[1], "<i2").tolist(), 8000)


NONE = "is no WAV file of uncompressed samples"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"{NONE} (it ends early)"),
        (b"text, and more of it", f"{NONE} (it does not begin as one)"),
        (riff(form()), f"{NONE} (it ends before its samples)"),
        (riff(DATA, form()), "must have its format before its samples"),
        (riff((b"fmt ", form()[1][:15]), DATA), "has a format of 15 bytes, at least 16 are needed"),
        (riff(form(kind=3, frame=4, bits=32), DATA), f"{NONE} (its format is 0x0003)"),
        (riff(form(kind=0xFFFE), DATA), f"{NONE} (its format is 0xfffe)"),
        (riff((b"fmt ", form(0xFFFE)[1] + LONG[:-1] + b"x"), DATA), f"{NONE} (its format is 0xfffe)"),
        *((riff(form(bits=b), DATA), f"must have samples of 8, 16 or 32 bits, got {b}") for b in (0, 24, 64)),
        *((riff(form(rate=r), DATA), f"must have 1 to 10000000 samples per second, got {r}") for r in (0, 2**32 - 1)),
        (riff(form(channels=0), DATA), "must have frames of all channels, got 2 bytes for 0 channels of 16 bits"),
        (riff(form(), (b"data", b"123")), "has 3 bytes of samples, not a multiple of 2"),
        (riff(form(channels=5, frame=10), DATA), "has 12 bytes of samples, not a multiple of 10"),
        (riff(form(), (*DATA, 13)), "is cut off: its part b'data' should have 13 bytes, it has 12"),
        (
            riff((b"a\nb\0", b"", 2**31), form(), DATA),
            "is cut off: its part b'a\\nb\\x00' should have 2147483648 bytes, it has 44",
        ),
        (riff(*[(b"LIST", b"")] * 1000, form(), DATA), "must have its samples within its first 1000 parts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_wav_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    raises(f"^{re.escape(f'read_wave: {path} {message}')}$", lambda: read_wave(path))


def test_a_wav_file_that_ends_early_is_refused(tmp_path, monkeypatch):
    raises(r"^read_wave: .*none\.wav does not exist$", lambda: read_wave(tmp_path / "none.wav"))
    whole = write(tmp_path / "cut.wav", np.arange(100, dtype=np.int16)).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut.wav").write_bytes(whole[:size])
        raises(r"^read_wave: \S*cut\.wav [^\n]+$", lambda: read_wave(tmp_path / "cut.wav"))
    monkeypatch.setattr(check, "_machine_memory", lambda: 199)
    with pytest.raises(
        ValueError, match=r"^read_wave: .*cut\.wav: the samples must fit into memory, got shape \(100,\)"
    ):
        read_wave(write(tmp_path / "cut.wav", np.arange(100, dtype=np.int16)))
