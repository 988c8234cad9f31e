"""`AudioToSpikes` and `Waves`: labelled sounds as spikes, in a loader, with other spikes in each epoch."""

import re
import struct
import tracemalloc
import wave as wav
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer._base import check
from cuslayer.data import (
    Arrays,
    AudioToNumbers,
    AudioToSpikes,
    Bands,
    Delta,
    Drop,
    Events,
    Latency,
    Levels,
    Loader,
    Mask,
    OtherVoice,
    Rate,
    ShiftChannels,
    Stretch,
    Subset,
    Waves,
    read_sounds,
    read_wave,
    split,
)
from tests.support.refused import raises, refused, refuses

CODES = (Rate(100.0), Delta(0.2), Levels((0.5, 0.8)), Latency(50.0))
BANDS = Bands(8000, channels=10)
TO_SPIKES = AudioToSpikes(BANDS, CODES, duration=200.0)
TO_NUMBERS = AudioToNumbers(BANDS, duration=400.0)


def waves(count=6, seed=0):
    rng = np.random.default_rng(seed)
    return [
        np.sin((0.3 + 0.2 * (i % 3)) * np.arange(rng.integers(500, 2500))) + rng.standard_normal(1) / 10
        for i in range(count)
    ]


def test_waves_are_a_data_set():
    given = waves()
    data = Waves(given, [0, 1, 2, 0, 1, 2], TO_SPIKES)
    assert (data.shape, data.classes, data.steps, data.dt, len(data)) == ((60,), 3, 40, 5.0, 6)
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert repr(data) == "Waves(6 recordings, 40 steps of 5 ms, 60 neurons, 3 classes)"
    for _ in range(2):  # of the wave, then of what was kept
        for i, wave in enumerate(given):
            spikes, label = data[i]
            assert label == i % 3
            assert spikes.dtype == np.bool_
            np.testing.assert_array_equal(spikes, TO_SPIKES(wave))
            spikes[:] = False  # what is returned may be changed
    np.testing.assert_array_equal(data[-1][0], data[5][0])
    x, labels = next(iter(Loader(data, batch=6)))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_array_equal(x, np.stack([TO_SPIKES(wave) for wave in given], axis=1))
    assert Waves(given, np.eye(4)[[0, 1, 2, 3, 0, 1]], TO_SPIKES).classes == 4
    assert Waves(given, [0] * 6, TO_SPIKES, classes=10).classes == 10
    part = Subset(data, [4, 0])
    assert (part.labels.tolist(), part.steps, part.dt) == ([1, 0], 40, 5.0)
    train, test = split(data, test=0.5, seed=0)
    assert (len(train), len(test), train.classes) == (3, 3, 3)


