"""Transforms of recordings: cropping, downsampling, and random augmentation.

A transform is called with events, their sensor and a random generator, and returns new events; `sensor` returns the
sensor of the new events. `Loader` takes one as `transform`, or `Compose` of several. Events that a transform moves off
the sensor, or before 0 ms, are dropped.
"""

from __future__ import annotations

from cuslayer.data.augment.base import Compose, Transform
from cuslayer.data.augment.crop import Crop, Downsample, FromStart
from cuslayer.data.augment.random import Drop, Flip, Jitter, Mask, RandomShift, ShiftChannels, Stretch

__all__ = [
    "Compose",
    "Crop",
    "Downsample",
    "Drop",
    "Flip",
    "FromStart",
    "Jitter",
    "Mask",
    "RandomShift",
    "ShiftChannels",
    "Stretch",
    "Transform",
]
