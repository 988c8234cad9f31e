"""Learning forward in time on the CPU: the tangents of neurons, and the traces of synapses that follow from them.

`Neurons` runs neurons and writes, for each step, the coefficients of their tangents; see `step/tangent.py`. `follow`
runs tangents for rows of inputs. `accumulate` runs them for each synapse of a dense layer: the change of the neuron's
spikes by the weight, then the change of the next neurons' potentials by these spikes. `at_output` has no next neurons.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import BLOCK, GRAIN, parallel_for
from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import surrogate_numbers
from cuslayer.kernels.host.llvm import call
from cuslayer.kernels.host.rows import scratch, scratch_rows
from cuslayer.kernels.host.states import load_states, store_states
from cuslayer.kernels.scan.blocks import Block, addresses_of, begin, padded
from cuslayer.kernels.step import print_numba
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.kind import Curve, Kind
from cuslayer.kernels.step.tangent import Tangent, of_samples, tangent

# Small states become 0 before each eighth step; a chunk begins at the same place in these eight steps.
_FADING = 8
# Neurons whose synapses are one part of a loop.
_NEURONS = 8


def tangent_of(spiking: StepSpiking, trained: bool) -> Tangent:
    """Return the tangent of neurons, with or without their constants."""
    return tangent(spiking.kind, spiking.exact, spiking.graded, trained)


class Linear(NamedTuple):
    """A chunk of steps of neurons, and their tangents; columns are the neurons of all samples."""

    u: Array  # (T, columns), the potentials
    s: Array  # (T, columns), the spikes, uint8; without columns for neurons that do not fire
    slopes: Array  # (T, columns), the factors of the tangents' output
    # (T count, columns), the coefficients of each step one after the other; (count, 1) if they are the same for all.
    written: Array


@cache
def _linear_address(part: Tangent, kind: Kind, curve: Curve, writes: bool, dtype: DType) -> int:
    return addresses_of(print_numba.linear_scan(part, kind, curve, writes), dtype, _signatures(dtype))[0]


@cache
def _tangent_address(part: Tangent, of_columns: bool, adds: bool, dtype: DType) -> int:
    return addresses_of(print_numba.tangent_scan(part, of_columns, adds), dtype, _signatures(dtype))[0]


def _signatures(dtype: DType) -> dict[str, Any]:
    pointer: Any = types.CPointer
    real = pointer(numba.from_dtype(dtype))
    number = types.int64
    numbers = pointer(number)
    array = (real, number, number, number)
    spikes = (pointer(types.uint8), number, number, number)
    return {
        "linear": types.void(number, number, real, *array, *array, *spikes, *array, *array, number, real, numbers),
        "tangent": types.void(number, number, real, *([*array] * 5), number, numbers),
    }


@compiled
def _linearize(
    first: int,
    last: int,
    states: Array,
    x: Array,
    u: Array,
    s: Array,
    slopes: Array,
    written: Array,
    begins: int,
    b: Block,
) -> None:
    memory = scratch(b.rows * padded(min(BLOCK, last - first)), u)
    for low in range(first, last, BLOCK):
        width = min(low + BLOCK, last) - low
        begin(memory, low, width, b)
        load_states(memory, states, low, width)
        arrays = x, low, u, low, s, low, slopes, low, written, low
        call(b.address, (begins, len(x), memory, *arrays, width, b.numbers, b.integers))
        store_states(states, memory, low, width)


class Neurons:
    """Neurons of a number of columns that run chunk by chunk.

    Args:
        spiking: the kind of neuron and its constants.
        constants: (constants, K), constants that differ between neurons: column m has number m % K.
        columns: the number of columns, neurons of all samples.
        dtype: the number type.
        trained: whether the constants have tangents too.
    """

    def __init__(self, spiking: StepSpiking, constants: Array, columns: int, dtype: DType, trained: bool) -> None:
        kind = spiking.kind
        self.spiking = spiking
        self.tangent = tangent_of(spiking, trained)
        self.constants = constants
        self._states = np.repeat(np.array(kind.start, dtype)[:, None], columns, axis=1)
        longest = max((spiking.by_name[past.lag] for past in kind.past), default=0)
        self._before = -(-int(longest) // _FADING) * _FADING
        self._inputs = np.zeros((self._before, columns), dtype)
        self._spikes = np.zeros((self._before, columns if kind.fires else 0), np.uint8)
        self._steps = 0
        self.dtype = dtype
        self.lags = np.array([int(spiking.by_name[lag]) for lag in self.tangent.lags], np.int64)
        # Coefficients that are the same for all neurons and steps.
        same = self.tangent.uniform and not self.tangent.columns and bool((constants == constants[:, :1]).all())
        self.shared = self._coefficients() if same else None

    def run(self, x: Array) -> Linear:
        """Return the next steps, for a chunk (T, columns) of the weighted input."""
        begins = self._before + self._steps % _FADING
        rows = np.zeros((begins + len(x), x.shape[1]), x.dtype)
        rows[begins - self._before : begins] = self._inputs
        rows[begins:] = x
        s = np.zeros((len(rows), self._spikes.shape[1]), np.uint8)
        s[begins - self._before : begins] = self._spikes
        own = self.shared is None
        found = _run(rows, s, self._states, self.constants, self.spiking, self.tangent, begins, own)
        self._inputs = rows[len(rows) - self._before :].copy()
        self._spikes = s[len(rows) - self._before :].copy()
        self._steps += len(x)
        return found if self.shared is None else found._replace(written=self.shared)

    def _coefficients(self) -> Array:
        """Return the coefficients (count, 1), which are constant."""
        kind = self.spiking.kind
        dtype = self._states.dtype
        rows = np.zeros((1 + max(map(int, self.spiking.lags), default=0), 1), dtype)
        s = np.zeros((len(rows), 1 if kind.fires else 0), np.uint8)
        states = np.array(kind.start, dtype)[:, None]
        constants = np.ascontiguousarray(self.constants[:, :1])
        return _run(rows, s, states, constants, self.spiking, self.tangent, len(rows) - 1, True).written


class Sampled:
    """Neurons whose potential is a sampled response to their input, which the caller runs.

    Args:
        samples: (K,), the response.
        dtype: the number type.
    """

    def __init__(self, samples: Array, dtype: DType) -> None:
        self.dtype = dtype
        self.tangent = of_samples(len(samples))
        self.lags = np.empty(0, np.int64)
        self.shared = np.concatenate([np.ones(len(samples) - 1), samples]).astype(dtype)[:, None]

    def linear(self, u: Array, s: Array, slopes: Array) -> Linear:
        """Return a chunk of steps for potentials, spikes and slopes (T, columns)."""
        return Linear(u, s.view(np.uint8), slopes, self.shared)


def _run(
    x: Array,
    s: Array,
    states: Array,
    constants: Array,
    spiking: StepSpiking,
    part: Tangent,
    begins: int,
    writes: bool,
) -> Linear:
    """Run neurons over the rows of x from `begins` on; earlier rows are earlier steps."""
    kind = spiking.kind
    dtype = x.dtype
    count = len(print_numba.coefficients(part)) if writes else 0
    steps = len(x) - begins
    u = np.empty(x.shape, dtype)
    slopes = np.empty((steps, x.shape[1]), dtype)
    written = np.empty((steps * count, x.shape[1] if writes else 0), dtype)
    surrogate = surrogate_numbers(spiking, dtype).values() if kind.fires else (0.0, 0.0, 0.0)
    block = Block(
        address=_linear_address(part, kind, spiking.shape.curve, writes, dtype),
        states=len(kind.states),
        rows=len(kind.states) + len(kind.columns),
        at=len(kind.states),
        history=0,
        spikes=0,
        numbers=np.array([*spiking.rounded(dtype), *surrogate], dtype),
        integers=np.array([*spiking.lags], np.int64),
        constants=constants,
        old_row=0,
        graded=0,
    )
    parallel_for(_linearize, x.shape[1], states, x, u, s, slopes, written, begins, block, grain=GRAIN)
    return Linear(u[begins:], s[begins:], slopes, written)


class Tangents:
    """The states of tangents of some neurons for rows of synapses.

    Args:
        neurons: the neurons.
        count: the number of rows.
        width: the number of synapses in a row; None for tangents by the neurons' constants.
    """

    def __init__(self, neurons: Neurons | Sampled, count: int, width: int | None) -> None:
        self.part = neurons.tangent
        self.of_columns = width is None
        width = self.part.columns if width is None else width
        dtype = neurons.dtype
        self.lags = neurons.lags
        self.memory = np.zeros((count, len(self.part.states) * width), dtype)
        self.ring = np.zeros((count, int(np.maximum(self.lags, 1).sum()), width), dtype)

    def side(self, start: int, written: Array, *, adds: bool) -> Side:
        """Return the arguments of a kernel for a chunk from step `start` on, with the neurons' coefficients."""
        address = _tangent_address(self.part, self.of_columns, adds, self.memory.dtype)
        return Side(address, start, self.memory, self.ring, self.lags, written, int(written.shape[1] > 1))


