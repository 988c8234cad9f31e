"""The works of crossover.py for dense layers: walking spikes, and sums of subsets of rows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from cuslayer.kernels import cpu
from cuslayer.kernels.dense import costs, subsets
from cuslayer.kernels.spikes.cpu import find_spikes

# Rows, inputs and outputs.
SIZES = [
    (2400, 2312, 512),
    (9600, 2312, 512),
    (2400, 512, 10),
    (2400, 1156, 128),
    (2400, 4096, 1000),
    (9600, 64, 10),
    (300, 2312, 512),
    (16, 2312, 512),
]
SMALL = [(60, 30, 10)]


class Ways(NamedTuple):
    """What is timed at an activity: both ways, whether the library takes the second, and what it does if neither."""

    walk: Callable[[], object]
    product: Callable[[], object]
    busy: bool
    chosen: Callable[[], object] | None = None


class Work(NamedTuple):
    """A work, the activity from which on the library multiplies, over 1 if it never does, and its ways at one."""

    name: str
    constant: float
    make: Callable[[float], Ways]


def _forward(sizes: tuple[int, int, int], rate: float) -> Ways:
    (rows, inputs, outputs), generator = sizes, np.random.default_rng(0)
    bits, w = generator.random((rows, inputs)) < rate, generator.standard_normal((inputs, outputs), np.float32)
    counts = bits.sum(axis=1)
    busy = counts > costs.busy_above(w)
    looks_up = bool(busy.any()) and costs.pay(int(counts[busy].sum()), int(busy.sum()), w, costs.LISTED)
    # Rows in the order of the tables that are walked are a third way, and so is a mixture.
    third = busy.any() and not (looks_up and busy.all())
    return Ways(
        lambda: cpu.dense.walk(find_spikes(bits), w),
        lambda: cpu.dense.look_up(find_spikes(bits), w),
        looks_up and busy.sum() > rows / 2,
        (lambda: cpu.dense.forward(find_spikes(bits), w)) if third else None,
    )


def _weight_adjoint(sizes: tuple[int, int, int], rate: float) -> Ways:
    (rows, inputs, outputs), generator = sizes, np.random.default_rng(0)
    bits, g = generator.random((rows, inputs)) < rate, generator.standard_normal((rows, outputs), np.float32)
    listed, packed = find_spikes(bits), find_spikes(bits)
    _ = listed.index  # as forward leaves them
    busy = costs.pay(listed.count, inputs, g, costs.SORTED)
    return Ways(lambda: cpu.dense.walk_back(listed, g), lambda: subsets.weight_adjoint(packed.words, inputs, g), busy)


def works(small: bool) -> list[Work]:
    """Return the works of dense layers; `small` for tests."""
    found = []
    for sizes in SMALL if small else SIZES:
        rows, inputs, outputs = sizes
        for name, make, lines in (("forward", _forward, rows), ("weight gradient", _weight_adjoint, inputs)):
            matrix = np.empty((rows * inputs // max(lines, 1), outputs), np.float32)
            of_spike = costs.LISTED if make is _forward else costs.SORTED
            at = bisect_left(
                range(rows * inputs + 1), True, key=partial(costs.pay, lines=lines, matrix=matrix, of_spike=of_spike)
            )
            found.append(
                Work(f"dense {rows} x {inputs} to {outputs}, {name}", at / (rows * inputs), partial(make, sizes))
            )
    return found
