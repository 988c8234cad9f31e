"""The steps of a trainer whose batches are divided among processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer.backend import derived_generator, generator, to_device, to_numpy
from cuslayer.data.batches import Share, Shares
from cuslayer.distributed.context import on_all
from cuslayer.distributed.parallel import DataParallel
from cuslayer.distributed.tree import share
from cuslayer.loss.base import scored
from cuslayer.optim.base import Optimizer
from cuslayer.tape import Tensor
from cuslayer.training.finite import FiniteCheck, NotFiniteError
from cuslayer.training.gradient_flow import GradientFlow
from cuslayer.training.running_statistics import RunningStatistics
from cuslayer.training.score import ROW, Tally
from cuslayer.training.silence import Silence

Pass = Callable[[Any, Any], tuple[Tensor, Any, Tensor]]


class ParallelSteps:
    """Takes steps of a `Trainer` by shares of batches.

    The gradient of a batch is the sum of those of its micro-batches, as losses are sums over recordings. Random numbers
    of a micro-batch come from a generator of its own, which a number of the library's generator and the micro-batch
    determine: every process draws that number, so that all generators stay the same.

    Args:
        parallel: how batches are divided.
        forward: returns the output for (x, target), the target and the loss.
        gradient: the same, and computes the gradients.
        optimizer: the optimizer.
        loss: the loss, which says what is scored.
        scale: the factor of the loss in the score.
        finite: the check of the epoch.
        score: the score of the epoch; all processes have the same.
        statistics: the running statistics of the network.
        silence: the warning of input without spikes, of which process 0 makes use.

    Attributes:
        last: the last batch that this process had a part of, for advice on silent networks; None before.
    """

    def __init__(
        self,
        parallel: DataParallel,
        forward: Pass,
        gradient: Pass,
        optimizer: Optimizer,
        loss: Any,
        scale: float,
        finite: FiniteCheck,
        score: Tally,
        statistics: RunningStatistics,
        silence: Silence,
    ) -> None:
        self._parallel, self._forward, self._gradient, self._optimizer = parallel, forward, gradient, optimizer
        self._loss, self._scale, self._finite, self._score = loss, scale, finite, score
        self._statistics, self._silence = statistics, silence
        self.last: tuple[Any, Any] | None = None

    def train(self, part: Share, flow: GradientFlow | None, batch: int, *, first: bool) -> None:
        """Take an optimizer step for a batch.

        Args:
            part: the micro-batches of this process.
            flow: where the sizes of the gradients are added; None if they are not.
            batch: the number of the batch, from 1.
            first: whether it is the first batch of this process in the epoch.

        Raises:
            NotFiniteError: on all processes, if one has found a number that is not finite.
        """
        sums = self._parallel.sums(self._optimizer.parameters, part.leaves)
        statistics = self._statistics
        found = _Found(np.zeros((part.leaves, statistics.columns)))
        key = int(generator().integers(2**63))
        with np.errstate(over="ignore", invalid="ignore"):
            for leaf, (x, target) in zip(part.own, part.pairs, strict=True):
                last = leaf == part.own[-1]
                found.heard |= self._silence.hears(x)
                if first and leaf == part.own[0]:
                    self._finite.first(x)
                with derived_generator(key, leaf), sums.during(leaf, last), statistics.noted(found.statistics[leaf]):
                    results = self._gradient(x, target)
                sums.add(leaf, last)
                self._note(found, leaf, batch, x, *results)
            self._end_batch(found, batch)
            sums.finish()
            self._finite.gradients(batch, None if self.last is None else self.last[0])
            if flow is not None:
                flow.add()
            self._optimizer.step()
            self._finite.updates(batch)

    def test(self, part: Share, batch: int) -> None:
        """Add a batch to the score; arguments and errors as of `train`."""
        found = _Found(np.zeros((part.leaves, 0)))
        for leaf, (x, target) in zip(part.own, part.pairs, strict=True):
            found.heard |= self._silence.hears(x)
            self._note(found, leaf, batch, x, *self._forward(x, target))
        self._end_batch(found, batch)

    def _note(self, found: _Found, leaf: int, batch: int, x: Any, spikes: Tensor, target: Any, value: Tensor) -> None:
        """Note the score of a micro-batch, and what is not finite."""
        score = found.scores[leaf] = Tally()
        score.add(*scored(self._loss, spikes, target), value, scale=self._scale)
        if self.last is None or leaf == 0:
            self.last = x, target
        try:
            self._finite.loss(batch, x, spikes, value)
        except NotFiniteError as problem:
            found.problem = found.problem or problem

    def _end_batch(self, found: _Found, batch: int) -> None:
        """Add a batch to the score and the statistics on all processes, and raise on all what one has found."""
        parallel, rows = self._parallel, np.pad(found.statistics, ((0, 0), (ROW, 0)))
        for leaf, score in found.scores.items():
            rows[leaf, :ROW] = score.row()
        mine = found.problem is not None, parallel.stop(), found.heard
        flags = parallel.exchange_rows(rows, np.array(mine, np.float64))
        parallel.stopping = bool(flags[:, 1].any())
        if flags[:, 0].any():
            raise on_all(next(each for each in parallel.context.gather(found.problem) if each is not None))
        self._score.add_rows(rows[:, :ROW])
        if parallel.context.rank == 0:
            self._silence.note(bool(flags[:, 2].any()), batch)
        if found.statistics.size:
            self._statistics.move(rows[:, ROW:])


@dataclass
class _Found:
    """What a process has found of a batch: statistics and scores of its micro-batches, and what is not finite."""

    statistics: npt.NDArray[np.float64]
    scores: dict[int, Tally] = field(default_factory=dict)
    problem: NotFiniteError | None = None
    heard: bool = False


def shares(batches: Iterable[Any], parallel: DataParallel) -> Iterable[Any]:
    """Return the shares of batches that a process has; of an iterator they are one, too."""
    context = parallel.context
    found = Shares(batches, parallel.micro, lambda leaves: share(leaves, context.rank, context.size))
    return found if isinstance(batches, Sized) else iter(found)


def same_start(parameters: Sequence[Tensor], steps: int, parallel: DataParallel) -> None:
    """Give all processes the weights of process 0 before the first step, and later check that they have the same.

    Args:
        parameters: the weights.
        steps: the number of steps so far.
        parallel: how batches are divided.

    Raises:
        ValueError: they have not: a machine computes other bits than another.
    """
    context = parallel.context
    if context.size == 1:
        return
    if not steps:
        for p in parameters:
            p.data[...] = to_device(context.broadcast(to_numpy(p.data)))
    digest = hashlib.sha256(b"".join(to_numpy(p.data).tobytes() for p in parameters)).hexdigest()
    context.agree("Trainer", weights=f"digest {digest[:12]}")


def agreed(stop: Callable[[], bool], parallel: DataParallel | None) -> Callable[[], bool]:
    """Return a function that answers on all processes alike whether one is to stop: as after the last batch."""
    if parallel is None:
        return stop
    parallel.stop = stop
    return lambda: parallel.stopping
