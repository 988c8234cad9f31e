"""The score of samples, as they are counted one batch after the other."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from cuslayer.backend import to_numpy
from cuslayer.loss import classify
from cuslayer.tape import Tensor, as_tensor


class Score(NamedTuple):
    """How an epoch went: the mean loss of a sample, and the part of the samples that were classified right.

    The accuracy is None where the targets are spike trains and not classes.
    """

    loss: float
    accuracy: float | None


class Tally:
    """A running score.

    Attributes:
        samples: how many were counted.
        right: how many of them were classified right.
        loss: the sum of their losses.
        classes: whether the last targets were classes, not spike trains.
        start: when counting began, a time of `time.perf_counter`.
        last: when the last batch was counted.

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
        """Count a batch.

        Args:
            spikes: the output (T, N, classes).
            target: classes (N,) or one-hot (N, classes), or the target train of a loss of spike times (T, N, ...).
            loss: the loss of the whole batch, a scalar tensor or a number.

        Raises:
            ValueError: the target is of another shape.
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
        """Return the score so far; 0 where nothing was counted."""
        samples = max(self.samples, 1)
        return Score(self.loss / samples, self.right / samples if self.classes else None)
