"""Traces of synapses, and of inputs, for learning forward in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer.backend import Array

if TYPE_CHECKING:
    from cuslayer.network.online.population import Population


def with_ones(x: Array) -> Array:
    """Return inputs with a further one that is always 1, of the bias."""
    return np.concatenate([x, np.ones((*x.shape[:2], 1), x.dtype)], axis=2)


class Synapses:
    """The traces of the synapses of a population from some inputs, or by its neurons' constants for a width of None."""

    def __init__(self, population: Population, width: int | None) -> None:
        from cuslayer.kernels.online import cpu as online

        self._population = population
        self._of_columns = width is None
        _, samples, neurons = population.shape
        self._shared = population.neurons.shared is not None
        after = population.next
        self._copies = 1
        self._of: Any = None
        self._to: Any = None
        if population.factored and width is not None:
            return
        self._of = online.Tangents(population.neurons, samples if self._shared else samples * neurons, width)
        if after is None:
            return
        own = after.neurons.shared is None
        if own and after.next is None and after.dense is not None and not after.stages:
            self._copies = after.shape[2]
        self._to = online.Tangents(after.neurons, samples * neurons * self._copies, width or self._of.part.columns)

    def gradient(self, x: Array, g: Array) -> Array:
        """Return the gradient (I, J) of the weight, for inputs (T, N, I) and a gradient g of the output (T, N, J)."""
        from cuslayer.kernels.online import cpu as online

        population = self._population
        after = population.next
        start = population.steps
        linear = population.linear
        if self._of is None:
            return np.tensordot(x, population.error(g), axes=((0, 1), (0, 1)))
        of = self._of, linear.written
        if after is None and self._shared:
            return np.tensordot(
                online.follow(x, self._of, linear.written, start), population.error(g), axes=((0, 1), (0, 1))
            )
        if after is None:
            return online.at_output(x, population.error(g), of, start)
        shared = online.follow(x, self._of, linear.written, start) if self._shared else None
        slopes = linear.slopes.reshape(population.shape)
        to = self._to, self._written(after)
        return online.accumulate(x, shared, slopes, self._errors(g, after), of, to, start)

    def _errors(self, g: Array, after: Population) -> Array:
        """Return the errors (T, N, J, copies) of the potentials after the neurons."""
        if self._copies == 1:
            return g[..., None]
        assert after.errors is not None
        sent = after.errors * after.linear.slopes.reshape(after.shape)
        weight = after.feedback_of(after.dense.effective_weight().data)
        return sent[:, :, None, :] * weight

    def _written(self, after: Population) -> Array:
        """Return the coefficients of the neurons after these: for each of them, or their mean."""
        written: Array = after.linear.written
        if written.shape[1] == 1 or self._copies > 1:
            return written
        _, samples, neurons = after.shape
        return np.ascontiguousarray(written.reshape(len(written), samples, neurons).mean(axis=2))


class InputTraces:
    """The traces of inputs through the response of neurons, and of the neurons after them, of all neurons' mean."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._own: Any = None
        self._after: Any = None

    def of(self, x: Array) -> Array:
        """Return the traces of inputs (T, N, ...) in the last chunk."""
        population = self._population
        after = population.next
        rows = x.reshape(*x.shape[:2], math.prod(x.shape[2:])).astype(population.linear.slopes.dtype)
        self._own = self._own or self._tangents(population, rows)
        trace = self._followed(rows, self._own, population)
        if after is not None:
            self._after = self._after or self._tangents(after, rows)
            trace = self._followed(trace, self._after, after)
            trace /= population.window[0]  # of the error, which goes on to earlier layers too
        return trace.reshape(x.shape)

    def _tangents(self, population: Population, rows: Array) -> Any:
        from cuslayer.kernels.online import cpu as online

        return online.Tangents(population.neurons, rows.shape[1], rows.shape[2])

    def _followed(self, rows: Array, tangents: Any, population: Population) -> Array:
        from cuslayer.kernels.online import cpu as online

        written: Array = population.linear.written
        if written.shape[1] > 1:
            means = written.reshape(len(written), rows.shape[1], written.shape[1] // rows.shape[1]).mean(axis=2)
            written = np.ascontiguousarray(means)
        return online.follow(rows, tangents, written, self._population.steps)