class Side(NamedTuple):
    """Tangents as an argument of kernels."""

    address: int
    start: int
    memory: Array  # (rows, states width)
    ring: Array  # (rows, steps, width)
    lags: Array
    written: Array
    own: int  # whether each neuron has coefficients of its own


@compiled
def _follow(first: int, last: int, steps: int, width: int, x: Array, y: Array, slopes: Array, side: Side) -> None:
    for row in range(first, last):
        at = row * width
        arrays = side.ring[row], 0, x, at, y, at, slopes, 0, side.written, row * side.own
        call(side.address, (side.start, steps, side.memory[row], *arrays, width, side.lags))


def follow(x: Array, tangents: Tangents, written: Array, start: int) -> Array:
    """Return the tangents' output (T, rows, width) for inputs (T, rows, width), without slopes.

    The coefficients are the same for all rows, or each row has its own.
    """
    steps, rows, width = x.shape
    y = np.empty((steps, rows * width), x.dtype)
    ones = np.ones((1, 1), x.dtype)
    flat = np.ascontiguousarray(x).reshape(steps, rows * width)
    side = tangents.side(start, written, adds=False)
    parallel_for(_follow, rows, steps, width, flat, y, ones, side, grain=1)
    return y.reshape(x.shape)


@compiled
def _accumulate(
    first: int,
    last: int,
    neurons: int,
    width: int,
    shared: Array,
    x: Array,
    slopes: Array,
    errors: Array,
    out: Array,
    of: Side,
    to: Side,
) -> None:
    steps = len(slopes)
    samples = slopes.shape[1] // max(neurons, 1)
    copies = errors.shape[1] // max(slopes.shape[1], 1)
    y = scratch_rows(steps, width, slopes)
    for j in range(first, last):
        for n in range(samples):
            column = n * neurons + j
            if len(shared):
                for t in range(steps):
                    slope = slopes[t, column]
                    for i in range(width):
                        y[t, i] = slope * shared[t, n * width + i]
            else:
                arrays = of.ring[column], 0, x, n * width, y, 0, slopes, column, of.written, column * of.own
                call(of.address, (of.start, steps, of.memory[column], *arrays, width, of.lags))
            for k in range(copies):
                row = column * copies + k
                arrays = to.ring[row], 0, y, 0, out, j * width, errors, row, to.written, (n * copies + k) * to.own
                call(to.address, (to.start, steps, to.memory[row], *arrays, width, to.lags))


