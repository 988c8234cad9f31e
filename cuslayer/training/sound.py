"""Sounds of a run: bands, as spikes or numbers, changes in training, and the recordings of the test set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.keys import choice, flag, from_zero, key, read, write
from cuslayer.backend import Array
from cuslayer.data import (
    Arrays,
    AudioToNumbers,
    AudioToSpikes,
    Bands,
    Compose,
    Levels,
    Mask,
    OtherVoice,
    RandomShift,
    ShiftChannels,
    Stretch,
    Subset,
    Transform,
    Waves,
    read_sounds,
    read_wave,
)

# The options of only one kind of input.
_OF_SPIKES = ("falling", "lead", "shift", "shift_channels", "mask", "mask_channels")
_OF_NUMBERS = ("warp", "gain", "noise")


def numbers(name: str, value: object) -> tuple[float, ...]:
    """Return a list of numbers as a tuple, or raise TypeError."""
    if not isinstance(value, list):
        raise TypeError(f"{name} must be a list of numbers, got {value!r}")
    return tuple(check.number(name, each) for each in value)


def _test(name: str, value: object) -> tuple[str, tuple[object, ...]]:
    """Return the field that selects the test set, and its values."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{name} must be one field and its values, got {value!r}")
    ((field, values),) = value.items()
    return str(field), tuple(values if isinstance(values, list) else [values])


@dataclass(frozen=True)
class SoundConfig:
    """The sounds of a run. `Bands` and `Levels` convert recordings to spikes, or `AudioToNumbers` to numbers.

    Attributes:
        rate: samples per second, Hz.
        channels: the number of frequency bands.
        window: the length of a frame, ms.
        low: the lowest frequency, Hz.
        scale: "mel" or "gammatone".
        range_db: the distance below a recording's loudest band and step at which values are 0, dB.
        levels: the values, from 0 to 1, at whose crossing a neuron fires; without levels, recordings are numbers.
        falling: whether downward crossings are spikes too.
        lead: silence before each recording of spikes, ms.
        stretch: in training, the largest factor of all times.
        shift: in training with spikes, the longest shift in time, ms.
        shift_channels: in training with spikes, the longest shift in frequency, channels.
        warp: in training with numbers, the largest factor of all frequencies; see `OtherVoice`.
        gain: in training with numbers, the deviation of a smooth curve over the bands, dB.
        noise: in training with numbers, minimum and maximum noise below the loudest band and step, dB; None for no
            noise.
        mask: in training with spikes, the longest interval of time that is removed, ms.
        mask_channels: in training with spikes, the maximum number of neighbouring channels that are removed.
        test_field: the field of the file that selects the test set; None for every fifth recording.
        test_values: the values of this field in the test set.
    """

    rate: float = field(default=8000.0, metadata=key(check.not_negative))
    channels: int = field(default=64, metadata=key(from_zero))
    window: float = field(default=25.0, metadata=key(check.not_negative))
    low: float = field(default=80.0, metadata=key(check.not_negative))
    scale: str = field(default="mel", metadata=key(choice(("mel", "gammatone"))))
    range_db: float = field(default=60.0, metadata=key(check.not_negative))
    levels: tuple[float, ...] = field(default=(0.4, 0.6, 0.8), metadata=key(numbers))
    falling: bool = field(default=True, metadata=key(flag))
    lead: float = field(default=0.0, metadata=key(check.not_negative))
    stretch: float = field(default=1.0, metadata=key(check.not_negative))
    shift: float = field(default=0.0, metadata=key(check.not_negative))
    shift_channels: int = field(default=0, metadata=key(from_zero))
    warp: float = field(default=1.0, metadata=key(check.not_negative))
    gain: float = field(default=0.0, metadata=key(check.not_negative))
    noise: tuple[float, ...] | None = field(default=None, metadata=key(numbers))
    mask: float = field(default=0.0, metadata=key(check.not_negative))
    mask_channels: int = field(default=0, metadata=key(from_zero))
    test_field: str | None = field(default=None, metadata=key(_test, "test"))
    test_values: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for name in _OF_NUMBERS if self.levels else _OF_SPIKES:
            if getattr(self, name) != getattr(SoundConfig, name):
                raise ValueError(f"{name} is for {'numbers, without' if self.levels else 'spikes, with'} levels")

    def to_input(self, dt: float, duration: float) -> AudioToSpikes | AudioToNumbers:
        """Return the converter from a wave to input, for steps of dt ms and recordings of a duration in ms."""
        names = ("channels", "low", "window", "scale", "range_db")
        bands = Bands(self.rate, dt=dt, **{name: getattr(self, name) for name in names})
        if not self.levels:
            return AudioToNumbers(bands, duration)
        return AudioToSpikes(bands, (Levels(self.levels, falling=self.falling),), duration, self.lead)

    def transform(self, dt: float, duration: float) -> Transform:
        """Return the transform that changes a recording differently in each epoch."""
        to_input = self.to_input(dt, duration)
        if isinstance(to_input, AudioToNumbers):
            return OtherVoice(to_input, self.stretch, self.warp, self.gain, self.noise)
        shift = ShiftChannels(self.shift_channels, to_input.populations)
        mask = Mask(self.mask, self.mask_channels, to_input.populations)
        return Compose((Stretch(self.stretch), RandomShift(self.shift), shift, mask))

    @check.operation("read_sounds")
    def sets(
        self, path: str | os.PathLike[str], dt: float, duration: float, *, all_are_test: bool = False
    ) -> tuple[Waves | Arrays | Subset, Waves | Arrays | Subset]:
        """Return the training set and the test set of a file; with all_are_test, both have all its recordings."""
        sounds = read_sounds(path)
        classes = int(sounds.labels.max()) + 1
        to_input = self.to_input(dt, duration)
        data: Waves | Arrays
        if isinstance(to_input, AudioToSpikes):
            data = Waves(sounds.waves, sounds.labels, to_input, classes=classes)
        else:
            data = Arrays([to_input(wave) for wave in sounds.waves], sounds.labels, classes=classes, dt=dt)
        if all_are_test:
            return data, data
        if self.test_field is None:
            chosen = np.arange(len(data)) % 5 == 4
        else:
            chosen = sounds.where(self.test_field, self.test_values)
        if chosen.all() or not chosen.any():
            which = "all" if chosen.all() else "none"
            raise ValueError(f"{Path(path)}: {which} of the recordings are the test set")
        return Subset(data, np.flatnonzero(~chosen)), Subset(data, np.flatnonzero(chosen))

    @check.operation("read_wave")
    def of_file(self, path: str | os.PathLike[str], dt: float, duration: float) -> Array:
        """Return the spikes or numbers (T, neurons) of a WAV file."""
        samples, rate = read_wave(path)
        if rate != self.rate:
            raise ValueError(f"{path} has {rate} samples per second, the network takes {self.rate:g}")
        return self.to_input(dt, duration)(samples)

    def to_yaml(self) -> dict[str, object]:
        """Return the section of a configuration's file."""
        values = write(self)
        return values if self.test_field is None else values | {"test": {self.test_field: [*self.test_values]}}


def read_sound(section: Mapping[str, object], dt: float, duration: float) -> SoundConfig:
    """Return the section ``sound`` of a configuration, for steps of dt ms."""
    given = read(SoundConfig, section, "sound.", [])
    if "test_field" in given:
        given["test_field"], given["test_values"] = given["test_field"]
    try:
        found = SoundConfig(**given)
        found.transform(dt, duration)
    except ValueError as problem:
        raise ValueError(f"sound: {problem}") from None
    return found
