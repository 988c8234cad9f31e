"""`Bands`: the energy of a wave in bands of frequency, against the formula as plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from cuslayer import backend
from cuslayer.data import Bands
from tests.support.refused import refused, refuses


def tone(hz, rate=8000, ms=400, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate * ms / 1000)) / rate)


def weight(bands, channel, f):
    """The filter of a channel at a frequency, by the formula."""
    if bands.scale == "mel":
        mel = lambda hz: 2595 * np.log10(1 + hz / 700)  # noqa: E731
        ends = mel(bands.low), mel(bands.high or bands.rate / 2)
        corner = [ends[0] + (ends[1] - ends[0]) * i / (bands.channels + 1) for i in range(channel, channel + 3)]
        left, middle, right = (700 * (10 ** (each / 2595) - 1) for each in corner)
        if left < f <= middle:
            return (f - left) / (middle - left)
        return (right - f) / (right - middle) if middle < f < right else 0.0
    erb_rate = lambda hz: 21.4 * np.log10(1 + 0.00437 * hz)  # noqa: E731
    first, last = erb_rate(bands.low), erb_rate(bands.high or bands.rate / 2)
    at = first + (last - first) * channel / max(1, bands.channels - 1)
    middle = (10 ** (at / 21.4) - 1) / 0.00437
    width = 1.019 * 24.7 * (0.00437 * middle + 1)
    return (1 + ((f - middle) / width) ** 2) ** -4.0


def reference(bands, wave, steps):
    """The bands of a wave by the formula: a Fourier sum for each frequency of each frame."""
    hop, width, n = bands.rate * bands.dt / 1000, round(bands.rate * bands.window / 1000), bands._fft_samples
    hann = [np.sin(np.pi * (i + 0.5) / width) ** 2 for i in range(width)]
    energy = np.zeros((steps, bands.channels))
    turn = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(width)) / n)
    for k in range(steps):
        first = int(np.rint((k + 0.5) * hop - width / 2))
        frame = [wave[i] if 0 <= i < len(wave) else 0.0 for i in range(first, first + width)]
        power = 2 * np.abs(turn @ (np.array(frame) * hann)) ** 2 / (n * sum(h * h for h in hann))
        for c in range(bands.channels):
            energy[k, c] = sum(weight(bands, c, i * bands.rate / n) * power[i] for i in range(n // 2 + 1))
    top = {"recording": energy.max(), "channel": energy.max(axis=0)}.get(bands.reference, bands.reference)
    with np.errstate(divide="ignore"):
        return np.clip(1 + 10 * np.log10(energy / top) / bands.range_db, 0, 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": "gammatone", "low": 100.0},
        {"reference": "channel", "range_db": 40.0},
        {"reference": 0.01, "high": 1500.0},
        {"channels": 1, "window": 10.0},
        {"channels": 1, "scale": "gammatone"},
        {"rate": 11025, "dt": 3.3, "window": 17.7},
    ],
    ids=str,
)
def test_bands_are_the_formula(options):
    rng = np.random.default_rng(0)
    options = {"rate": 4000, "channels": 5, "low": 50.0, "dt": 10.0, **options}
    bands = Bands(**options)
    wave = rng.standard_normal(round(0.0517 * bands.rate)) * np.linspace(0.01, 1, round(0.0517 * bands.rate))
    found = bands(wave)
    assert found.shape == (int(np.ceil(len(wave) / (bands.rate * bands.dt / 1000))), bands.channels)
    assert found.dtype == np.float64
    assert 0 <= found.min() <= found.max() <= 1
    np.testing.assert_allclose(found, reference(bands, wave, len(found)), rtol=0, atol=1e-10)


def test_the_middle_of_a_band_is_its_frequency():
    for scale in ("mel", "gammatone"):
        bands = Bands(16000, channels=20, low=100.0, high=6000.0, scale=scale)
        assert bands.frequencies.shape == (20,)
        assert (np.diff(bands.frequencies) > 0).all()
        for c in (3, 10, 18):
            assert bands(tone(bands.frequencies[c], 16000))[40].argmax() == c
    gammatone = Bands(16000, channels=20, low=100.0, high=6000.0, scale="gammatone")
    np.testing.assert_allclose(gammatone.frequencies[[0, -1]], [100.0, 6000.0])
    assert Bands(16000, channels=20, low=100.0, high=6000.0).frequencies[0] > 100


def test_the_bands_do_not_depend_on_the_sampling_rate():
    found = [
        Bands(rate, channels=12, low=100.0, high=3500.0, reference=0.1)(tone(800, rate) + tone(2100, rate) / 4)
        for rate in (8000, 22050, 44100)
    ]
    assert found[0][20].max() > 0.9
    for other in found[1:]:
        # 3 dB of 60, on the slopes far below; 0.2 dB where there is a tone.
        np.testing.assert_allclose(other[4:-4], found[0][4:-4], rtol=0, atol=0.05)
        loud = found[0][20] > 0.75
        np.testing.assert_allclose(other[4:-4, loud], found[0][4:-4, loud], rtol=0, atol=0.005)
        assert loud.sum() == 3


def test_integers_have_the_full_scale_of_their_type():
    wave = np.round(tone(700) * 2**14).astype(np.int16)
    bands = Bands(8000, channels=8, reference=0.1)
    np.testing.assert_array_equal(bands(wave), bands(wave / 2**15))
    np.testing.assert_array_equal(bands(wave.astype(np.int32) * 2**16), bands(wave))
    np.testing.assert_array_equal(bands((wave / 2**15).astype(np.float32)), bands(wave))


def test_a_louder_recording_has_the_same_bands_unless_the_reference_is_fixed():
    wave = tone(700) + np.random.default_rng(1).standard_normal(3200) / 100
    for reference in ("recording", "channel"):
        bands = Bands(8000, channels=8, reference=reference)
        np.testing.assert_allclose(bands(wave * 8), bands(wave), rtol=0, atol=1e-12)
        assert bands(wave).max() == 1
    fixed = Bands(8000, channels=8, reference=1.0)
    np.testing.assert_allclose(fixed(wave / 10).max(), fixed(wave).max() - 20 / 60, atol=1e-10)
    # Each band reaches 1 with its own reference.
    np.testing.assert_array_equal(Bands(8000, channels=8, reference="channel")(wave).max(axis=0), 1)


def test_a_duration_cuts_or_fills_up():
    bands, wave = Bands(8000, channels=8, reference=0.1), tone(500, ms=101)
    whole = bands(wave)
    assert whole.shape == (21, 8)
    np.testing.assert_array_equal(bands(wave, duration=50.0), whole[:10])
    longer = bands(wave, duration=200.0)
    np.testing.assert_array_equal(longer[:21], whole)
    assert longer.shape == (40, 8)
    assert not longer[21:].any()
    assert bands(wave, duration=1.0).shape == (0, 8)
    # What was cut is no reference.
    late = np.concatenate([wave / 10, wave])
    assert Bands(8000, channels=8)(late, duration=50.0).max() == 1


def test_silence_and_short_waves():
    bands = Bands(8000, channels=8)
    assert not bands(np.zeros(400)).any()
    assert not Bands(8000, channels=8, reference="channel")(np.zeros(400)).any()
    assert bands(np.zeros(0)).shape == (0, 8)
    assert bands(np.zeros(0), duration=20.0).tolist() == [[0.0] * 8] * 4
    assert bands(np.ones(1)).shape == (1, 8)
    # A frame of one sample: a click has all frequencies, where there is one.
    click = Bands(8000, channels=2, window=0.1, dt=0.125, reference="channel")(np.array([1.0, 0, 0, 1.0]))
    np.testing.assert_array_equal(click, [[1, 1], [0, 0], [0, 0], [1, 1]])


def test_many_narrow_bands_all_have_frequencies():
    found = Bands(8000, channels=256, low=60.0, window=25.0)(np.random.default_rng(0).standard_normal(2000))
    assert (found.max(axis=0) > 0.3).all()


def test_the_bits_do_not_depend_on_the_number_of_cores(monkeypatch):
    bands, wave = Bands(8000), np.random.default_rng(0).standard_normal(30000)
    found = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(backend, "cores", lambda cores=cores: cores)
        found.append(bands(wave))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "Bands: rate must be positive, got 0"),
        ({"channels": 0}, "Bands: channels must be at least 1, got 0"),
        ({"low": -1}, "Bands: low must not be negative, got -1"),
        ({"high": 4001}, "Bands: high must be at most half the rate, 4000 Hz, got 4001"),
        ({"low": 500, "high": 500}, "Bands: low must be under high, 500 Hz, got 500"),
        ({"dt": 0}, "Bands: dt must be positive, got 0"),
        ({"window": -3}, "Bands: window must be positive, got -3"),
        ({"scale": "mell"}, "Bands: scale must be one of mel, gammatone, got 'mell'; did you mean mel?"),
        ({"reference": "loud"}, "Bands: reference must be one of recording, channel, got 'loud'"),
        ({"reference": 0}, "Bands: reference must be positive, got 0"),
        ({"range_db": 0}, "Bands: range_db must be positive, got 0"),
        (
            {"channels": 200000},
            "Bands: channels and window must need at most 1048576 samples for the transform of a frame, got 200000 "
            "channels and 25 ms at 8000 Hz",
        ),
    ],
    ids=str,
)
def test_options_out_of_range_raise(options, message):
    refused(message, lambda: Bands(**{"rate": 8000, **options}))


def test_types_that_do_not_fit_raise():
    refused("Bands: channels must be an integer, got float", lambda: Bands(8000, channels=1.5), TypeError)
    refused("Bands: rate must be a number, got str", lambda: Bands("8 kHz"), TypeError)
    bands = Bands(8000, channels=4)
    with refuses("Bands: wave must be floating or signed integers, got uint8", TypeError):
        bands(np.zeros(9, np.uint8))
    with refuses("Bands: wave must be (samples,), got shape (9, 2); of several channels take one, or their mean"):
        bands(np.zeros((9, 2)))
    refused("Bands: wave must be (samples,), got shape ()", lambda: bands(np.float64(0)))
    refused("Bands: wave must be finite, got nan in it", lambda: bands(np.array([0.0, np.nan])))
    refused("Bands: duration must be positive, got 0", lambda: bands(np.zeros(9), duration=0))
    refused("Bands: duration must be a number, got str", lambda: bands(np.zeros(9), duration="1 s"), TypeError)


@pytest.mark.parametrize(
    ("rate", "dt", "samples", "steps"),
    [
        # samples / (rate * dt / 1000) is a little more than whole.
        (44100, 0.7, 3087, 100),
        (44100, 2.3, 30429, 300),
        (16000, 2.3, 3680, 100),
        (8000, 0.7, 5600, 1000),
        (1e4 / 3, 2.3, 23, 3),
        (192000, 100.0, 57600, 3),
    ],
)
def test_a_wave_of_whole_steps_has_no_step_more(rate, dt, samples, steps):
    bands = Bands(rate, channels=4, dt=dt)
    assert [bands.steps(samples + i) for i in (-1, 0, 1)] == [steps, steps, steps + 1]
    assert bands(np.ones(samples)).shape == (steps, 4)