def accumulate(
    x: Array,
    shared: Array | None,
    slopes: Array,
    errors: Array,
    of: tuple[Tangents, Array],
    to: tuple[Tangents, Array],
    start: int,
) -> Array:
    """Return the gradient (I, J) of weights from I inputs to J neurons, through the neurons after them.

    Args:
        x: (T, N, I), the inputs; or for the neurons' constants (I, N, I), a 1 for each of them.
        shared: (T, N, I), the tangents' output by the inputs without slopes, if all neurons have the same; else None.
        slopes: (T, N, J), the factors of the neurons' tangents.
        errors: (T, N, J, copies), the errors of the potentials after the neurons: one for all, or for each neuron.
        of: the tangents of the neurons, N J rows, and their coefficients; without rows if `shared`.
        to: the tangents of the neurons after them, N J copies rows, and their coefficients.
        start: the number of steps before the chunk.
    """
    rows, samples, width = x.shape
    neurons = slopes.shape[2]
    out = np.zeros((1, neurons * width), x.dtype)
    flat = np.ascontiguousarray(x).reshape(rows, samples * width)
    nothing = np.empty((0, 0), x.dtype)
    parallel_for(
        _accumulate,
        neurons,
        neurons,
        width,
        nothing if shared is None else np.ascontiguousarray(shared).reshape(flat.shape),
        flat,
        np.ascontiguousarray(slopes).reshape(len(slopes), samples * neurons),
        np.ascontiguousarray(errors).reshape(len(slopes), samples * neurons * errors.shape[3]),
        out,
        of[0].side(start, of[1], adds=False),
        to[0].side(start, to[1], adds=True),
        grain=_NEURONS,
    )
    return out.reshape(neurons, width).T


@compiled
def _at_output(first: int, last: int, neurons: int, width: int, x: Array, errors: Array, out: Array, of: Side) -> None:
    for j in range(first, last):
        for n in range(errors.shape[1] // neurons):
            column = n * neurons + j
            arrays = of.ring[column], 0, x, n * width, out, j * width, errors, column, of.written, column * of.own
            call(of.address, (of.start, len(errors), of.memory[column], *arrays, width, of.lags))


def at_output(x: Array, errors: Array, of: tuple[Tangents, Array], start: int) -> Array:
    """Return the gradient (I, J) of weights for errors (T, N, J) of the neurons' tangents; see `accumulate`."""
    rows, samples, width = x.shape
    neurons = errors.shape[2]
    out = np.zeros((1, neurons * width), x.dtype)
    flat = np.ascontiguousarray(x).reshape(rows, samples * width)
    of_errors = np.ascontiguousarray(errors).reshape(len(errors), samples * neurons)
    side = of[0].side(start, of[1], adds=True)
    parallel_for(_at_output, neurons, neurons, width, flat, of_errors, out, side, grain=_NEURONS)
    return out.reshape(neurons, width).T


@compiled
def _average(first: int, last: int, x: Array, mean: Array, share: float, out: Array) -> None:
    part = 1 - share
    for t in range(len(x)):
        for j in range(first, last):
            mean[j] = share * mean[j] + part * x[t, j]
            out[t, j] = mean[j]


def average(x: Array, mean: Array, share: float) -> Array:
    """Return the running mean of x (T, columns), with a decay factor; it starts at a mean (columns,) and changes it."""
    out = np.empty(x.shape, x.dtype)
    parallel_for(_average, x.shape[1], x, mean, x.dtype.type(share), out, grain=GRAIN)
    return out
