"""One epoch of training, and one of testing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from typing import Any

from cuslayer.backend import to_numpy
from cuslayer.network.network import Sequential
from cuslayer.optim import SGD, Adam
from cuslayer.tape import Tensor, no_grad
from cuslayer.training.gradient_flow import GradientFlow
from cuslayer.training.score import Score, Tally

# Of so many steps the gradients of one are measured: all of them would cost a hundredth of the time.
_WATCHED = 4


class _Progress(Tally):
    """The running score of an epoch, and the progress bar that shows it."""

    def __init__(self, batches: Iterable[Any], title: str, show: bool) -> None:
        from tqdm import tqdm

        super().__init__()
        total = len(batches) if isinstance(batches, Sized) else None
        # None: tqdm draws on a terminal only.
        self.bar = tqdm(batches, desc=title, total=total, leave=False, disable=None if show else True)

    def add(self, spikes: Any, target: Any, loss: Any) -> None:
        super().add(spikes, target, loss)
        score, speed = self.score(), self.samples / (self.last - self.start)
        accuracy = "" if score.accuracy is None else f"accuracy {score.accuracy:.1%}, "
        self.bar.set_postfix_str(f"loss {score.loss:.4g}, {accuracy}{speed:.0f} samples/s", refresh=False)


class Trainer:
    """Trains a network, an epoch at a time.

    Args:
        net: the network.
        loss: of the network's spikes and the targets.
        optimizer: moves the network's parameters.
        progress: whether a terminal shows a bar.

    Attributes:
        gradients: the size of each layer's gradient, an epoch for each call of `train`, from every fourth step.
        quiet: after `train`, the last batch where the output was silent in all of them, for `health` to look at: it is
            where any layer is, as none has a bias. Else None.

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
    ) -> None:
        self.net, self.loss, self.optimizer, self.progress = net, loss, optimizer, progress
        self.gradients = GradientFlow(net)
        self.quiet: tuple[Any, Any] | None = None

    def train(self, batches: Iterable[Any], *, title: str = "train") -> Score:
        """Take a step for each batch (spikes, target) and return the score along the way.

        Args:
            batches: pairs of spikes (T, N, ...) and classes (N,), or a target train for a loss of spike times.
            title: what the bar is called.
        """
        self.net.train()
        progress, heard = _Progress(batches, title, self.progress), False
        self.quiet = None
        for step, (x, target) in enumerate(progress.bar):
            spikes = self.net(x)
            heard = heard or bool(to_numpy(spikes.data.any()))
            value = self.loss(spikes, target)
            self.optimizer.zero_grad()
            value.backward()
            if step % _WATCHED == 0:
                self.gradients.add()
            self.optimizer.step()
            progress.add(spikes, target, value)
        if progress.samples:
            self.gradients.end_epoch()
            self.quiet = None if heard else (x, target)
        return progress.score()

    def test(self, batches: Iterable[Any], *, title: str = "test") -> Score:
        """Return the score of batches (spikes, target) with the weights as they are, keeping nothing for backward."""
        self.net.train(False)
        progress = _Progress(batches, title, self.progress)
        with no_grad():
            for x, target in progress.bar:
                spikes = self.net(x)
                progress.add(spikes, target, self.loss(spikes, target))
        return progress.score()
