"""Sound to spikes or numbers: `Bands` of frequency over time, codes of them, and `Waves`, a data set of waves.

Overlapping frames, one a step, cover a wave. Each band's filter weights the power spectrum of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.time_window import steps_of
from cuslayer.data.arrays import class_labels, number_of_classes
from cuslayer.data.codes import Code
from cuslayer.data.datasets import Recordings

Floats = npt.NDArray[np.float64]

_SCALES = ("mel", "gammatone")
_REFERENCES = ("recording", "channel")
# Frequencies of a spectrum in the slope of the narrowest filter, at least.
_PER_SLOPE = 2
_MOST_SAMPLES = 2**20
# A change is the difference from so many steps before; steps so many dB quieter than the loudest are cut.
_BACK, _QUIET = 2, 35.0
# The width of a gammatone filter in equivalent rectangular bandwidths.
_ERBS = 1.019


@dataclass(frozen=True)
@check.named
class Bands:
    """A bank of filters: the energy of a wave in bands of frequency, step by step, as values from 0 to 1.

    Step k has the frame of `window` ms whose middle lies at ``(k + 1/2) dt``, under a Hann window w; samples before and
    after the wave are 0. With X the frame's Fourier transform, of n samples with zeros after the frame, the energy of
    band c is a share of the frame's mean square::

        E[k, c] = sum_f H_c(f) 2 |X(f)|^2 / (n sum w^2)

    It is measured in decibels below a reference, and a range of them becomes 0 to 1::

        x[k, c] = min(1, max(0, 1 + 10 log10(E[k, c] / reference) / range_db))

    The filters H are one of two scales. "mel": triangles in f, whose corners, also the lowest and the highest, lie at
    equal distances on the mel scale ``2595 log10(1 + f / 700)`` from `low` to `high`. "gammatone": the squared
    magnitude of gammatone filters of order 4, ``H_c(f) = (1 + ((f - f_c) / (1.019 ERB(f_c)))^2)^-4`` with ``ERB(f) =
    24.7 (0.00437 f + 1)`` and the f_c at equal distances on ``21.4 log10(0.00437 f + 1)`` from `low` to `high`.

    All options are in Hz and ms: another sampling rate gives the same bands, as far as both waves have the same sound.
    The same wave gives the same bits, on any number of cores.

    Attributes:
        frequencies: the middle of each band in Hz, (channels,).

    Args:
        rate: samples of the wave per second, Hz.
        channels: the number of bands.
        low: the lowest frequency in Hz.
        high: the highest frequency in Hz, at most half the rate; None: half the rate.
        dt: the step in ms.
        window: the length of a frame in ms.
        scale: "mel" or "gammatone".
        reference: the energy that becomes 1: "recording", the largest of all bands and steps of a recording; "channel",
            the largest of each band; or a number, the mean square of a wave whose full scale is 1, for a fixed level.
        range_db: how far below the reference values become 0, in dB.

    Raises:
        TypeError: a number is of another type.
        ValueError: a number is out of range, or a word is unknown. In a call: the wave is not (samples,), or not
            finite.

    Source: O'Shaughnessy 1987, "Speech Communication", for mel; Davis and Mermelstein 1980 for the triangles; Patterson
    et al. 1987 and Glasberg and Moore 1990 for gammatone filters and ERB.

    >>> bands = Bands(8000, channels=8, low=100.0)
    >>> bands.frequencies.round().tolist()
    [274.0, 486.0, 744.0, 1057.0, 1440.0, 1905.0, 2471.0, 3161.0]
    >>> tone = 0.5 * np.sin(2 * np.pi * 1057 * np.arange(800) / 8000)
    >>> bands(tone).shape, bands(tone)[10].round(2).tolist()
    ((20, 8), [0.0, 0.0, 0.75, 1.0, 0.73, 0.0, 0.0, 0.0])
    """

    rate: float
    channels: int = 64
    low: float = 80.0
    high: float | None = None
    dt: float = 5.0
    window: float = 25.0
    scale: str = "mel"
    reference: str | float = "recording"
    range_db: float = 60.0

    def __post_init__(self) -> None:
        rate = check.positive("rate", self.rate)
        check.integer("channels", self.channels, least=1)
        low = check.not_negative("low", self.low)
        high = rate / 2 if self.high is None else check.positive("high", self.high)
        if high > rate / 2:
            raise ValueError(f"high must be at most half the rate, {rate / 2:g} Hz, got {high:g}")
        if low >= high:
            raise ValueError(f"low must be under high, {high:g} Hz, got {low:g}")
        check.time_step("dt", self.dt)
        check.positive("window", self.window)
        check.one_of("scale", self.scale, _SCALES)
        if isinstance(self.reference, str):
            check.one_of("reference", self.reference, _REFERENCES)
        else:
            check.positive("reference", self.reference)
        check.positive("range_db", self.range_db)
        if self.channels > _MOST_SAMPLES or self._fft_samples > _MOST_SAMPLES:
            raise ValueError(
                f"channels and window must need at most {_MOST_SAMPLES} samples for the transform of a frame, "
                f"got {self.channels} channels and {self.window:g} ms at {rate:g} Hz"
            )

    @property
    def frequencies(self) -> Floats:
        """The middle of each band in Hz, (channels,)."""
        return self._corners[1:-1] if self.scale == "mel" else self._corners

    def steps(self, samples: int) -> int:
        """Return the number of steps in which a wave of so many samples begins and ends."""
        # The tolerance absorbs the rounding of rate and dt.
        return max(0, math.ceil(samples / self._hop - 1e-9))

    def __call__(self, wave: npt.ArrayLike, *, duration: float | None = None) -> Floats:
        """Return the bands of a wave, (T, channels), from 0 to 1.

        Args:
            wave: (samples,); floating numbers of full scale 1, or signed integers, with the full scale of their type.
            duration: the time that the steps cover, in ms: ``T = round(duration / dt)``. Longer waves are cut, zeros
                follow shorter ones. None: the whole wave.
        """
        samples = _samples(wave)
        own = self.steps(len(samples))
        steps = own if duration is None else round(check.positive("duration", duration) / self.dt)
        check.memory("the bands", (steps, self.channels), 8)
        found = np.zeros((steps, self.channels))
        energy = self._energy(samples, min(own, steps))
        if isinstance(self.reference, str):
            reference = energy.max(axis=None if self.reference == "recording" else 0, initial=0.0)
        else:
            reference = np.float64(self.reference)
        with np.errstate(divide="ignore", invalid="ignore"):  # silence: 0 / 0, and the logarithm of 0
            level = 1 + 10 * np.log10(energy / reference) / self.range_db
        np.clip(np.where(energy > 0, level, 0.0), 0.0, 1.0, out=found[: len(energy)])
        return found

    def _energy(self, samples: Floats, steps: int) -> Floats:
        """Return the energies of the first steps, (steps, channels)."""
        from cuslayer.kernels.synapse.dense.cpu import matmul

        width, n = self._frame_samples, self._fft_samples
        # sin^2 at the middles of the samples: a frame of one sample keeps it.
        hann = np.sin(np.pi * (np.arange(width) + 0.5) / width) ** 2
        first = np.rint((np.arange(steps) + 0.5) * self._hop - width / 2).astype(np.int64) + width
        padded = np.concatenate([np.zeros(width), samples, np.zeros(2 * width + math.ceil(self._hop))])
        frames = padded[first[:, None] + np.arange(width)] * hann
        spectrum = np.fft.rfft(frames, n)
        power = spectrum.real**2 + spectrum.imag**2
        power *= 2 / (n * (hann**2).sum())
        filters = _filters(self.scale, self._corners.tobytes(), float(self.rate), n)
        return np.maximum(matmul(power, filters), 0.0)

    @property
    def _hop(self) -> float:
        """Samples per step."""
        return self.rate * self.dt / 1000

    @property
    def _frame_samples(self) -> int:
        """Samples per frame."""
        return max(1, round(self.rate * self.window / 1000))

    @property
    def _corners(self) -> Floats:
        """The corners of the triangles, (channels + 2,), or the middles of gammatone filters, (channels,), in Hz."""
        high = self.rate / 2 if self.high is None else self.high
        if self.scale == "mel":
            first, last = (2595 * math.log10(1 + f / 700) for f in (self.low, high))
            return 700 * (10 ** (np.linspace(first, last, self.channels + 2) / 2595) - 1)
        first, last = (21.4 * math.log10(1 + 0.00437 * f) for f in (self.low, high))
        return (10 ** (np.linspace(first, last, self.channels) / 21.4) - 1) / 0.00437

    @property
    def _fft_samples(self) -> int:
        """Samples of a transform: a power of two, so that each filter has several frequencies."""
        corners = self._corners
        slope = float(np.diff(corners).min() if self.scale == "mel" else _erb(corners).min())
        return 2 ** math.ceil(math.log2(max(self._frame_samples, _PER_SLOPE * self.rate / slope)))


def _erb(frequency: Floats) -> Floats:
    """Return the width of the gammatone filter at a frequency, both in Hz."""
    return _ERBS * 24.7 * (0.00437 * frequency + 1)


@lru_cache(maxsize=8)
def _filters(scale: str, corners: bytes, rate: float, n: int) -> Floats:
    """Return the filters at the frequencies of a transform of n samples, (n // 2 + 1, channels), read-only."""
    f = np.fft.rfftfreq(n, 1 / rate)[:, None]
    at = np.frombuffer(corners)
    if scale == "mel":
        rising, falling = (f - at[:-2]) / (at[1:-1] - at[:-2]), (at[2:] - f) / (at[2:] - at[1:-1])
        found = np.maximum(0.0, np.minimum(rising, falling))
    else:
        found = (1 + ((f - at) / _erb(at)) ** 2) ** -4.0
    found.setflags(write=False)
    return found


def _samples(wave: npt.ArrayLike) -> Floats:
    """Return a wave as float64, (samples,), of full scale 1."""
    given = backend.to_numpy(wave)
    if given.dtype.kind not in "if":
        raise TypeError(f"wave must be floating or signed integers, got {given.dtype}")
    if given.ndim != 1:
        hint = "; of several channels take one, or their mean" if given.ndim == 2 else ""
        raise ValueError(f"wave must be (samples,), got shape {given.shape}{hint}")
    found = given.astype(np.float64)
    if given.dtype.kind == "i":
        return found / 2.0 ** (8 * given.dtype.itemsize - 1)
    if found.size:
        check.finite_range("wave", float(found.min()), float(found.max()))
    return found


@check.named
class _OfBands:
    """Base class of spikes and numbers of bands."""

    bands: Bands
    duration: float

    @property
    def steps(self) -> int:
        """The number of steps T; for numbers, the most."""
        return round(self.duration / self.bands.dt)

    @property
    def dt(self) -> float:
        """The step in ms."""
        return self.bands.dt

    def __post_init__(self) -> None:
        if not isinstance(self.bands, Bands):
            raise TypeError(f"bands must be Bands, got {type(self.bands).__name__}")
        steps_of("duration", self.duration, self.dt)


@check.constructed
@dataclass(frozen=True)
class AudioToSpikes(_OfBands):
    """Turn a wave into spikes: its bands, from 0 to 1, in each of the codes.

    The neurons are the populations of each code in turn; a population has a neuron for each band, the lowest first.
    Neuron ``p * channels + c`` belongs to band c.

    Attributes:
        populations: the number of neurons for each band.
        neurons: the number of neurons, ``populations * channels``.
        steps: the number of steps T.
        dt: the step in ms.

    Args:
        bands: the bank of filters.
        codes: one code or several: `Rate`, `Latency`, `Delta`, `Levels`.
        duration: the time of each recording in ms: longer ones are cut, silence follows shorter ones.
        lead: silence before each wave in ms, a part of the duration. Transforms to earlier times then keep the
            beginning.

    Raises:
        TypeError: bands or a code is of another type, or a time is no number.
        ValueError: there is no code, duration has no step, or lead is negative or not under duration.

    >>> from cuslayer.data import Delta, Rate
    >>> to_spikes = AudioToSpikes(Bands(8000, channels=16), (Rate(200.0), Delta(0.1)), duration=750.0)
    >>> t = np.arange(4000) / 8000
    >>> spikes = to_spikes(0.2 * np.sin(2 * np.pi * (300 + 1000 * t) * t))
    >>> spikes.shape, spikes.dtype.name, int(spikes[:, :16].sum()), int(spikes[:, 16:].sum())
    ((150, 48), 'bool', 277, 170)
    """

    bands: Bands
    codes: tuple[Code, ...]
    duration: float
    lead: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        codes = self.codes if isinstance(self.codes, (tuple, list)) else (self.codes,)
        object.__setattr__(self, "codes", tuple(codes))
        if not self.codes:
            raise ValueError("codes must have a code, got none")
        for code in self.codes:
            check.instance("a code", code)
            if not (callable(code) and hasattr(code, "populations")):
                raise TypeError(f"a code must be one such as Rate(...), got {type(code).__name__}")
        if check.not_negative("lead", self.lead) >= self.duration:
            raise ValueError(f"lead must be under duration, {self.duration:g} ms, got {self.lead:g}")

    @property
    def populations(self) -> int:
        """The number of neurons for each band."""
        return sum(code.populations for code in self.codes)

    @property
    def neurons(self) -> int:
        """The number of neurons."""
        return self.populations * self.bands.channels

    def __call__(self, wave: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return the spikes of a wave (samples,), boolean (T, neurons)."""
        silent = round(self.lead / self.dt)
        x = np.zeros((self.steps, self.bands.channels))
        if silent < self.steps:
            x[silent:] = self.bands(wave, duration=(self.steps - silent) * self.dt)
        return np.concatenate([code(x, self.dt) for code in self.codes], axis=1)


@check.constructed
@dataclass(frozen=True)
class AudioToNumbers(_OfBands):
    """Turn a wave into numbers: the level of each band, then the change of each.

    Levels are in units of 2 dB and relative to their mean over bands and steps, so loudness does not count. A change is
    the difference from two steps before, 0 in the first two steps. Steps before and after the sound, 35 dB below the
    loudest one, are cut, except one on each side. `OtherVoice` changes such recordings.

    Attributes:
        neurons: the numbers at a step, twice the bands.
        steps: the most steps of a recording.
        dt: the step in ms.

    Args:
        bands: the bank of filters; its `range_db` below the loudest band and step is the least level.
        duration: the longest recording in ms: longer ones are cut, shorter ones keep their length.

    Raises:
        TypeError: bands is of another type, or duration is no number.
        ValueError: duration has no step, or bands have another reference than the recording.

    >>> t = np.arange(1600) / 8000
    >>> numbers = AudioToNumbers(Bands(8000, channels=2, dt=20.0), duration=500.0)(np.sin(2000 * t * (1 + 4 * t)))
    >>> numbers.shape, numbers[8].round().tolist()
    ((10, 4), [12.0, 4.0, 0.0, 15.0])
    """

    bands: Bands
    duration: float

    @property
    def neurons(self) -> int:
        """The numbers at a step."""
        return 2 * self.bands.channels

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bands.reference != "recording":
            raise ValueError(f"bands must have the reference 'recording', got {self.bands.reference!r}")

    def __call__(self, wave: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the numbers of a wave (samples,), float32 (T, neurons), at least one step."""
        steps = max(1, min(self.bands.steps(np.size(wave)), self.steps))
        levels = self.bands(wave, duration=steps * self.dt) * self.bands.range_db
        loud = np.flatnonzero(levels.max(axis=1) >= levels.max() - _QUIET)
        return self.of_levels(levels[max(0, loud[0] - 1) : loud[-1] + 2])

    def of_levels(self, levels: Floats) -> npt.NDArray[np.float32]:
        """Return the numbers of levels (T, channels) in dB."""
        levels = np.maximum(levels, levels.max() - self.bands.range_db)
        levels = (levels - levels.mean()) / 2
        changes = np.zeros_like(levels)
        changes[_BACK:] = levels[_BACK:] - levels[:-_BACK]
        return np.concatenate([levels, changes], axis=1, dtype=np.float32)


class Waves(Recordings):
    """A data set of waves and their classes; a recording is the spikes (T, neurons) of a wave.

    At its first use a wave becomes spikes, which are kept as bits. `Loader` takes the data set, and its transforms
    change the spikes of a recording differently in each epoch: `RandomShift` in time, `ShiftChannels` in frequency,
    `Stretch` the duration, and `Drop` omits some.

    Attributes:
        shape: (neurons,).
        classes: the number of classes.
        labels: the class of each wave, int64 (samples,).
        steps: the number of steps T.
        dt: the step in ms.

    Args:
        waves: the waves, each (samples,); their lengths may differ.
        y: the classes, integers from 0, or one-hot (samples, classes).
        to_spikes: the conversion of waves.
        classes: the number of classes; by default the highest class plus one.

    Raises:
        TypeError: to_spikes or y is of another type.
        ValueError: there is no wave, another number of classes than waves, or a class out of range. Reading a recording
            raises the errors of `Bands`, with the number of the wave.

    >>> from cuslayer.data import Bands, Delta, Loader
    >>> waves = [np.sin(0.2 * (1 + label) * np.arange(2000)) for label in (0, 1, 2, 0)]
    >>> data = Waves(waves, [0, 1, 2, 0], AudioToSpikes(Bands(8000, channels=16), Delta(0.1), duration=300.0))
    >>> data
    Waves(4 recordings, 60 steps of 5 ms, 32 neurons, 3 classes)
    >>> spikes, labels = next(iter(Loader(data, batch=4)))
    >>> spikes.shape, labels.tolist()
    ((60, 4, 32), [0, 1, 2, 0])
    """

    def __init__(
        self, waves: Sequence[Any], y: npt.ArrayLike, to_spikes: AudioToSpikes, *, classes: int | None = None
    ) -> None:
        if not isinstance(to_spikes, AudioToSpikes):
            raise TypeError(f"to_spikes must be AudioToSpikes, got {type(to_spikes).__name__}")
        if not len(waves):
            raise ValueError("waves must hold a wave, got none")
        self.labels, least = class_labels(y)
        if len(self.labels) != len(waves):
            raise ValueError(f"waves and y must have one length, got {len(waves)} and {len(self.labels)}")
        self.classes = number_of_classes(classes, least)
        self.to_spikes = to_spikes
        self.shape = (to_spikes.neurons,)
        self.steps, self.dt = to_spikes.steps, to_spikes.dt
        self._waves = waves
        self._bits: list[npt.NDArray[np.uint8] | None] = [None] * len(waves)

    def _sample(self, place: int) -> tuple[npt.NDArray[np.bool_], int]:
        bits = self._bits[place]
        if bits is None:
            with check.about(f"sample {place}"):
                bits = np.packbits(self.to_spikes(self._waves[place]), axis=1)
            self._bits[place] = bits
        return np.unpackbits(bits, axis=1, count=self.shape[0]).view(np.bool_), int(self.labels[place])

    def __repr__(self) -> str:
        size = f"{self.steps} steps of {self.dt:g} ms, {self.shape[0]} neurons"
        return f"Waves({len(self)} recordings, {size}, {self.classes} classes)"
