"""`Trainer`: one epoch of training, one of testing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from itertools import islice
from typing import Any

from cuslayer import check
from cuslayer.backend import to_numpy
from cuslayer.network.network import Sequential
from cuslayer.optim import SGD, Adam
from cuslayer.tape import Tensor, no_grad
from cuslayer.training.gradient_flow import GradientFlow
from cuslayer.training.score import Score, Tally

# The gradients of every fourth step are recorded: recording each step would take 1 % of the time.
_GRADIENT_INTERVAL = 4


class _Progress(Tally):
    """Accumulates the score of an epoch and shows it in a progress bar."""

    def __init__(self, batches: Iterable[Any], title: str, show: bool, steps: int | None) -> None:
        from tqdm import tqdm

        super().__init__()
        total = len(batches) if isinstance(batches, Sized) else None
        if steps is not None:
            batches, total = islice(batches, steps), steps if total is None else min(total, steps)
        # disable=None: tqdm draws only on a terminal.
        self.bar = tqdm(batches, desc=title, total=total, leave=False, disable=None if show else True)

    def add(self, spikes: Any, target: Any, loss: Any) -> None:
        super().add(spikes, target, loss)
        score, speed = self.score(), self.samples / (self.last - self.start)
        accuracy = "" if score.accuracy is None else f"accuracy {score.accuracy:.1%}, "
        self.bar.set_postfix_str(f"loss {score.loss:.4g}, {accuracy}{speed:.0f} samples/s", refresh=False)


class Trainer:
    """Trains and tests a network, one epoch per call.

    Args:
        net: the network.
        loss: a function of the network's spikes and the targets to a scalar tensor.
        optimizer: the optimizer of the network's parameters.
        progress: whether to show a progress bar on a terminal.
        loss_scale: the factor of the loss in scores and the progress bar; gradients do not change.

    Raises:
        ValueError: loss_scale is not positive.
        TypeError: loss_scale is not a number.

    Attributes:
        gradients: the size of each layer's gradient in every fourth step, one epoch per call of `train`.
        silent_batch: the last batch of `train` if the output had no spike in any batch, as input for `health`;
            otherwise None. Layers have no bias, so one silent layer makes the output silent.

    >>> import numpy as np
    >>> from cuslayer import SGD, SRM, Dense, Sequential, SpikeCountLoss
    >>> net = Sequential(Dense(3, 2), SRM())
    >>> trainer = Trainer(net, SpikeCountLoss(SRM(), true=5, false=0), SGD(net.parameters()))
    >>> batch = np.ones((20, 4, 3), bool), np.array([0, 1, 0, 1])
    >>> score = trainer.train([batch])
    >>> 0.0 <= trainer.test([batch]).accuracy <= 1.0
    True
    """

    def __init__(
        self,
        net: Sequential,
        loss: Callable[[Any, Any], Tensor],
        optimizer: SGD | Adam,
        *,
        progress: bool = False,
        loss_scale: float = 1.0,
    ) -> None:
        self.loss_scale = check.positive("Trainer", "loss_scale", loss_scale)
        self.net, self.loss, self.optimizer, self.progress = net, loss, optimizer, progress
        self.gradients = GradientFlow(net)
        self.silent_batch: tuple[Any, Any] | None = None

    def train(self, batches: Iterable[Any], *, title: str = "train", steps: int | None = None) -> Score:
        """Take an optimizer step for each batch and return the score during training.

        Args:
            batches: pairs of spikes (T, N, ...) and classes (N,), or target spike trains for a loss of spike times.
            title: the title of the progress bar.
            steps: stop after so many batches; None for all.

        Raises:
            ValueError: steps is less than 1.
            TypeError: steps is not an integer.
        """
        progress, any_spikes = self._progress(batches, title, steps), False
        self.net.train()
        self.silent_batch = None
        for step, (x, target) in enumerate(progress.bar):
            spikes = self.net(x)
            any_spikes = any_spikes or bool(to_numpy(spikes.data.any()))
            value = self.loss(spikes, target)
            self.optimizer.zero_grad()
            value.backward()
            if step % _GRADIENT_INTERVAL == 0:
                self.gradients.add()
            self.optimizer.step()
            progress.add(spikes, target, value.item() * self.loss_scale)
        if progress.samples:
            self.gradients.end_epoch()
            self.silent_batch = None if any_spikes else (x, target)
        return progress.score()

    def test(self, batches: Iterable[Any], *, title: str = "test", steps: int | None = None) -> Score:
        """Return the score of batches (spikes, target) in eval mode, without gradients; arguments as in `train`."""
        progress = self._progress(batches, title, steps)
        self.net.train(False)
        with no_grad():
            for x, target in progress.bar:
                spikes = self.net(x)
                progress.add(spikes, target, self.loss(spikes, target).item() * self.loss_scale)
        return progress.score()

    def _progress(self, batches: Iterable[Any], title: str, steps: int | None) -> _Progress:
        if steps is not None:
            steps = check.integer("Trainer", "steps", steps, least=1)
        return _Progress(batches, title, self.progress, steps)
