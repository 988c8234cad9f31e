"""The loop of all local rules: a presynaptic spike changes a row of the weight, a postsynaptic spike a column."""

from __future__ import annotations

from typing import NamedTuple

from cuslayer._base.jit import compiled, inlined
from cuslayer.backend import Array


class Table(NamedTuple):
    """A rule in steps: the decay of each trace, the sizes of changes, and the bounds."""

    keep_plus: float
    keep_x: float
    keep_minus: float
    keep_y: float
    keep_eligible: float
    plus: float
    minus: float
    triplet_plus: float
    triplet_minus: float
    offset: float
    low: float
    high: float
    soft: float
    nearest: bool


@inlined
def _scaled(distance: float, soft: float) -> float:
    """Return the factor of a change at a distance of the weight from the bound that it goes to."""
    return 1.0 if soft == 0.0 else max(distance, 0.0) ** soft


@compiled
def learn(w: Array, eligible: Array, pre: Array, post: Array, before: Array, after: Array, rule: Table) -> None:
    """Change w (inputs, outputs) by the spikes pre (T, rows, inputs) and post (T, rows, outputs), in this order.

    The traces before (2, rows, inputs) and after (2, rows, outputs) go on from call to call. Where there are eligible
    changes (samples, inputs, outputs), they take the changes in the place of w; a sample has rows in a sequence.
    """
    steps, rows, inputs = pre.shape
    outputs = post.shape[2]
    modulated = len(eligible) > 0
    for t in range(steps):
        for n in range(len(eligible)):
            for i in range(inputs):
                for j in range(outputs):
                    eligible[n, i, j] *= rule.keep_eligible
        for n in range(rows):
            of_sample = n * len(eligible) // rows
            for i in range(inputs):
                before[0, n, i] *= rule.keep_plus
                before[1, n, i] *= rule.keep_x
            for j in range(outputs):
                after[0, n, j] *= rule.keep_minus
                after[1, n, j] *= rule.keep_y
            for i in range(inputs):
                if pre[t, n, i]:
                    size = rule.minus + rule.triplet_minus * before[1, n, i]
                    for j in range(outputs):
                        change = -size * after[0, n, j] * _scaled(w[i, j] - rule.low, rule.soft)
                        if modulated:
                            eligible[of_sample, i, j] += change
                        elif change != 0.0:
                            w[i, j] = min(max(w[i, j] + change, rule.low), rule.high)
                    before[0, n, i] = 1.0 if rule.nearest else before[0, n, i] + 1.0
                    before[1, n, i] = 1.0 if rule.nearest else before[1, n, i] + 1.0
            for j in range(outputs):
                if post[t, n, j]:
                    size = rule.plus + rule.triplet_plus * after[1, n, j]
                    for i in range(inputs):
                        change = size * (before[0, n, i] - rule.offset)
                        distance = rule.high - w[i, j] if change > 0.0 else w[i, j] - rule.low
                        change *= _scaled(distance, rule.soft)
                        if modulated:
                            eligible[of_sample, i, j] += change
                        elif change != 0.0:
                            w[i, j] = min(max(w[i, j] + change, rule.low), rule.high)
                    after[0, n, j] = 1.0 if rule.nearest else after[0, n, j] + 1.0
                    after[1, n, j] = 1.0 if rule.nearest else after[1, n, j] + 1.0
