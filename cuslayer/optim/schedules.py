"""Schedules: the learning rate as a function of the epoch or the step."""

from __future__ import annotations

import math

from cuslayer._base import check
from cuslayer.optim.optimizers import ByStep, Schedule


@check.operation
def step_decay(lr: float, *, every: int = 10, factor: float = 0.1) -> Schedule:
    """Return a schedule that multiplies the learning rate by factor after every `every` epochs.

    ``ByStep(step_decay(...))`` counts steps in place of epochs.

    Raises:
        ValueError: a constant is out of range.
        TypeError: a constant is not a number, or `every` is not an integer.

    >>> [step_decay(1.0, every=2, factor=0.5)(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    lr, factor = check.constant("lr", lr), check.constant("factor", factor)
    every = check.integer("every", every, least=1)

    def rate(epoch: int) -> float:
        try:
            return lr * factor ** (epoch // every)
        except OverflowError:  # the optimizer raises for a rate that is not finite
            return math.inf

    return rate


@check.operation
def cosine_decay(lr: float, *, epochs: int | None = None, steps: int | None = None, least: float = 0.0) -> Schedule:
    """Return a schedule that falls from lr along half a cosine to `least`, over a number of epochs or of steps.

    Raises:
        ValueError: a constant is out of range, or not exactly one of epochs and steps is given.
        TypeError: a constant is not a number, or epochs or steps is not an integer.

    >>> [round(cosine_decay(1.0, epochs=2)(epoch), 6) for epoch in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """
    lr, least = check.constant("lr", lr), check.factor("least", least)
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs or steps must be given, one of them, got {epochs} and {steps}")
    name, length = ("steps", steps) if epochs is None else ("epochs", epochs)
    end = check.integer(name, length, least=1)

    def rate(number: int) -> float:
        return least + (lr - least) * (1 + math.cos(math.pi * min(number / end, 1))) / 2

    return rate if steps is None else ByStep(rate)
