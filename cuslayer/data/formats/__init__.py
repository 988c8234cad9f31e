"""Event files: one format per module; `read_write.py` has the public functions, `base.py` shared helpers."""

from __future__ import annotations

from cuslayer.data.formats.read_write import FORMATS, read_events, write_events
from cuslayer.data.formats.slayer import SpikeCounts, read_counts, write_counts

__all__ = ["FORMATS", "SpikeCounts", "read_counts", "read_events", "write_counts", "write_events"]
