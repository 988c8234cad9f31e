"""Changes to recordings: cut, made smaller, and varied at random so that a network never sees the same one twice.

Each is a small value that is called with events, the sensor that they were seen by, and a generator, and returns new
events; `sensor` returns the sensor that those lie on. A loader takes any of them, or `Compose` of several, as its
`transform`. An event that a change takes off the sensor, or before 0 ms, is left out.
"""

from __future__ import annotations

from cuslayer.data.augment.base import Compose, Transform
from cuslayer.data.augment.crop import Crop, Downsample, FromStart
from cuslayer.data.augment.random import Drop, Flip, Jitter, RandomShift

__all__ = ["Compose", "Crop", "Downsample", "Drop", "Flip", "FromStart", "Jitter", "RandomShift", "Transform"]
