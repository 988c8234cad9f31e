"""Event recordings: files, data sets, augmentation, and batches of spikes."""

from __future__ import annotations

from cuslayer.data.arrays import Arrays, Subset, split
from cuslayer.data.audio import AudioToNumbers, AudioToSpikes, Bands, Waves
from cuslayer.data.augment import (
    Compose,
    Crop,
    Downsample,
    Drop,
    Flip,
    FromStart,
    Jitter,
    Mask,
    OtherVoice,
    RandomShift,
    ShiftChannels,
    Stretch,
    Transform,
)
from cuslayer.data.catalog import FromTonic, Loaded, load
from cuslayer.data.codes import Code, Delta, Latency, Levels, Rate
from cuslayer.data.datasets import NMNIST, Dataset, EventFolder, open_folder
from cuslayer.data.digits import Digits
from cuslayer.data.events import Events
from cuslayer.data.formats import SpikeCounts, read_counts, read_events, write_counts, write_events
from cuslayer.data.loader import Batch, Loader
from cuslayer.data.pictures import OtherPicture
from cuslayer.data.sounds import Sounds, read_sounds, read_wave
from cuslayer.data.yin_yang import YinYang

__all__ = [
    "NMNIST",
    "Arrays",
    "AudioToNumbers",
    "AudioToSpikes",
    "Bands",
    "Batch",
    "Code",
    "Compose",
    "Crop",
    "Dataset",
    "Delta",
    "Digits",
    "Downsample",
    "Drop",
    "EventFolder",
    "Events",
    "Flip",
    "FromStart",
    "FromTonic",
    "Jitter",
    "Latency",
    "Levels",
    "Loaded",
    "Loader",
    "Mask",
    "OtherPicture",
    "OtherVoice",
    "RandomShift",
    "Rate",
    "ShiftChannels",
    "Sounds",
    "SpikeCounts",
    "Stretch",
    "Subset",
    "Transform",
    "Waves",
    "YinYang",
    "load",
    "open_folder",
    "read_counts",
    "read_events",
    "read_sounds",
    "read_wave",
    "split",
    "write_counts",
    "write_events",
]