def loud_and_quiet(seed, rate):
    """A wave of up to 12 parts of 20 ms, each silent or noise of another loudness."""
    r = np.random.default_rng(seed)
    parts = [r.choice([0.0, 1e-4, 0.005, 0.03, 0.3]) * r.standard_normal(rate // 50) for _ in range(r.integers(0, 13))]
    return np.concatenate([*parts, r.standard_normal(r.integers(0, 40)) / 100])


BANKS = st.builds(
    Bands,
    rate=st.sampled_from([2000, 4000]),
    channels=st.integers(1, 5),
    dt=st.sampled_from([5.0, 7.5, 20.0]),
    scale=st.sampled_from(["mel", "gammatone"]),
    range_db=st.sampled_from([15.0, 40.0, 90.0]),
)
DURATIONS = st.sampled_from([20.0, 55.0, 150.0, 400.0])


@settings(max_examples=100)
@given(
    st.integers(0, 99),
    BANKS,
    DURATIONS,
    st.sampled_from([0.0, 0.3, 0.5, 0.98]),
    st.sampled_from(["recording", "channel", 0.01]),
    st.lists(st.sampled_from(CODES), min_size=1, max_size=3, unique=True),
)
def test_spikes_are_the_codes_of_bands_after_silence(seed, bank, duration, lead, reference, codes):
    """What the duration cuts off is no reference."""
    bands = replace(bank, reference=reference)
    to_spikes = AudioToSpikes(bands, codes if codes[1:] else codes[0], duration, lead=lead * duration)
    steps, silent = round(duration / bands.dt), round(lead * duration / bands.dt)
    wave = loud_and_quiet(seed, bands.rate)
    x = np.zeros((steps, bands.channels))
    if silent < steps:
        heard = replace(bands, reference=1.0, range_db=1e6)(wave, duration=(steps - silent) * bands.dt)
        energy = np.where(heard > 0, 10 ** ((heard - 1) * 1e5), 0.0)
        top = {"recording": energy.max(), "channel": energy.max(axis=0)}.get(reference, reference)
        for k, row in enumerate(energy):
            for c, e in enumerate(row):
                loudest = np.broadcast_to(top, len(row))[c]
                x[silent + k, c] = min(1.0, max(0.0, 1 + 10 * np.log10(e / loudest) / bands.range_db)) if e else 0.0
    found = to_spikes(wave)
    assert (to_spikes.populations, to_spikes.neurons) == (found.shape[1] // bands.channels, found.shape[1])
    assert (to_spikes.steps, to_spikes.dt, found.dtype) == (steps, bands.dt, np.bool_)
    np.testing.assert_array_equal(found, np.concatenate([code(x.round(9), bands.dt) for code in codes], axis=1))


@settings(max_examples=100)
@given(st.integers(0, 99), BANKS, DURATIONS)
def test_numbers_are_levels_without_loudness_and_their_changes(seed, bands, duration):
    wave, to_numbers = loud_and_quiet(seed, bands.rate), AudioToNumbers(bands, duration)
    steps = min(len(bands(wave)), round(duration / bands.dt))
    levels = bands.range_db * bands(wave, duration=max(steps, 1) * bands.dt)
    sound = [k for k, row in enumerate(levels) if row.max() >= levels.max() - 35]
    levels = np.array([row for k, row in enumerate(levels) if sound[0] - 1 <= k <= sound[-1] + 1])
    found = to_numbers(wave)
    assert (to_numbers.neurons, to_numbers.steps, found.dtype) == (
        found.shape[1],
        round(duration / bands.dt),
        np.float32,
    )
    wanted = (levels - levels.mean()) / 2
    changes = [wanted[k] - wanted[k - 2] if k > 1 else 0 * wanted[k] for k in range(len(wanted))]
    np.testing.assert_allclose(found, np.concatenate([wanted, changes], axis=1), atol=1e-4)
    if levels.any():
        np.testing.assert_allclose(to_numbers(wave / 9), found, atol=1e-3)


def test_a_loader_makes_another_voice_of_each_recording_in_each_epoch():
    data = Arrays([TO_NUMBERS(wave) for wave in waves()], [0] * 6, dt=5.0)
    loader = Loader(data, 6, seed=0, transform=OtherVoice(TO_NUMBERS, stretch=1.2, noise=(-40.0, -20.0)))
    (first, _), (second, _) = next(iter(loader)), next(iter(loader))
    assert first.lengths.tolist() != second.lengths.tolist() != data.lengths.tolist()
    assert max(first.lengths) <= data.steps
    with refuses("Loader: sample 0: transform is for events and spikes"):
        next(iter(Loader(data, 6, transform=Drop(0.1))))


def test_errors_of_numbers():
    for name, value, rule in (
        ("stretch", 0.9, "at least 1"),
        ("warp", 0.9, "at least 1"),
        ("noise", (-20, -30), "the least and the most, at most 0 dB"),
        ("noise", (30, 65), "the least and the most, at most 0 dB"),
        ("noise", (), "the least and the most, at most 0 dB"),
    ):
        refused(f"OtherVoice: {name} must be {rule}", lambda o={name: value}: OtherVoice(TO_NUMBERS, **o))
    refused("OtherVoice: to_numbers must be AudioToNumbers", lambda: OtherVoice(BANDS))
    refused("AudioToNumbers: duration must be at least a step of 5 ms", lambda: AudioToNumbers(BANDS, 2.0))


def test_errors_of_transforms():
    with refuses("Mask: populations must divide the 7 neurons"):
        Mask(1.0, populations=2)(Events([], [], None, []), (7,))
    with refuses("Mask: channels must be at most the 7 of the recording"):
        Mask(1.0, 8)(Events([], [], None, []), (7,))
    with refuses("ShiftChannels: populations must divide the 7 neurons"):
        ShiftChannels(1, populations=2)(Events([], [], None, []), (7,))
    with refuses("ShiftChannels: events must lie within 7 neurons, event 0 is at x=7"):
        ShiftChannels(1)(Events([0.0], [7], None, [0]), (7,))
    refused("Stretch: factor must be at least 1", lambda: Stretch(0.9))


def test_errors_of_what_makes_spikes():
    op = "AudioToSpikes"
    refused("AudioToSpikes: bands must be Bands", lambda: AudioToSpikes(8000, CODES, duration=200.0))
    refused("AudioToSpikes: codes must have a code", lambda: AudioToSpikes(BANDS, (), duration=200.0))
    with refuses("AudioToSpikes: a code must be one such as Rate(...)"):
        AudioToSpikes(BANDS, "rate", duration=200.0)
    with refuses("AudioToSpikes: a code is the class Rate", "; write Rate(...)"):
        AudioToSpikes(BANDS, Rate, duration=200.0)
    refused("AudioToSpikes: duration must be positive", lambda: AudioToSpikes(BANDS, CODES, duration=0))
    refused("AudioToSpikes: duration must be at least a step of 5 ms", lambda: AudioToSpikes(BANDS, CODES, duration=2))
    for lead, rule in ((20.0, "be under duration, 20 ms"), (-1.0, "not be negative")):
        refused(f"{op}: lead must {rule}", lambda lead=lead: AudioToSpikes(BANDS, CODES, 20.0, lead=lead))


def test_errors_of_waves():
    refused("Waves: to_spikes must be AudioToSpikes", lambda: Waves(waves(), [0] * 6, BANDS))
    refused("Waves: waves must hold a wave", lambda: Waves([], [], TO_SPIKES))
    refused("Waves: waves and y must have one length", lambda: Waves(waves(), [0] * 5, TO_SPIKES))
    with refuses("Waves: classes must be at least 3 for these y"):
        Waves(waves(), [0, 1, 2, 0, 1, 2], TO_SPIKES, classes=2)
    refused("Waves: y must hold a class", lambda: Waves(waves(), [], TO_SPIKES))
    with refuses("Waves: y must be (samples,) or one-hot (samples, classes)"):
        Waves(waves(), np.zeros((6, 4, 2), bool), TO_SPIKES)
    refused("Waves: label -1 of sample 1 must not be negative", lambda: Waves(waves(2), [0, -1], TO_SPIKES))
    with refuses("Waves: sample 1: Bands: wave must be (samples,)"):
        Waves([np.zeros(4), np.float64(0)], [0, 1], TO_SPIKES)[1]
    with refuses("Waves: sample 0: Bands: wave must be floating or signed integers"):
        Waves([np.zeros(4, bool)], [0], TO_SPIKES)[0]
    refused("Waves: index must lie within 6 samples", lambda: Waves(waves(), [0] * 6, TO_SPIKES)[6])


# Archives of labelled waves and WAV files: what is read, and what is refused in one line


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
    refused("read_sounds: the file has no field 'age'", lambda: sounds.where("age", [1]), "; its fields: speaker, take")
    refused("read_sounds: no recording has take 8, 9", lambda: sounds.where("take", [8, 9]))


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


@pytest.mark.all
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
                rule = r"^read_sounds: .*s\.npz must hold at most 16,777,216 bytes in a file of [\d,]{7}, got 134,217"
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


def write(path, samples, channels=1, rate=8000):
    with wav.open(str(path), "wb") as file:
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
    found, _ = read_wave(write(tmp_path / "c.wav", np.array([128, 255, 0], np.uint8)))
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
        (riff(form(channels=0), DATA), "must have frames of all channels, got 2 bytes for 0 x 16 bits"),
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
    with pytest.raises(ValueError, match=r"^read_wave: .*cut\.wav: the samples must fit into memory, got shape \(100,"):
        read_wave(write(tmp_path / "cut.wav", np.arange(100, dtype=np.int16)))
