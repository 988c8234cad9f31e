"""Mean loss and accuracy of samples, accumulated batch by batch."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from cuslayer.backend import to_numpy
from cuslayer.loss import classify
from cuslayer.tape import Tensor, as_tensor


class Score(NamedTuple):
    """Mean loss per sample, and accuracy: the fraction of samples classified correctly.

    The accuracy is None if the targets are spike trains instead of classes.
    """

    loss: float
    accuracy: float | None


class Tally:
    """Accumulates the score of an epoch.

    Attributes:
        samples: the number of samples so far.
        right: the number of correctly classified samples.
        loss: the sum of the losses.
        classes: whether the last targets were classes, not spike trains.
        start: the time of creation, by `time.perf_counter`.
        last: the time of the last batch.

    >>> import numpy as np
    >>> tally = Tally()
    >>> tally.add(np.array([[[True, False], [True, False]]]), [0, 1], 3.0)
    >>> tally.score()
    Score(loss=1.5, accuracy=0.5)
    """

    def __init__(self) -> None:
        self.samples = self.right = 0
        self.loss = 0.0
        self.classes = True
        self.start = self.last = time.perf_counter()

    def add(self, spikes: Any, target: Any, loss: Any) -> None:
        """Add a batch.

        Args:
            spikes: the output (T, N, classes).
            target: classes (N,), one-hot (N, classes), or target spike trains (T, N, ...).
            loss: the loss of the whole batch, a scalar tensor or a number.

        Raises:
            ValueError: the target has none of these shapes.
        """
        spikes = as_tensor(spikes)
        given = to_numpy(target.data if isinstance(target, Tensor) else target)
        self.classes = given.shape != spikes.shape
        right = 0
        if self.classes:
            if given.shape == spikes.shape[1:] and given.ndim == 2:
                given = given.argmax(axis=1)
            if given.shape != spikes.shape[1:2]:
                raise ValueError(f"Tally: target has shape {given.shape}, spikes have shape {spikes.shape}")
            right = int((classify(spikes) == given).sum())
        self.right += right
        self.samples += spikes.shape[1]
        self.loss += loss.item() if isinstance(loss, Tensor) else float(loss)
        self.last = time.perf_counter()

    def score(self) -> Score:
        """Return the score so far; zeros before the first batch."""
        samples = max(self.samples, 1)
        return Score(self.loss / samples, self.right / samples if self.classes else None)
