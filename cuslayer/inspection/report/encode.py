"""Encode arrays as base64 blocks for the page, and spikes as the spike times of each neuron."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from cuslayer.backend import Array


def block(x: Array, kind: str) -> dict[str, str]:
    """Return an array as a block: its number type, such as "f4", and its bytes in C order as base64.

    >>> block(np.array([1, 2]), "u2")
    {'type': 'u2', 'data': 'AQACAA=='}
    """
    little = np.ascontiguousarray(x, np.dtype(f"<{kind}"))
    return {"type": kind, "data": base64.b64encode(little.tobytes()).decode("ascii")}


def columns(x: Array) -> Array:
    """Return one sample (T, ...) as (neurons, T)."""
    return x.reshape(len(x), int(np.prod(x.shape[1:], dtype=np.int64))).T


def rows(x: Array) -> dict[str, str]:
    """Return one sample (T, ...) as a block of (neurons, T) in float32."""
    return block(columns(x), "f4")


def by_neuron(train: Array) -> dict[str, Any]:
    """Return one sample's spikes (T, ...) sorted by neuron, as blocks.

    Neuron n has the spike times ``times[starts[n] : starts[n + 1]]``, in steps. For real-valued input, each nonzero
    value is a spike, and ``values`` has the values. If one bit per neuron and step is shorter, the only block is
    ``bits``, 8 steps per byte, the first in the lowest bit.
    """
    trains = columns(train)
    wide = len(train) > 65536
    count = int(np.count_nonzero(trains))
    if train.dtype == bool and -(-len(train) // 8) * len(trains) < 4 * (len(trains) + 1) + (4 if wide else 2) * count:
        return {"bits": block(np.packbits(trains, axis=1, bitorder="little"), "u1")}
    neuron, time = np.nonzero(trains)
    starts = np.concatenate([[0], np.cumsum(np.bincount(neuron, minlength=len(trains)))])
    found = {"starts": block(starts, "u4"), "times": block(time, "u4" if wide else "u2")}
    if train.dtype != bool:
        found["values"] = block(trains[neuron, time], "f4")
    return found
