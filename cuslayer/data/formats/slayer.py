"""SLAYER's event files: `.bs2`, `.bs3` and N-MNIST's `.bin` for cameras, `.bs1` for neurons.

Big-endian, with times in microseconds:

    .bs1        40 bits   neuron 16, polarity 1, time 23
    .bs2, .bin  40 bits   x 8, y 8, polarity 1, time 23
    .bs3        56 bits   x 12, y 12, channel 8, time 24
"""

from __future__ import annotations

from functools import partial
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.data.formats.bit_fields import Packed

_NEURONS = Packed({"x": 16, "p": 1, "t": 23}, times=("t",))
_CAMERA = Packed({"x": 8, "y": 8, "p": 1, "t": 23}, times=("t",))
_CHANNELS = Packed({"x": 12, "y": 12, "p": 8, "t": 24}, times=("t",))


def decode(raw: bytes | npt.NDArray[np.uint8]) -> Events:
    """Return the events of the bytes of a `.bs2` file, which must be whole records."""
    return _events(_CAMERA.unpack(raw))


def encode(events: Events) -> npt.NDArray[np.uint8]:
    """Return events as the bytes of a `.bs2` file.

    Raises:
        ValueError: an event does not fit.
    """
    return _pack(_CAMERA, events, ".bs2")


def _pack(layout: Packed, events: Events, suffix: str) -> npt.NDArray[np.uint8]:
    dimensions, given = (2 if "y" in layout.bits else 1), (1 if events.y is None else 2)
    if given != dimensions:
        raise ValueError(f"write_events: events must be in {dimensions}-D for a {suffix} file, got {given}-D")
    if not len(events):
        raise ValueError(f"write_events: events must not be empty for a {suffix} file, got none")
    columns = [events.x, *([] if events.y is None else [events.y]), events.p]
    for (name, width), values in zip(layout.bits.items(), columns, strict=False):
        base.check_at_most("write_events", suffix, name, values, 2**width - 1)
    time = base.rounded_times("write_events", suffix, "t", events.t, "us", 0, 2 ** layout.bits["t"] - 1)
    return layout.pack([*columns, time])


def _events(columns: dict[str, npt.NDArray[Any]]) -> Events:
    return Events._own(columns["t"], columns["x"], columns.get("y"), columns["p"])


def _read(layout: Packed, file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    return _events(layout.read(file, size, most))


def _write(layout: Packed, file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    file.write(_pack(layout, events, suffix).data)


def _format(layout: Packed) -> base.Format:
    return base.Format(partial(_read, layout), partial(_write, layout))


NEURONS, CAMERA, CHANNELS = _format(_NEURONS), _format(_CAMERA), _format(_CHANNELS)
