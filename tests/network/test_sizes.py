"""A network whose sizes cannot fit is refused when it is built, with the layer's address; one that runs is built."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import cuslayer as cs

SRM, LIF = cs.SRM(), cs.LIF()

REFUSED: dict[str, tuple[Callable[[], cs.Layer], str]] = {
    "dense": (
        lambda: cs.Sequential(cs.Dense(4, 3), SRM, cs.Dropout(0.1), cs.Dense(5, 2)),
        "Sequential: layer 3, Dense(5, 2), does not fit what is before it: dense: x has 3 features, weight expects 5",
    ),
    "nested": (lambda: cs.Sequential(cs.Dense(4, 3), cs.Sequential(SRM, cs.Dense(4, 3))), "layer 1.1, Dense(4, 3),"),
    "read-out": (lambda: cs.Sequential(cs.Dense(4, 3), SRM, cs.Affine(4, 2)), "layer 2, Affine("),
    "frames after features": (lambda: cs.Sequential(cs.Dense(4, 3), cs.Conv(3, 2, 1)), "got shape (T, N, 3)"),
    "maps": (lambda: cs.Sequential(cs.Conv(2, 6, 3), SRM, cs.Pool(2, 11), SRM, cs.Conv(4, 2, 3)), "layer 4, Conv("),
    "transposed": (lambda: cs.Sequential(cs.ConvTranspose(2, 6, 3), cs.ConvTranspose(5, 2, 3)), "layer 1, ConvT"),
    "flattened maps": (lambda: cs.Sequential(cs.Conv(2, 6, 3), SRM, cs.Dense(100, 4)), "x has 6 channels, weight"),
    "recurrent": (lambda: cs.Sequential(cs.Dense(4, 3), cs.Recurrent(cs.Dense(4, 4), LIF)), "layer 1, Recurrent"),
    "recurrent maps": (
        lambda: cs.Sequential(cs.Conv(2, 3, 3), cs.Recurrent(cs.Conv(4, 4, 3, padding=1), LIF)),
        "layer 1, Recurrent, does not fit what is before it: Conv: x has 3 channels, weight expects 4",
    ),
    "batch norm": (lambda: cs.Sequential(cs.Conv(2, 3, 3), cs.BatchNorm(4)), "layer 1, BatchNorm(4), does not fit"),
    "delay": (lambda: cs.Sequential(cs.Dense(4, 3), SRM, cs.Delay(4, dt=1.0)), "layer 2, Delay(4, dt=1), does not"),
    "delay of maps": (lambda: cs.Sequential(cs.Conv(2, 3, 3), SRM, cs.Delay((5, 5, 4), dt=1.0)), "layer 2, Delay("),
    "winners": (lambda: cs.Sequential(cs.Dense(4, 3), cs.KWinners(5)), "k must be at most the 3 neurons"),
    "average": (lambda: cs.Sequential(cs.Dense(4, 9), SRM, cs.Average(2)), "layer 2, Average(2), does not fit"),
    "filters": (lambda: cs.Sequential(cs.Dense(4, 3), cs.FilterBank(2, 5), cs.Dense(3, 2)), "x has 6 features"),
    "branches": (lambda: cs.Parallel(cs.Dense(4, 3), cs.Dense(4, 2)), "Parallel: branches must have one shape to add"),
    "joined": (
        lambda: cs.Sequential(cs.Parallel(cs.Conv(2, 3, 1), cs.Conv(2, 4, 1), join="concatenate"), cs.Conv(6, 1, 1)),
        "layer 1, Conv(6, 1, (1, 1)), does not fit what is before it: Conv: x has 7 channels, weight expects 6",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sizes_that_do_not_fit_are_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)) as problem:
        make()
    assert "\n" not in str(problem.value)


class Twice(cs.Dense):
    """A layer whose output is not that of its base class."""

    def __call__(self, x: object) -> cs.Tensor:
        y = super().__call__(x)
        return cs.concatenate([y, y], axis=-1)


ACCEPTED: dict[str, tuple[Callable[[], list[object]], tuple[int, ...]]] = {
    "a layer of its own": (lambda: [Twice(6, 4), SRM, cs.Dense(8, 2)], (6,)),
    "a function": (lambda: [cs.Dense(6, 4), lambda y: y[..., :3], SRM, cs.Dense(3, 2)], (6,)),
    "maps": (
        lambda: [
            *(cs.Conv(2, 4, 3, padding=1), SRM, cs.Delay((6, 6, 4), dt=1.0), cs.Pool(2, 11), cs.KWinners(30), SRM),
            *(cs.Unpool(2, 11), cs.BatchNorm(4), SRM, cs.Dense((6, 6, 4), 2)),
        ],
        (6, 6, 2),
    ),
    "branches": (
        lambda: [cs.Parallel(cs.Conv(2, 2, 3, padding=1), cs.Sequential()), cs.Conv(2, 4, 6), cs.Affine(4, 2)],
        (6, 6, 2),
    ),
    "recurrent maps": (
        lambda: [cs.Conv(2, 4, 3), cs.Recurrent(cs.Conv(4, 4, 3, padding=1), LIF), cs.Average(2), cs.Dense(2, 3)],
        (6, 6, 2),
    ),
    "filters": (lambda: [cs.FilterBank(3, 4), cs.Dense(18, 3), SRM], (6,)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_network_that_runs_is_built(name: str) -> None:
    make, shape = ACCEPTED[name]
    assert cs.Sequential(*make())(np.ones((4, 2, *shape), bool)).shape[:2] == (4, 2)
