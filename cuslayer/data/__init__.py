"""Event recordings: files, data sets, augmentation, and batches of spikes."""

from __future__ import annotations

from cuslayer.data.augment import Compose, Crop, Downsample, Drop, Flip, FromStart, Jitter, RandomShift, Transform
from cuslayer.data.datasets import NMNIST, EventFolder, open_folder
from cuslayer.data.digits import Digits
from cuslayer.data.events import Events
from cuslayer.data.formats import SpikeCounts, read_counts, read_events, write_counts, write_events
from cuslayer.data.loader import Loader
from cuslayer.data.tonic import FromTonic

__all__ = [
    "NMNIST",
    "Compose",
    "Crop",
    "Digits",
    "Downsample",
    "Drop",
    "EventFolder",
    "Events",
    "Flip",
    "FromStart",
    "FromTonic",
    "Jitter",
    "Loader",
    "RandomShift",
    "SpikeCounts",
    "Transform",
    "open_folder",
    "read_counts",
    "read_events",
    "write_counts",
    "write_events",
]
