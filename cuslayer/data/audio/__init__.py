"""Sound to spikes: bands of frequency over time, codes that make spikes of them, and a data set of labelled waves."""

from __future__ import annotations

from cuslayer.data.audio.bands import Bands
from cuslayer.data.audio.codes import Code, Delta, Latency, Levels, Rate
from cuslayer.data.audio.files import Sounds, read_sounds, read_wave
from cuslayer.data.audio.to_spikes import AudioToSpikes
from cuslayer.data.audio.waves import Waves

__all__ = [
    "AudioToSpikes",
    "Bands",
    "Code",
    "Delta",
    "Latency",
    "Levels",
    "Rate",
    "Sounds",
    "Waves",
    "read_sounds",
    "read_wave",
]
