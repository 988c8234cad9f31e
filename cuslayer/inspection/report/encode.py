"""Arrays as text within the page, and spikes as the times of each neuron."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from cuslayer.backend import Array


def block(x: Array, kind: str) -> dict[str, str]:
    """Return an array as the page reads it: its number type, "f4" or the like, and its bytes in C order as base64.

    >>> block(np.array([1, 2]), "u2")
    {'type': 'u2', 'data': 'AQACAA=='}
    """
    little = np.ascontiguousarray(x, np.dtype(f"<{kind}"))
    return {"type": kind, "data": base64.b64encode(little.tobytes()).decode("ascii")}


def columns(x: Array) -> Array:
    """Return one sample (T, ...) neuron by neuron, (neurons, T)."""
    return x.reshape(len(x), int(np.prod(x.shape[1:], dtype=np.int64))).T


def rows(x: Array) -> dict[str, str]:
    """Return one sample's numbers (T, ...) as the page reads them: T of each neuron."""
    return block(columns(x), "f4")


def by_neuron(train: Array) -> dict[str, Any]:
    """Return one sample's spikes (T, ...) as the page reads them: where each neuron's begin, and their times.

    Neuron n has ``times[starts[n] : starts[n + 1]]``, in steps. Of numbers, each that is not 0 counts as a spike, and
    its value is kept. Where a bit for each neuron and step is less, it is ``bits``, 8 steps a byte, the first lowest.
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
