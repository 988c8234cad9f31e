"""A callback that calls a function after each step of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cuslayer.training import Callback, Tally, Trainer


class AfterStep(Callback):
    """Calls `act` with the score of the epoch so far."""

    def __init__(self, act: Callable[[Tally], Any]) -> None:
        self._act = act

    def after_step(self, trainer: Trainer, score: Tally) -> None:
        self._act(score)
