"""`AudioToSpikes`: from a wave to spikes, by a bank of filters and one or more codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.audio.bands import Bands
from cuslayer.data.audio.codes import Code


@dataclass(frozen=True)
class AudioToSpikes:
    """Make spikes of a wave: its bands, from 0 to 1, coded by each of the codes.

    The neurons are the populations of the first code, then those of the next; a population has a neuron for each band,
    the lowest first. Neuron ``p * channels + c`` belongs to band c.

    The Heidelberg data sets (Cramer et al. 2020) go another way: a travelling wave along a basilar membrane in 700
    channels, hair cells with pools of transmitter, and bushy cells, leaky integrators that sharpen the phase. Here
    energies of frames stand for membrane and hair cells: no phase of the wave is left, no adaptation unless by `Delta`,
    and a spike's time is a step of the bands. It takes milliseconds a recording, and has no random numbers.

    Attributes:
        populations: the number of neurons for each band.
        neurons: the number of neurons, ``populations * channels``.
        steps: the number of steps T.
        dt: the step in ms.

    Args:
        bands: the bank of filters.
        codes: one code, or several, whose neurons follow one another: `Rate`, `Latency`, `Delta`, `Levels`.
        duration: the time of each recording in ms: longer ones are cut, shorter ones followed by silence.
        lead: silence before each wave in ms, a part of the duration. Transforms that move a recording to earlier times
            then lose nothing of its begin.

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
        op = "AudioToSpikes"
        if not isinstance(self.bands, Bands):
            raise TypeError(f"{op}: bands must be Bands, got {type(self.bands).__name__}")
        codes = self.codes if isinstance(self.codes, (tuple, list)) else (self.codes,)
        object.__setattr__(self, "codes", tuple(codes))
        if not self.codes:
            raise ValueError(f"{op}: codes must have a code, got none")
        for code in self.codes:
            check.instance(op, "a code", code)
            if not (callable(code) and hasattr(code, "populations")):
                raise TypeError(f"{op}: a code must be one such as Rate(...), got {type(code).__name__}")
        check.positive(op, "duration", self.duration)
        if check.not_negative(op, "lead", self.lead) >= self.duration:
            raise ValueError(f"{op}: lead must be under duration, {self.duration:g} ms, got {self.lead:g}")
        if not self.steps:
            raise ValueError(f"{op}: duration must be at least a step of {self.dt:g} ms, got {self.duration:g}")

    @property
    def populations(self) -> int:
        """The number of neurons for each band."""
        return sum(code.populations for code in self.codes)

    @property
    def neurons(self) -> int:
        """The number of neurons."""
        return self.populations * self.bands.channels

    @property
    def steps(self) -> int:
        """The number of steps T."""
        return round(self.duration / self.bands.dt)

    @property
    def dt(self) -> float:
        """The step in ms."""
        return self.bands.dt

    def __call__(self, wave: Any) -> npt.NDArray[np.bool_]:
        """Return the spikes of a wave (samples,), boolean (T, neurons)."""
        silent = round(self.lead / self.dt)
        x = np.zeros((self.steps, self.bands.channels))
        if silent < self.steps:
            x[silent:] = self.bands(wave, duration=(self.steps - silent) * self.dt)
        return np.concatenate([code(x, self.dt) for code in self.codes], axis=1)
