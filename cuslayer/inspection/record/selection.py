"""Selections of layers, neurons, samples and a window of time to record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.inspection.record.labelled import Labels
from cuslayer.inspection.structure import Unit, dt_at, find_unit, is_path, units

_AXES = {1: ("neuron",), 3: ("row", "column", "channel")}
_SEVERAL = (list, tuple, range)


@dataclass(frozen=True)
class Selection:
    """Selected samples, neurons and steps of a layer's arrays (T, N, ...).

    Attributes:
        shape: the shape of the arrays.
        samples: the selected samples, None for all.
        neurons: the index of each selected neuron, (k, axes), None for all.
        steps: the window of time.
        dt: the step, ms.
    """

    shape: tuple[int, ...]
    samples: Array | None
    neurons: Array | None
    steps: slice
    dt: float

    @cached_property
    def numbers(self) -> Any:
        """The flat index of each selected neuron in C order, (k,); None for all."""
        if self.neurons is None or len(self.shape) == 3:
            return None if self.neurons is None else self.neurons[:, 0]
        return np.ravel_multi_index(tuple(self.neurons.T), self.shape[2:])

    @property
    def all_steps(self) -> bool:
        """Whether all steps are selected."""
        return self.steps == slice(0, self.shape[0])

    def pick(self, x: Array) -> Array:
        """Return the selected columns of x at all steps, (T, samples, ...) or (T, samples, k).

        x is (T, N, ...), or an array of the same elements in another shape.
        """
        steps, samples, *shape = self.shape
        if self.neurons is None:
            whole = x.reshape(self.shape)
            return whole if self.samples is None else whole[:, namespace(x).asarray(self.samples)]
        size, numbers = math.prod(shape), self.numbers
        if self.samples is None and len(numbers) == 1:
            # A slice is faster than an index list of length 1.
            only = int(numbers[0])
            return x.reshape(steps, samples, size)[:, :, only : only + 1].copy()
        chosen = np.arange(samples) if self.samples is None else self.samples
        columns = (chosen[:, None] * size + numbers).ravel()
        picked = x.reshape(steps, samples * size).take(namespace(x).asarray(columns), axis=1)
        return picked.reshape(steps, len(chosen), len(numbers))

    def pick_copy(self, x: Array) -> Array:
        """Return the selected columns of x as an array that shares no memory with x."""
        picked = self.pick(x)
        return picked.copy() if self.neurons is None and self.samples is None else picked

    def pick_neurons(self, x: Array) -> Array:
        """Return the selected neurons of x, which has the selected samples only."""
        return x if self.neurons is None else Selection(x.shape, None, self.neurons, self.steps, self.dt).pick(x)

    def for_layer(self, shape: tuple[int, ...], neurons: Array | None) -> Selection:
        """Return a selection from another layer's arrays, with the same samples and steps."""
        return Selection((*self.shape[:2], *shape), self.samples, neurons, self.steps, self.dt)

    def labels(self) -> Labels:
        """Return the axes of the selected arrays and their labels."""
        steps, samples, *shape = self.shape
        time = np.arange(*self.steps.indices(steps)) * self.dt
        chosen = np.arange(samples) if self.samples is None else self.samples
        coords = {"time": ("time", time), "sample": ("sample", chosen)}
        axes = _AXES.get(len(shape), tuple(f"axis_{i}" for i in range(len(shape))))
        if self.neurons is None:
            coords |= {axis: (axis, np.arange(size)) for axis, size in zip(axes, shape, strict=True)}
            return Labels(("time", "sample", *axes), coords)
        coords["neuron"] = "neuron", self.numbers
        if len(shape) > 1:
            coords |= {axis: ("neuron", index) for axis, index in zip(axes, self.neurons.T, strict=True)}
        return Labels(("time", "sample", "neuron"), coords)


class Request:
    """The arguments of `record`, checked against a network."""

    def __init__(self, net: Any, layers: Any, neurons: Any, samples: Any, window: Any) -> None:
        self.net = net
        by_layer = isinstance(neurons, Mapping)
        named = {find_unit("record", net, layer): chosen for layer, chosen in neurons.items()} if by_layer else {}
        if layers is None:
            self.units = list(named) if by_layer else units(net)
        else:
            several = layers if isinstance(layers, _SEVERAL) and not is_path(net, layers) else [layers]
            self.units = [find_unit("record", net, layer) for layer in several]
        unexpected = next((u for u in named if u not in self.units), None)
        if unexpected is not None:
            raise ValueError(f"record: neurons of layer {unexpected.last} are asked for, but not that layer")
        self.neurons = {u: named.get(u) if by_layer else neurons for u in self.units}
        self.samples, self.window = samples, window
        self._selections: dict[tuple[Unit, tuple[int, ...]], Selection] = {}
        if window is not None and (not isinstance(window, (tuple, list)) or len(window) != 2):
            raise ValueError(f"record: window must be (start, stop) in ms, got {window!r}")

    def selection(self, of: Unit, shape: tuple[int, ...]) -> Selection:
        """Return the selection from a unit's arrays of a shape (T, N, ...)."""
        if (of, shape) not in self._selections:
            dt = dt_at(self.net, of.last.number)
            samples, neurons, steps = self._samples(shape[1]), self._neurons(of, shape[2:]), self._steps(shape[0], dt)
            self._selections[of, shape] = Selection(shape, samples, neurons, steps, dt)
        return self._selections[of, shape]

    def _steps(self, steps: int, dt: float) -> slice:
        if self.window is None:
            return slice(0, steps)
        start, stop = (check.not_negative("record", "window", edge) for edge in self.window)
        first, last = round(start / dt), round(stop / dt)
        if first >= last:
            raise ValueError(f"record: window must hold a step of {dt:g} ms, got {start:g} to {stop:g} ms")
        if last > steps:
            raise ValueError(f"record: window reaches to {stop:g} ms, the input ends at {steps * dt:g} ms")
        return slice(first, last)

    def _samples(self, count: int) -> Array | None:
        if self.samples is None:
            return None
        given = self.samples if isinstance(self.samples, _SEVERAL) else [self.samples]
        chosen = [check.integer("record", "sample", sample, least=0) for sample in given]
        for sample in chosen:
            if sample >= count:
                raise ValueError(f"record: sample must be under {count}, got {sample}")
        return np.array(chosen, np.int64)

    def _neurons(self, of: Unit, shape: tuple[int, ...]) -> Array | None:
        chosen = self.neurons[of]
        if chosen is None:
            return None
        several = chosen if isinstance(chosen, (list, range)) else [chosen]
        indices = [check.neuron_index("record", shape, neuron) for neuron in several]
        return np.array(indices, np.int64).reshape(len(indices), len(shape))
