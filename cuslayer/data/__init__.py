"""Recordings of event cameras: read, written, made, and turned into batches of spikes."""

from __future__ import annotations

from cuslayer.data.datasets import NMNIST, EventFolder, open_folder
from cuslayer.data.digits import Digits
from cuslayer.data.events import Events
from cuslayer.data.formats import read_events, write_events
from cuslayer.data.loader import Loader

__all__ = [
    "NMNIST",
    "Digits",
    "EventFolder",
    "Events",
    "Loader",
    "open_folder",
    "read_events",
    "write_events",
]
