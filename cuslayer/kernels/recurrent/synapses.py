"""Sums that spikes send through the synapses of a population to itself in a step, and errors that come back.

The type of the synapse decides which function runs when a loop is compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numba.extending import overload

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.kernels.host.memory import aligned_copy
from cuslayer.kernels.host.vectors import multiply
from cuslayer.kernels.recurrent.constants import Geometry, by_lag
from cuslayer.kernels.synapse.dense.cpu import gather


class DenseSynapse(NamedTuple):
    """A dense layer from a population to itself."""

    weight: Array  # (lags neurons, neurons): row ``l neurons + i`` has the weights from neuron i at lag l


class DenseErrors(NamedTuple):
    """The same for the errors that come back."""

    weight: Array  # (lags, neurons, neurons): row i of a lag has the weights to neuron i


class ConvSynapse(NamedTuple):
    """A convolution from a population to itself."""

    weight: Array  # (kh, kw, channels of a group, channels); for errors, with the last two axes exchanged
    rows: int  # of the frame
    columns: int  # of the frame
    channels: int  # of the frame
    groups: int
    padding: tuple[int, int]  # rows and columns
    dilation: tuple[int, int]  # rows and columns


def synapse(weight: Array, image: tuple[int, ...], geometry: Geometry | None) -> DenseSynapse | ConvSynapse:
    """Return the synapse of a weight, of a convolution with a geometry, for a population of a shape."""
    if geometry is None:
        return DenseSynapse(aligned_copy(weight, weight.dtype))
    window, groups = geometry
    rows, columns, channels = image
    return ConvSynapse(np.ascontiguousarray(weight), rows, columns, channels, groups, window.padding, window.dilation)


def backward_synapse(weight: Array, image: tuple[int, ...], geometry: Geometry | None) -> DenseErrors | ConvSynapse:
    """Return the synapse for `receive_errors`: the weight has its last two axes exchanged."""
    if geometry is None:
        return DenseErrors(aligned_copy(by_lag(weight).swapaxes(1, 2), weight.dtype))
    return cast(ConvSynapse, synapse(np.swapaxes(weight, -1, -2), image, geometry))


def send_spikes(total: Any, index: Any, count: int, synapse: Any) -> None:
    """Write to total, (neurons,), the sum of the weights of the spikes index[:count], ascending; for compiled loops."""
    raise TypeError("runs in compiled loops only")


def receive_errors(totals: Any, errors: Any, at: int, apart: int, most: int, synapse: Any) -> None:
    """Write to totals, (samples neurons,), the errors that spikes get from the weighted inputs of lags, `most` at most.

    The errors are flat: lag 0 begins at an index, and lags lie `apart`.
    """
    raise TypeError("runs in compiled loops only")


@compiled
def _send_rows(total: Array, index: Array, count: int, synapse: DenseSynapse) -> None:
    weight = synapse.weight
    gather(total, 0, total.size, 0, count, index, weight.reshape(weight.size), 0, weight.shape[1])


@compiled
def _send_taps(total: Array, index: Array, count: int, synapse: ConvSynapse) -> None:
    weight = synapse.weight
    width = synapse.channels // synapse.groups
    total[:] = 0
    for e in range(count):
        pixel, channel = divmod(index[e], synapse.channels)
        row, column = divmod(pixel, synapse.columns)
        group, inside = divmod(channel, width)
        for tap_row in range(weight.shape[0]):
            to_row = row + synapse.padding[0] - synapse.dilation[0] * tap_row
            if not 0 <= to_row < synapse.rows:
                continue
            for tap_column in range(weight.shape[1]):
                to_column = column + synapse.padding[1] - synapse.dilation[1] * tap_column
                if not 0 <= to_column < synapse.columns:
                    continue
                at = (to_row * synapse.columns + to_column) * synapse.channels + group * width
                out = total[at : at + width]
                taps = weight[tap_row, tap_column, inside, group * width : (group + 1) * width]
                for j in range(width):
                    out[j] += taps[j]


@compiled
def _receive_rows(totals: Array, errors: Array, at: int, apart: int, most: int, synapse: DenseErrors) -> None:
    lags = min(synapse.weight.shape[0], most)
    width = synapse.weight.shape[2]
    w = synapse.weight.reshape(synapse.weight.size)
    rows = len(totals) // max(width, 1)
    multiply(totals, 0, width, errors, at, width, 1, apart, w, 0, width, width * width, width, lags, rows, width)


@compiled
def _receive_taps(totals: Array, errors: Array, at: int, apart: int, most: int, synapse: ConvSynapse) -> None:
    weight = synapse.weight
    width = synapse.channels // synapse.groups
    totals[:] = 0
    for place in range(0, len(totals) if most else 0, max(synapse.channels, 1)):
        pixel = place // max(synapse.channels, 1) % (synapse.rows * synapse.columns)
        row, column = divmod(pixel, synapse.columns)
        frame = at + place - pixel * synapse.channels
        for tap_row in range(weight.shape[0]):
            to_row = row + synapse.padding[0] - synapse.dilation[0] * tap_row
            if not 0 <= to_row < synapse.rows:
                continue
            for tap_column in range(weight.shape[1]):
                to_column = column + synapse.padding[1] - synapse.dilation[1] * tap_column
                if not 0 <= to_column < synapse.columns:
                    continue
                source = frame + (to_row * synapse.columns + to_column) * synapse.channels
                for channel in range(synapse.channels):
                    error = errors[source + channel]
                    low = place + channel // width * width
                    out = totals[low : low + width]
                    taps = weight[tap_row, tap_column, channel]
                    for j in range(width):
                        out[j] += error * taps[j]


@overload(send_spikes)
def _send(total: Any, index: Any, count: Any, synapse: Any) -> Any:
    send: Any = _send_rows if synapse.instance_class is DenseSynapse else _send_taps

    def run(total: Any, index: Any, count: Any, synapse: Any) -> Any:
        send(total, index, count, synapse)

    return run


@overload(receive_errors)
def _receive(totals: Any, errors: Any, at: Any, apart: Any, most: Any, synapse: Any) -> Any:
    receive: Any = _receive_rows if synapse.instance_class is DenseErrors else _receive_taps

    def run(totals: Any, errors: Any, at: Any, apart: Any, most: Any, synapse: Any) -> Any:
        receive(totals, errors, at, apart, most, synapse)

    return run
