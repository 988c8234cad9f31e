"""`Bands` and the codes of sounds: against the formulas as plain loops, and their limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.data import Bands, Delta, Latency, Levels, Rate
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


@settings(max_examples=30)
@given(
    st.integers(0, 99),
    st.none() | st.sampled_from([3.0, 30.0, 90.0]),
    st.fixed_dictionaries(
        {
            "rate": st.sampled_from([4000, 11025]),
            "channels": st.integers(1, 5),
            "low": st.sampled_from([0.0, 50.0, 130.0]),
            "dt": st.sampled_from([3.3, 10.0]),
            "scale": st.sampled_from(["mel", "gammatone"]),
        },
        optional={
            "high": st.sampled_from([1500.0, 2000.0]),
            "window": st.sampled_from([2.0, 17.7]),
            "reference": st.sampled_from(["channel", 0.01, 1.0]),
            "range_db": st.sampled_from([10.0, 40.0, 90.0]),
        },
    ),
)
def test_bands_are_the_formula(seed, duration, options):
    bands, rng = Bands(**options), np.random.default_rng(seed)
    samples = round(rng.uniform(0.001, 0.05) * bands.rate)
    wave = rng.standard_normal(samples) * np.geomspace(0.01, 1, samples) ** rng.choice([-1, 1])
    own = math.ceil(samples / (bands.rate * bands.dt / 1000))
    steps = own if duration is None else round(duration / bands.dt)
    found = bands(wave, duration=duration)
    wanted = np.zeros((steps, bands.channels))
    if steps:
        wanted[:own] = reference(bands, wave, min(own, steps))
    assert (found.shape, found.dtype) == (wanted.shape, np.float64)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


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


def test_integers_have_the_full_scale_of_their_type():
    wave = np.round(tone(700) * 2**14).astype(np.int16)
    bands = Bands(8000, channels=8, reference=0.1)
    np.testing.assert_array_equal(bands(wave), bands(wave / 2**15))
    np.testing.assert_array_equal(bands(wave.astype(np.int32) * 2**16), bands(wave))
    np.testing.assert_array_equal(bands((wave / 2**15).astype(np.float32)), bands(wave))


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


def test_the_bits_do_not_depend_on_the_number_of_cores():
    bands, wave = Bands(8000), np.random.default_rng(0).standard_normal(30000)
    found = []
    for cores in (1, 2, 5):
        cs.threads(cores)
        found.append(bands(wave))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high": 4001}, "Bands: high must be at most half the rate, 4000 Hz"),
        ({"low": 500, "high": 500}, "Bands: low must be under high, 500 Hz"),
        (
            {"channels": 200000},
            "Bands: channels and window must need at most 1048576 samples for the transform of a frame",
        ),
    ],
    ids=str,
)
def test_options_out_of_range_raise(options, message):
    refused(message, lambda: Bands(**{"rate": 8000, **options}))


def test_types_that_do_not_fit_raise():
    bands = Bands(8000, channels=4)
    with refuses("Bands: wave must be floating or signed integers"):
        bands(np.zeros(9, np.uint8))
    with refuses("Bands: wave must be (samples,)", "; of several channels take one, or their mean"):
        bands(np.zeros((9, 2)))
    refused("Bands: wave must be (samples,)", lambda: bands(np.float64(0)))
    refused("Bands: wave must be finite", lambda: bands(np.array([0.0, np.nan])))
    refused("Bands: duration must be positive", lambda: bands(np.zeros(9), duration=0))
    refused("Bands: duration must be a number", lambda: bands(np.zeros(9), duration="1 s"))


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


# Codes


CODES = [Rate(300.0), Latency(20.0), Delta(0.15), Levels((0.2, 0.5, 0.9)), Levels((0.3,), falling=True)]


def values(steps, channels, seed=0):
    x = np.random.default_rng(seed).random((steps, channels))
    x[x < 0.2] = 0
    x[x > 0.9] = 1
    return x


def by_loops(code, x, dt):
    """Spikes of the formulas, one value at a time."""
    steps, channels = x.shape
    spikes = np.zeros((steps, code.populations, channels), bool)
    for c in range(channels):
        if isinstance(code, Rate):
            total = 0.0
            for t in range(steps):
                before, total = math.floor(total + 1e-9), total + x[t, c] * (code.hz * dt / 1000)
                spikes[t, 0, c] = math.floor(total + 1e-9) > before
        elif isinstance(code, Latency):
            n = round(code.period / dt)
            for start in range(0, steps, n):
                part = x[start : start + n, c]
                mean = sum(part) / len(part)
                late = round((1 - mean) * (n - 1))
                if mean > 0 and late < len(part):
                    spikes[start + late, 0, c] = True
        elif isinstance(code, Delta):
            reference = 0.0
            for t in range(steps):
                if abs(x[t, c] - reference) >= code.threshold:
                    spikes[t, int(x[t, c] > reference), c] = True
                    reference = x[t, c]
        else:
            before = 0.0
            for t in range(steps):
                for i, level in enumerate(code.levels):
                    spikes[t, i, c] = before < level <= x[t, c]
                    if code.falling:
                        spikes[t, len(code.levels) + i, c] = before >= level > x[t, c]
                before = x[t, c]
    return spikes.reshape(steps, code.populations * channels)


@pytest.mark.parametrize("code", CODES, ids=str)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 0), (37, 5), (64, 130)], ids=str)
@pytest.mark.parametrize("dt", [1.0, 5.0, 0.7])
def test_spikes_are_those_of_the_formula(code, shape, dt):
    x = values(*shape).round(1) if isinstance(code, Levels) else values(*shape)  # levels are above themselves
    found = code(x, dt)
    assert found.dtype == np.bool_
    assert found.shape == (shape[0], code.populations * shape[1])
    np.testing.assert_array_equal(found, by_loops(code, x, dt))
    if found.size > 100:
        assert found.any()
        assert not found.all()
    # Values in another type, or not contiguous, are the same numbers.
    np.testing.assert_array_equal(code(x[:, ::-1], dt), by_loops(code, x[:, ::-1], dt))
    single = x.astype(np.float32)
    np.testing.assert_array_equal(code(single, dt), by_loops(code, single.astype(np.float64), dt))


def test_a_rate_is_exact():
    spikes = Rate(40.0)(np.full((5000, 1), 0.5), 1.0)  # 20 Hz over 5 s
    assert spikes.sum() == 100
    assert set(np.diff(np.flatnonzero(spikes))) == {50}
    assert Rate(1000.0)(np.ones((50, 1)), 1.0).all()
    assert Rate(5000.0)(np.ones((50, 1)), 1.0).sum() == 50


def test_constants_out_of_range_raise():
    refused("Latency: period must be at least a step of 5 ms", lambda: Latency(2.0)(np.zeros((3, 1)), 5.0))
    refused("Levels: levels must have a level", lambda: Levels(()))
    refused("Levels: levels must be positive", lambda: Levels((0.0, 0.5)))
    for levels in ((0.5, 0.5), (0.6, 0.3), (0.5, 1.5)):
        with refuses("Levels: levels must ascend to at most 1"):
            Levels(levels)


@pytest.mark.parametrize("code", CODES, ids=str)
def test_values_that_do_not_fit_raise(code):
    op = type(code).__name__
    refused(f"{op}: x must be real numbers", lambda: code(np.zeros((2, 2), complex), 1.0))
    refused(f"{op}: x must be (T, channels)", lambda: code(np.zeros(3), 1.0))
    for wrong in (-0.1, 1.5, np.nan):
        with refuses(f"{op}: x must have values from 0 to 1"):
            code(np.array([[0.5], [wrong]]), 1.0)
    if isinstance(code, (Rate, Latency)):
        refused(f"{op}: dt must be positive", lambda: code(np.zeros((2, 2)), 0.0))
