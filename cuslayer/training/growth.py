"""One-line warnings, each once, of gradients that grow through time, and of a limit that cuts all gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer.backend import Array, capturing, namespace, to_numpy
from cuslayer.layers.recurrent import on_errors
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.optim.optimizers import Optimizer
from cuslayer.training.score import GradientFlow

# The largest growth from the last step to the first without a warning; the number of time steps to check.
_MOST, _ROWS = 1000.0, 100
# The minimum number of steps with an error for a check: over fewer, the delay of a response looks like growth.
_SHORT = 50
# The minimum number of norms for the check of an epoch.
_LEAST = 3


class GradientWatch:
    """Checks the gradients in steps with recorded sizes, every fourth, and warns at the end of an epoch.

    For a recurrent population it compares the sums of squared errors of the weighted input in the last, the middle and
    the first tenth of the steps with errors. Errors must grow in both halves: neither a loss at every step, whose
    errors add up, nor silence at one end counts as growth. On a GPU nothing is read before the epoch ends.
    """

    def __init__(self, net: Sequential, optimizer: Optimizer, flow: GradientFlow) -> None:
        self._net, self._optimizer, self._flow = net, optimizer, flow
        neurons = (node for node in net.graph.nodes if is_neuron(node.stage))
        self._populations = {id(node.stage): node for node in neurons if as_neuron(node.stage).own_layer is not None}
        self._warned = set[str]()
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start an epoch: drop notes since the last."""
        # By the identity of a population, and the kernels of a device: backward passes with growth, and all.
        self._counts: dict[tuple[int, Any], Array] = {}
        # Sums of squares of all gradients since the start of the epoch, at its start and after each step.
        self._totals = [self._flow.total()]

    @contextmanager
    def during(self, looks: bool, *, joined: bool = False) -> Iterator[None]:
        """Check the errors of recurrent populations within the block, if wanted and without an earlier warning.

        With `joined`, passes are the chunks of one, from the last to the first.
        """
        # A captured graph would check in each of its runs.
        if not looks or not self._populations or "growth" in self._warned or capturing():
            yield
            return
        passes = dict[tuple[int, Any], list[Array]]()
        with on_errors.set(partial(self._note, passes)):
            yield
        for key, found in passes.items():
            for sizes in [namespace(found[0]).concatenate(found[::-1], axis=0)] if joined else found:
                self._judge(key, sizes)

    def add(self) -> None:
        """Add the norm of the gradients of a step with recorded sizes."""
        if self._optimizer.clip_norm is not None and self._optimizer.clip_value is None:
            self._totals.append(self._flow.total())

    def end_epoch(self) -> None:
        """Warn of the epoch's findings."""
        self.warn_of_growth()
        limit, totals = self._optimizer.clip_norm, np.array([sum(map(float, each)) for each in self._totals])
        self._totals = []
        norms = np.sqrt(np.maximum(np.diff(totals), 0.0)) if limit is not None else np.empty(0)
        if limit is None or len(norms) < _LEAST or not (norms > limit).all() or "clip" in self._warned:
            return
        self._warned.add("clip")
        rare = float(np.quantile(norms, 0.9))
        check.warn(
            f"clip_norm={limit:g} has cut the gradients of every step of epoch {self._optimizer.epoch + 1}; the median "
            f"of their norms is {np.median(norms):.3g}, and clip_norm={rare:.3g} would cut 1 in 10"
        )

    def warn_of_growth(self, share: float = 0.5) -> None:
        """Warn of the first population in which more than a fraction of the epoch's backward passes showed growth."""
        found = {number: to_numpy(counts).tolist() for (number, _), counts in self._counts.items()}
        self._counts = {}
        grown = [number for number, (grew, passes) in found.items() if grew > share * passes]
        if not grown or "growth" in self._warned:
            return
        self._warned.add("growth")
        node = self._populations[grown[0]]
        own = ', the neurons\' gradient="detached" or a smaller tau_rho' if node.stage.gradient == "exact" else ""
        check.warn(
            f"gradients grow by more than {_MOST:,.0f} through time in layer {node} ({type(node.stage).__name__}); set "
            f"a lower rate of its weights (relative=True), a smaller scale_rho of its neurons{own}, or truncate"
        )

    def _note(self, passes: dict[tuple[int, object], list[Array]], population: object, errors: Array) -> None:
        """Note the squared sizes (rows, N) of the errors of a backward pass (T, N, ...)."""
        if id(population) in self._populations and errors.size:
            rows = errors[:: max(1, len(errors) // _ROWS)]
            e = rows.reshape(len(rows), rows.shape[1], rows[0, 0].size).astype(np.float64)
            passes.setdefault((id(population), kernels.of(errors)), []).append((e * e).sum(axis=2))

    def _judge(self, key: tuple[int, object], e: Array) -> None:
        """Count a backward pass with squared sizes (rows, N) of errors, and whether they grow."""
        xp = namespace(e)
        # The number of rows of a sample with an error, counted from the last.
        alive = e != 0
        rank = alive[::-1].astype(np.float64).cumsum(axis=0)[::-1]
        count = rank[:1]
        tenth = xp.maximum(count / 10, 1.0)
        alive &= count >= _SHORT
        parts = rank <= tenth, abs(rank - count / 2) <= tenth / 2, rank > count - tenth
        last, middle, first = (xp.where(alive & part, e, 0.0).sum() for part in parts)
        # Errors that are not finite have grown, unless they already start so at the last steps.
        grew = (last < np.inf) & ~(middle <= last * _MOST) & ~((first <= middle * _MOST) & (first < np.inf))
        if key not in self._counts:
            self._counts[key] = xp.zeros(2, np.float64)
        self._counts[key][:1] += grew.astype(np.float64)
        self._counts[key][1:] += 1.0
