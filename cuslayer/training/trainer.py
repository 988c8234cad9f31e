"""One epoch of training, and one of testing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sized
from typing import Any, NamedTuple

from tqdm import tqdm

from cuslayer.backend import to_numpy
from cuslayer.loss import SpikeCountLoss, SpikeTimeLoss, classify
from cuslayer.network import Sequential
from cuslayer.optim import SGD, Adam
from cuslayer.tape import no_grad


class Score(NamedTuple):
    """How an epoch went: the mean loss of a sample, and the part of the samples that were classified right.

    The accuracy is None where the targets are spike trains and not classes.
    """

    loss: float
    accuracy: float | None


class _Tally:
    """The running score of an epoch, and the progress bar that shows it."""

    def __init__(self, batches: Iterable[Any], title: str, show: bool) -> None:
        self.samples = self.right = 0
        self.loss = 0.0
        self.classes = True
        self.start = time.perf_counter()
        total = len(batches) if isinstance(batches, Sized) else None
        # None: tqdm draws on a terminal only.
        self.bar = tqdm(batches, desc=title, total=total, leave=False, disable=None if show else True)

    def count(self, spikes: Any, target: Any, loss: float) -> None:
        batch = spikes.shape[1]
        self.samples += batch
        self.loss += loss
        self.classes = target.ndim == 1
        if self.classes:
            self.right += int((to_numpy(classify(spikes)) == to_numpy(target)).sum())
        score, speed = self.score(), self.samples / (time.perf_counter() - self.start)
        accuracy = "" if score.accuracy is None else f"accuracy {score.accuracy:.1%}, "
        self.bar.set_postfix_str(f"loss {score.loss:.4g}, {accuracy}{speed:.0f} samples/s", refresh=False)

    def score(self) -> Score:
        samples = max(self.samples, 1)
        return Score(self.loss / samples, self.right / samples if self.classes else None)


class Trainer:
    """Trains a network, an epoch at a time.

    Args:
        net: the network.
        loss: of the network's spikes and the targets.
        optimizer: moves the network's parameters.
        progress: whether a terminal shows a bar.

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
        loss: SpikeCountLoss | SpikeTimeLoss,
        optimizer: SGD | Adam,
        *,
        progress: bool = False,
    ) -> None:
        self.net, self.loss, self.optimizer, self.progress = net, loss, optimizer, progress

    def train(self, batches: Iterable[Any], *, title: str = "train") -> Score:
        """Take a step for each batch (spikes, target) and return the score along the way.

        Args:
            batches: pairs of spikes (T, N, ...) and classes (N,), or a target train for a loss of spike times.
            title: what the bar is called.
        """
        self.net.train()
        tally = _Tally(batches, title, self.progress)
        for x, target in tally.bar:
            spikes = self.net(x)
            value = self.loss(spikes, target)
            self.optimizer.zero_grad()
            value.backward()
            self.optimizer.step()
            tally.count(spikes, target, value.item())
        return tally.score()

    def test(self, batches: Iterable[Any], *, title: str = "test") -> Score:
        """Return the score of batches (spikes, target) with the weights as they are, keeping nothing for backward."""
        self.net.train(False)
        tally = _Tally(batches, title, self.progress)
        with no_grad():
            for x, target in tally.bar:
                spikes = self.net(x)
                tally.count(spikes, target, self.loss(spikes, target).item())
        return tally.score()
