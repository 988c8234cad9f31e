"""The steps of an epoch, one after another: the strategy of a `Trainer`, which others refine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import to_numpy
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.loss.base import observing, scored, sent_labels
from cuslayer.network.container import graph_of
from cuslayer.network.input import SILENT_INPUT, as_input
from cuslayer.network.memory import step_error
from cuslayer.network.network import Sequential
from cuslayer.optim.base import Optimizer
from cuslayer.signals import uninterrupted
from cuslayer.tape import Tensor
from cuslayer.training.finite import FiniteCheck
from cuslayer.training.gradient_flow import GradientFlow
from cuslayer.training.score import Tally

# The gradients of every fourth step are recorded: recording each step would take 1 % of the time.
_GRADIENT_INTERVAL = 4


class Silence:
    """Warns of the first batch whose input is 0 everywhere, from which nothing can be learned, once."""

    def __init__(self) -> None:
        self._warned = False

    def has_spikes(self, x: Any, *, on_device: bool = False) -> bool:
        """Return whether an input is not 0 everywhere; True if it is on a GPU, unless that is to be waited for."""
        stored = as_input(x).stored
        on_host = not isinstance(stored, PackedSpikes) and kernels.of(stored) is kernels.cpu
        if self._warned or not stored.size or not (on_host or on_device):
            return True
        return bool(to_numpy(stored.any()))

    def note(self, spikes: bool, batch: int) -> None:
        """Warn if a batch, numbered from 1, has no spikes."""
        if not spikes and not self._warned:
            self._warned = True
            check.warn(f"the input of batch {batch} is 0 everywhere, it has no spikes; {SILENT_INPUT}")


@dataclass
class Task:
    """What a step computes with, and what it adds to: the sizes of gradients, the score and the checks of an epoch."""

    net: Sequential
    loss: Callable[[Any, Any], Tensor]
    optimizer: Optimizer
    scale: float
    flow: GradientFlow
    silence: Silence
    score: Tally
    finite: FiniteCheck


class PlainStep:
    """Takes a step for each batch.

    `shows` says whether this process shows the progress, `last` is the last batch, and `problem` says why steps could
    not be captured as a CUDA graph.
    """

    shows = True

    def __init__(self) -> None:
        self.last: tuple[Any, Any] | None = None
        self.problem: str | None = None

    def own(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Return what this process has of batches."""
        return batches

    def start(self, net: Sequential, steps: int) -> None:
        """Prepare the weights for the next step; `steps` is the number of steps so far."""

    def train(self, task: Task, batch: Any, number: int) -> None:
        """Take an optimizer step for a batch, numbered from 1."""
        x, target = batch
        task.silence.note(task.silence.has_spikes(x), number)
        if self.last is None:
            task.finite.first(x)
        self.last = batch
        self.take(task, x, target, has_sizes(number), number)

    def take(self, task: Task, x: Any, target: Any, sizes: bool, number: int) -> None:
        """Take a step for a batch; add the sizes of its gradients if wanted."""
        with np.errstate(over="ignore", invalid="ignore"):  # the check says more than NumPy's warning
            spikes, target, value = forward(task, x, target)
            task.finite.loss(number, x, spikes, value)
            backward(task, x, value)
            task.finite.gradients(number, x)
            with uninterrupted():  # who goes on after an interrupt finds a step that is counted everywhere or nowhere
                if sizes:
                    task.flow.add()
                task.optimizer.step()
                task.finite.updates(number)
                task.score.add(*scored(task.loss, spikes, target), value, scale=task.scale)

    def test(self, task: Task, batch: Any, number: int) -> None:
        """Add a batch to the score."""
        x, target = batch
        task.silence.note(task.silence.has_spikes(x), number)
        spikes, target, value = forward(task, x, target)
        task.finite.loss(number, x, spikes, value)
        task.score.add(*scored(task.loss, spikes, target), value, scale=task.scale)

    def end(self, task: Task) -> None:
        """Look at the last batch of an epoch in which the output had no spikes."""
        if self.last is not None:
            task.silence.note(task.silence.has_spikes(self.last[0], on_device=True), task.score.batches)


def has_sizes(number: int) -> bool:
    """Return whether the sizes of the gradients are recorded in a step, numbered from 1."""
    return number % _GRADIENT_INTERVAL == 1


def forward(task: Task, x: Any, target: Any) -> tuple[Tensor, Any, Tensor]:
    """Return the output for a batch, the target where loss and score need it, and the loss."""
    with observing(task.loss, task.net):
        spikes = task.net(x)
    target = sent_labels(task.loss, target, spikes)
    return spikes, target, task.loss(spikes, target)


def backward(task: Task, x: Any, value: Tensor) -> None:
    """Compute the gradients of a loss."""
    task.optimizer.zero_grad()
    try:
        value.backward()
    except MemoryError:
        raise step_error(graph_of(task.net), as_input(x).shape) from None
