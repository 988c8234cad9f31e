"""Training steps whose batches are divided among processes, and the running statistics of their micro-batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer.backend import Array, derived_generator, generator, to_device, to_numpy
from cuslayer.data.batches import Share, Shares
from cuslayer.distributed.context import on_all
from cuslayer.distributed.parallel import DataParallel
from cuslayer.distributed.sums import share
from cuslayer.layers.batch_norm import BatchNorm, take_statistics
from cuslayer.loss.base import scored
from cuslayer.network.container import graph_of
from cuslayer.network.network import Sequential
from cuslayer.tape import Tensor
from cuslayer.training.finite import NotFiniteError
from cuslayer.training.score import ROW, Tally
from cuslayer.training.steps import PlainStep, Task, backward, forward, has_sizes


class RunningStatistics:
    """Moves the running statistics of a network by what its layers find in the micro-batches of a batch.

    A micro-batch is normalized by its own mean and variance. Of n_i elements of a channel with the mean m_i and the
    variance v_i in micro-batch i, the running ones move towards those of the whole batch::

        n = sum n_i        m = sum n_i m_i / n        v = sum n_i (v_i + (m_i - m)^2) / n

    in float64 and in the order of the micro-batches, whichever process has found them. A layer that runs several times
    in a forward pass counts as one with all these elements.

    Attributes:
        columns: the numbers of a micro-batch: of each layer the number of elements, the means and the variances.

    >>> import numpy as np
    >>> norm = BatchNorm(1, momentum=0.5)
    >>> statistics = RunningStatistics(Sequential(norm))
    >>> rows = np.zeros((2, statistics.columns))
    >>> for row, numbers in zip(rows, ([0.0, 2.0], [5.0])):
    ...     with statistics.noted(row):
    ...         y = norm(np.array(numbers).reshape(-1, 1, 1))
    >>> rows.tolist()
    [[2.0, 1.0, 1.0], [1.0, 5.0, 0.0]]
    >>> statistics.move(rows); [round(float(a.data[0]), 4) for a in (norm.mean, norm.var)]
    [1.1667, 2.6111]
    """

    def __init__(self, net: Sequential) -> None:
        stages = {id(node.stage): node.stage for node in graph_of(net).nodes}
        self._layers: list[BatchNorm] = [stage for stage in stages.values() if isinstance(stage, BatchNorm)]
        ends = np.cumsum([0, *(1 + 2 * layer.features for layer in self._layers)]).tolist()
        self._places = {id(layer): slice(*ends[i : i + 2]) for i, layer in enumerate(self._layers)}
        self.columns: int = ends[-1]

    def noted(self, row: Array) -> AbstractContextManager[None]:
        """Write what the layers find within the block into a row (columns,) of zeros, and leave them as they are."""

        def note(layer: BatchNorm, count: int, mean: Array, var: Array) -> None:
            if id(layer) not in self._places:
                raise ValueError("parallel needs each BatchNorm as a layer of the network, got one within another")
            mine = row[self._places[id(layer)]]
            found = np.concatenate([[count], to_numpy(mean), to_numpy(var)])
            mine[:] = _of_all(np.stack([mine, found]))

        return take_statistics(note)

    def move(self, rows: Array) -> None:
        """Move the running statistics by the rows (micro-batches, columns) of a batch."""
        for layer in self._layers:
            count, *found = _of_all(rows[:, self._places[id(layer)]])
            if count:
                mean, var = np.split(np.array(found), 2)
                layer.move(to_device(mean), to_device(var))


def _of_all(rows: Array) -> Array:
    """Return number, means and variances (1 + 2 channels,) of all elements by those of parts, (parts, 1 + 2 channels).

    Parts are added one after the other; a single part is returned as it is.
    """
    rows = rows[rows[:, 0] > 0]
    if len(rows) < 2:
        return rows[0] if len(rows) else np.zeros(rows.shape[1])
    counts = rows[:, :1]
    means, variances = np.split(rows[:, 1:], 2, axis=1)
    count = sum(counts, np.zeros(1))
    mean = sum(counts * means, np.zeros(means.shape[1])) / count
    var = sum(counts * (variances + (means - mean) ** 2), np.zeros(means.shape[1])) / count
    return np.concatenate([count, mean, var])


@dataclass
class _Found:
    """What a process has found of a batch: statistics and scores of its micro-batches, and what is not finite."""

    statistics: npt.NDArray[np.float64]
    scores: dict[int, Tally] = field(default_factory=dict)
    problem: NotFiniteError | None = None
    spikes: bool = False


class ParallelStep(PlainStep):
    """Takes steps by the shares that several processes have of each batch.

    The gradient of a batch is the sum of those of its micro-batches, as losses are sums over recordings. Random numbers
    of a micro-batch come from a generator of its own, which a number of the library's generator and the micro-batch
    determine: every process draws that number, so that all generators stay the same. What one process finds not to be
    finite, all raise.
    """

    def __init__(self, parallel: DataParallel, statistics: RunningStatistics) -> None:
        super().__init__()
        self._parallel, self._statistics = parallel, statistics
        self.shows = parallel.context.rank == 0

    def own(self, batches: Iterable[Any]) -> Iterable[Any]:
        context = self._parallel.context
        found = Shares(batches, self._parallel.micro, lambda leaves: share(leaves, context.rank, context.size))
        return found if isinstance(batches, Sized) else iter(found)

    def start(self, net: Sequential, steps: int) -> None:
        """Give all processes the weights of process 0 before the first step, and later check that they have the same.

        Raises:
            ValueError: they have not: a machine computes other bits than another.
        """
        context, parameters = self._parallel.context, net.parameters()
        if context.size == 1:
            return
        if not steps:
            for p in parameters:
                p.data[...] = to_device(context.broadcast(to_numpy(p.data)))
        digest = hashlib.sha256(b"".join(to_numpy(p.data).tobytes() for p in parameters)).hexdigest()
        context.agree(weights=f"digest {digest[:12]}")

    def train(self, task: Task, batch: Any, number: int) -> None:
        part: Share = batch[0]
        sums = self._parallel.sums(task.optimizer.parameters, part.leaves)
        found = _Found(np.zeros((part.leaves, self._statistics.columns)))
        key = int(generator().integers(2**63))
        with np.errstate(over="ignore", invalid="ignore"):
            for leaf, (x, target) in zip(part.own, part.pairs, strict=True):
                last = leaf == part.own[-1]
                found.spikes |= task.silence.has_spikes(x)
                if self.last is None:
                    task.finite.first(x)
                noted = self._statistics.noted(found.statistics[leaf])
                with derived_generator(key, leaf), sums.during(leaf, last), noted:
                    spikes, target, value = forward(task, x, target)
                    backward(task, x, value)
                sums.add(leaf, last)
                self._note(task, found, leaf, number, x, spikes, target, value)
            self._end_batch(task, found, number)
            sums.finish()
            task.finite.gradients(number, None if self.last is None else self.last[0])
            if has_sizes(number):
                task.flow.add()
            task.optimizer.step()
            task.finite.updates(number)

    def test(self, task: Task, batch: Any, number: int) -> None:
        part: Share = batch[0]
        found = _Found(np.zeros((part.leaves, 0)))
        for leaf, (x, target) in zip(part.own, part.pairs, strict=True):
            found.spikes |= task.silence.has_spikes(x)
            self._note(task, found, leaf, number, x, *forward(task, x, target))
        self._end_batch(task, found, number)

    def end(self, task: Task) -> None:
        """Do nothing: on the host each batch was looked at by all processes."""

    def _note(
        self, task: Task, found: _Found, leaf: int, number: int, x: Any, spikes: Tensor, target: Any, value: Tensor
    ) -> None:
        """Note the score of a micro-batch, and what is not finite."""
        score = found.scores[leaf] = Tally()
        score.add(*scored(task.loss, spikes, target), value, scale=task.scale)
        if self.last is None or leaf == 0:
            self.last = x, target
        try:
            task.finite.loss(number, x, spikes, value)
        except NotFiniteError as problem:
            found.problem = found.problem or problem

    def _end_batch(self, task: Task, found: _Found, number: int) -> None:
        """Add a batch to the score and the statistics on all processes, and raise on all what one has found."""
        parallel, rows = self._parallel, np.pad(found.statistics, ((0, 0), (ROW, 0)))
        for leaf, score in found.scores.items():
            rows[leaf, :ROW] = score.row()
        mine = found.problem is not None, parallel.stop(), found.spikes
        flags = parallel.exchange_rows(rows, np.array(mine, np.float64))
        parallel.stopping = bool(flags[:, 1].any())
        if flags[:, 0].any():
            raise on_all(next(each for each in parallel.context.gather(found.problem) if each is not None))
        task.score.add_rows(rows[:, :ROW])
        if parallel.context.rank == 0:
            task.silence.note(bool(flags[:, 2].any()), number)
        if found.statistics.size:
            self._statistics.move(rows[:, ROW:])


def agreed(stop: Callable[[], bool], parallel: DataParallel | None) -> Callable[[], bool]:
    """Return a function that answers on all processes alike whether one is to stop: as after the last batch."""
    if parallel is None:
        return stop
    parallel.stop = stop
    return lambda: parallel.stopping
