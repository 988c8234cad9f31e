"""What spikes send through the synapses of a population to itself in a step, and the errors that they get back.

Which function runs is decided by the type of the synapse when a loop is compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numba.extending import overload

from cuslayer.backend import Array
from cuslayer.jit import compiled
from cuslayer.kernels.dense.cpu import gather
from cuslayer.kernels.recurrent.constants import Geometry, by_lag


class DenseSynapse(NamedTuple):
    """A dense layer from a population to itself.

    Attributes:
        weight: (lags neurons, neurons): row ``l neurons + i`` has the weights of what neuron i sends at lag l.
    """

    weight: Array


class DenseErrors(NamedTuple):
    """The same for the errors that come back.

    Attributes:
        weight: (lags, neurons, neurons): row i of a lag has the weights of what reaches neuron i.
    """

    weight: Array


class ConvSynapse(NamedTuple):
    """A convolution from a population to itself.

    Attributes:
        weight: (kh, kw, channels of a group, channels); for errors, the last two axes the other way round.
        rows: of the frame.
        columns: of the frame.
        channels: of the frame.
        groups: the number of groups of channels.
        padding: rows and columns.
        dilation: rows and columns.
    """

    weight: Array
    rows: int
    columns: int
    channels: int
    groups: int
    padding: tuple[int, int]
    dilation: tuple[int, int]


def synapse(weight: Array, image: tuple[int, ...], geometry: Geometry | None) -> DenseSynapse | ConvSynapse:
    """Return the synapse of a weight, a convolution's if it has a geometry, for a population of a shape."""
    if geometry is None:
        return DenseSynapse(np.ascontiguousarray(weight))
    window, groups = geometry
    rows, columns, channels = image
    return ConvSynapse(np.ascontiguousarray(weight), rows, columns, channels, groups, window.padding, window.dilation)


def backward_synapse(weight: Array, image: tuple[int, ...], geometry: Geometry | None) -> DenseErrors | ConvSynapse:
    """Return the synapse that `receive_errors` takes: the weight has its last two axes the other way round."""
    if geometry is None:
        return DenseErrors(np.ascontiguousarray(by_lag(weight).swapaxes(1, 2)))
    return cast(ConvSynapse, synapse(np.swapaxes(weight, -1, -2), image, geometry))


def send_spikes(total: Any, index: Any, count: int, synapse: Any) -> None:
    """Write to total, (neurons,), the sum of what the spikes of index[:count], ascending, send; for compiled loops."""
    raise TypeError("runs in compiled loops only")


def receive_errors(total: Any, errors: Any, synapse: Any, lag: int) -> None:
    """Add to total, (neurons,), what a spike of each neuron gets of the errors of the weighted inputs of a lag."""
    raise TypeError("runs in compiled loops only")


@compiled
def _send_rows(total: Any, index: Any, count: int, synapse: DenseSynapse) -> None:
    weight = synapse.weight
    gather(total, 0, total.size, 0, count, index, weight.reshape(weight.size), 0, weight.shape[1])


@compiled
def _send_taps(total: Any, index: Any, count: int, synapse: ConvSynapse) -> None:
    weight, width = synapse.weight, synapse.channels // synapse.groups
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
def _receive_rows(total: Any, errors: Any, synapse: DenseErrors, lag: int) -> None:
    weight, size = synapse.weight[lag], total.size
    i = 0
    # Four rows at a time: the sum is loaded and stored once for all four.
    while i + 4 <= size:
        a, b, c, d = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        of_a, of_b, of_c, of_d = errors[i], errors[i + 1], errors[i + 2], errors[i + 3]
        for j in range(size):
            total[j] += (of_a * a[j] + of_b * b[j]) + (of_c * c[j] + of_d * d[j])
        i += 4
    while i < size:
        a, of_a = weight[i], errors[i]
        for j in range(size):
            total[j] += of_a * a[j]
        i += 1


@compiled
def _receive_taps(total: Any, errors: Any, synapse: ConvSynapse, lag: int) -> None:
    weight, width = synapse.weight, synapse.channels // synapse.groups
    for row in range(synapse.rows):
        for column in range(synapse.columns):
            at = (row * synapse.columns + column) * synapse.channels
            for tap_row in range(weight.shape[0]):
                to_row = row + synapse.padding[0] - synapse.dilation[0] * tap_row
                if not 0 <= to_row < synapse.rows:
                    continue
                for tap_column in range(weight.shape[1]):
                    to_column = column + synapse.padding[1] - synapse.dilation[1] * tap_column
                    if not 0 <= to_column < synapse.columns:
                        continue
                    of = (to_row * synapse.columns + to_column) * synapse.channels
                    for channel in range(synapse.channels):
                        error, low = errors[of + channel], at + channel // width * width
                        out, taps = total[low : low + width], weight[tap_row, tap_column, channel]
                        for j in range(width):
                            out[j] += error * taps[j]


@overload(send_spikes)
def _send(total: Any, index: Any, count: Any, synapse: Any) -> Any:
    send: Any = _send_rows if synapse.instance_class is DenseSynapse else _send_taps

    def run(total: Any, index: Any, count: Any, synapse: Any) -> Any:
        send(total, index, count, synapse)

    return run


@overload(receive_errors)
def _receive(total: Any, errors: Any, synapse: Any, lag: Any) -> Any:
    receive: Any = _receive_rows if synapse.instance_class is DenseErrors else _receive_taps

    def run(total: Any, errors: Any, synapse: Any, lag: Any) -> Any:
        receive(total, errors, synapse, lag)

    return run
