"""How a run hears sounds: bands and levels, the changes in training, and which recordings are the test set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.data import (
    AudioToSpikes,
    Bands,
    Compose,
    Levels,
    Mask,
    RandomShift,
    ShiftChannels,
    Stretch,
    Subset,
    Waves,
    read_sounds,
    read_wave,
)
from cuslayer.keys import choice, flag, from_zero, key, read, write


def numbers(name: str, value: Any) -> tuple[float, ...]:
    """Return a list of numbers as a tuple, or raise TypeError."""
    if not isinstance(value, list):
        raise TypeError(f"{name} must be a list of numbers, got {value!r}")
    return tuple(check.number(name, each) for each in value)


def _test(name: str, value: Any) -> tuple[str, tuple[Any, ...]]:
    """Return the field and its values that say which recordings are the test set."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{name} must be one field and its values, got {value!r}")
    ((field, values),) = value.items()
    return str(field), tuple(values if isinstance(values, list) else [values])


@dataclass(frozen=True)
class SoundConfig:
    """The sounds of a run. Each recording becomes spikes by `Bands` and `Levels`.

    Attributes:
        rate: samples per second, Hz.
        channels: the number of bands of frequency.
        window: the length of a frame, ms.
        low: the lowest frequency, Hz.
        scale: "mel" or "gammatone".
        range_db: how far below the loudest band and step of a recording values are 0, dB.
        levels: the values, from 0 to 1, at whose crossing a neuron fires.
        falling: whether downward crossings are spikes too.
        lead: silence before each recording, ms.
        stretch: in training, the largest factor of all times.
        shift: in training, the longest shift in time, ms.
        shift_channels: in training, the longest shift in frequency, channels.
        mask: in training, the longest interval of time that is left out, ms.
        mask_channels: in training, the most neighbouring channels that are left out.
        test_field: the field of the file that says which recordings are the test set; None: every fifth recording.
        test_values: the values of that field.
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
    mask: float = field(default=0.0, metadata=key(check.not_negative))
    mask_channels: int = field(default=0, metadata=key(from_zero))
    test_field: str | None = field(default=None, metadata=key(_test, "test"))
    test_values: tuple[Any, ...] = ()

    def to_spikes(self, dt: float, duration: float) -> AudioToSpikes:
        """Return what makes spikes of a wave, for steps of dt ms and recordings of a duration in ms."""
        names = ("channels", "low", "window", "scale", "range_db")
        bands = Bands(self.rate, dt=dt, **{name: getattr(self, name) for name in names})
        return AudioToSpikes(bands, (Levels(self.levels, falling=self.falling),), duration, self.lead)

    def transform(self) -> Compose:
        """Return what changes a recording differently in each epoch."""
        populations = len(self.levels) * (1 + self.falling)
        stretch, shift = Stretch(self.stretch), RandomShift(self.shift)
        channels, mask = (
            ShiftChannels(self.shift_channels, populations),
            Mask(self.mask, self.mask_channels, populations),
        )
        return Compose((stretch, shift, channels, mask))

    @check.operation("read_sounds")
    def sets(
        self, path: str | os.PathLike[str], dt: float, duration: float, *, all_are_test: bool = False
    ) -> tuple[Waves | Subset, Waves | Subset]:
        """Return the training set and the test set of a file; with all_are_test, both have all its recordings."""
        sounds = read_sounds(path)
        classes = int(sounds.labels.max()) + 1
        data = Waves(sounds.waves, sounds.labels, self.to_spikes(dt, duration), classes=classes)
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
    def spikes_of_file(self, path: str | os.PathLike[str], dt: float, duration: float) -> Array:
        """Return the spikes (T, neurons) of a WAV file."""
        samples, rate = read_wave(path)
        if rate != self.rate:
            raise ValueError(f"{path} has {rate} samples per second, the network takes {self.rate:g}")
        return self.to_spikes(dt, duration)(samples)

    def to_yaml(self) -> dict[str, Any]:
        """Return the section of a configuration's file."""
        values = write(self)
        return values if self.test_field is None else values | {"test": {self.test_field: [*self.test_values]}}


def read_sound(section: Mapping[str, Any], dt: float, duration: float) -> SoundConfig:
    """Return the section ``sound`` of a configuration, for steps of dt ms."""
    given = read(SoundConfig, section, "sound.", [])
    if "test_field" in given:
        given["test_field"], given["test_values"] = given["test_field"]
    found = SoundConfig(**given)
    try:
        found.to_spikes(dt, duration)
        found.transform()
    except ValueError as problem:
        raise ValueError(f"sound: {problem}") from None
    return found
