"""Sources and sinks of the loop in `loop.py`: dense layers and convolutions of spikes, numbers, and errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.fused.loop import fill, implementation_of, receive, room, take
from cuslayer.kernels.host.llvm import run
from cuslayer.kernels.host.rows import copy
from cuslayer.kernels.host.vectors import multiply
from cuslayer.kernels.spikes.cpu import list_row
from cuslayer.kernels.synapse.conv.spikes import Maps, Where, weigh
from cuslayer.kernels.synapse.conv.weight_sums import Order
from cuslayer.kernels.synapse.conv.weight_sums import room as room_of_sums
from cuslayer.kernels.synapse.dense.cpu import gather


class Numbers(NamedTuple):
    """A weighted input that is in memory."""

    values: Array  # (steps, columns)


class NormalizedNumbers(NamedTuple):
    """A weighted input that is in memory, ``(x - centre) factor + added`` by channel; blocks begin with channel 0."""

    values: Array  # (steps, columns)
    centre: Array  # (width,), for the columns of a block
    factor: Array
    added: Array


class DenseSpikes(NamedTuple):
    """A dense layer and its list of spikes."""

    start: Array  # the first spike of each row, the samples of a step one after the other, and the number of spikes
    inputs: Array  # the input of each spike
    table: Array  # the weight (inputs, outputs), flat
    samples: int
    outputs: int


class DenseBits(NamedTuple):
    """A dense layer and spikes that are not listed, for few inputs."""

    bits: Array  # (rows, inputs), uint8
    table: Array  # the weight (inputs, outputs), flat
    samples: int
    outputs: int


class ConvSpikes(NamedTuple):
    """A convolution and its list of spikes."""

    maps: Maps
    spikes: Where
    taps: Array  # the weight in the layout of `taps_in_runs`


class Errors(NamedTuple):
    """The errors of spikes in memory."""

    values: Array  # (steps, columns)


class ProductErrors(NamedTuple):
    """The errors of spikes as a product of the errors of a narrow next layer and its weight."""

    errors: Array  # (rows, next), flat
    weight: Array  # (next, outputs), flat
    following: int  # the outputs of the next layer
    samples: int
    outputs: int


class ConvWeights(NamedTuple):
    """The gradient of the weight of a convolution."""

    maps: Maps
    spikes: Where
    order: Order
    taps: Array  # (parts, ...), the sums of each part in the layout of `taps_in_runs`; no parts for no gradient


for _kind in (Numbers, NormalizedNumbers, DenseSpikes, ConvSpikes, Errors, ProductErrors):

    @implementation_of(room, _kind)
    def _no_room(like: Any, source: Any) -> Any:
        return 0


@implementation_of(room, DenseBits)
def _indices(like: Any, source: Any) -> Any:
    return np.empty(source.bits.shape[1], np.int32)


@implementation_of(room, ConvWeights)
def _lists(like: Any, source: Any) -> Any:
    return room_of_sums(source.maps, source.spikes, source.order, like)


@implementation_of(fill, Numbers)
def _fill_numbers(
    first: int, last: int, begun: int, rows: Any, rows_at: int, at: int, size: int, buffer: Any, source: Any
) -> None:
    for t in range(first, last):
        copy(rows[t % len(rows), rows_at : rows_at + size], source.values[t - begun, at : at + size])


@implementation_of(fill, NormalizedNumbers)
def _fill_normalized(
    first: int, last: int, begun: int, rows: Any, rows_at: int, at: int, size: int, buffer: Any, source: Any
) -> None:
    centre = source.centre
    factor = source.factor
    added = source.added
    for t in range(first, last):
        row = rows[t % len(rows), rows_at : rows_at + size]
        values = source.values[t - begun, at : at + size]
        for j in range(size):
            row[j] = (values[j] - centre[j]) * factor[j] + added[j]


@implementation_of(fill, DenseSpikes)
def _fill_dense(
    first: int, last: int, begun: int, rows: Any, rows_at: int, at: int, size: int, buffer: Any, source: Any
) -> None:
    outputs = source.outputs
    ring = rows.reshape(rows.size)
    sample = at // outputs
    output = at - sample * outputs
    width = min(size, outputs)
    for t in range(first, last):
        row = t % len(rows) * rows.shape[1] + rows_at
        line = (t - begun) * source.samples + sample
        for i in range(size // max(width, 1)):
            begin = source.start[line + i]
            end = source.start[line + i + 1]
            gather(ring, row + i * width, width, begin, end, source.inputs, source.table, output, outputs)


@implementation_of(fill, DenseBits)
def _fill_bits(
    first: int, last: int, begun: int, rows: Any, rows_at: int, at: int, size: int, buffer: Any, source: Any
) -> None:
    outputs = source.outputs
    ring = rows.reshape(rows.size)
    sample = at // outputs
    output = at - sample * outputs
    width = min(size, outputs)
    for t in range(first, last):
        row = t % len(rows) * rows.shape[1] + rows_at
        line = (t - begun) * source.samples + sample
        for i in range(size // max(width, 1)):
            count = list_row(line + i, source.bits, buffer, 0)
            gather(ring, row + i * width, width, 0, count, buffer, source.table, output, outputs)


@implementation_of(fill, ConvSpikes)
def _fill_maps(
    first: int, last: int, begun: int, rows: Any, rows_at: int, at: int, size: int, buffer: Any, source: Any
) -> None:
    m = source.maps
    width = m.columns * m.outputs
    sample = at // (m.rows * width)
    low = at // width - sample * m.rows
    # Frames count from the first step of the call.
    frame = sample - begun * m.samples
    weigh(first, last, rows, rows_at, frame, low, low + size // width, m, source.spikes, source.taps)


@implementation_of(receive, Errors)
def _receive_errors(first: int, last: int, rows: Any, at: int, size: int, buffer: Any, source: Any) -> None:
    for t in range(first, last):
        copy(rows[t % len(rows), :size], source.values[t, at : at + size])


@implementation_of(receive, ProductErrors)
def _receive_product(first: int, last: int, rows: Any, at: int, size: int, buffer: Any, source: Any) -> None:
    outputs = source.outputs
    terms = source.following
    flat = rows.reshape(rows.size)
    distance = rows.shape[1]
    sample = at // outputs
    output = at - sample * outputs
    width = min(size, outputs)
    a_step = source.samples * terms
    t = first
    while t < last:
        # Rows of a ring buffer that are neighbours.
        row = t % len(rows)
        count = min(last - t, len(rows) - row)
        for i in range(size // max(width, 1)):
            to = row * distance + i * width
            at_errors = t * a_step + (sample + i) * terms
            multiply(
                flat,
                to,
                distance,
                source.errors,
                at_errors,
                a_step,
                1,
                0,
                source.weight,
                output,
                outputs,
                0,
                terms,
                1,
                count,
                width,
            )
        t += count


@implementation_of(take, ConvWeights)
def _add_weights(first: int, last: int, errors: Any, at: int, size: int, part: int, buffer: Any, sink: Any) -> None:
    if len(sink.taps) == 0:
        return
    m = sink.maps
    width = m.columns * m.outputs
    sample = at // (m.rows * width)
    low = at // width - sample * m.rows
    high = low + size // width
    taps = sink.taps[part]
    run(sink.order.adding, (first, last, errors, 0, sample, low, high, m, sink.spikes, sink.order, buffer, taps))
