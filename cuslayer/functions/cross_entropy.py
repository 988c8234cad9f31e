"""The cross-entropy of classes whose probabilities are spike counts."""

from __future__ import annotations

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.tape import Pullback, differentiable, numeric

# How counts become probabilities.
PROBABILITIES = ("softmax", "ratio")


@differentiable
def cross_entropy(counts: Array, /, *, chosen: Array, probability: str = "softmax") -> tuple[Array, Pullback]:
    """Return ``E = -sum log p[label]`` of the counts c of each class, summed over samples, and over windows if any.

    ``probability="softmax"``::

        p[i] = exp(c[i]) / sum_j exp(c[j])          g[i] = p[i] - (i is the label)

    ``probability="ratio"``, a class's share of the spikes, each class granted one spike more than it has, so that a
    silent one is improbable and not impossible::

        p[i] = (c[i] + 1) / sum_j (c[j] + 1)        g[i] = (p[i] - (i is the label)) / (c[i] + 1)

    Args:
        counts: (N, classes), or (T, N, classes) of a window at each step; not negative.
        chosen: (N, classes), True at the label of each sample.
        probability: "softmax" or "ratio".

    Returns:
        The cross-entropy in nats, a scalar.

    Raises:
        ValueError: a shape does not fit, there are no classes, or probability is an unknown word.

    Source: Shrestha, Zhu and Sun 2022 (arXiv 2205.09845), who raise each count to 1 at least where 1 is added here.

    >>> import numpy as np
    >>> label = np.array([[True, False, False]])
    >>> round(np.exp(-cross_entropy(np.array([[3.0, 0.0, 1.0]]), chosen=label, probability="ratio").item()) * 7)
    4
    """
    check.one_of("cross_entropy", "probability", probability, PROBABILITIES)
    if counts.ndim < 2 or chosen.shape != counts.shape[-2:]:
        raise ValueError(f"cross_entropy: chosen has shape {chosen.shape}, counts have shape {counts.shape}")
    if counts.shape[-1] == 0:
        raise ValueError(f"cross_entropy: counts must have a class, got shape {counts.shape}")
    xp, counts = namespace(counts), numeric(counts)
    if probability == "softmax":
        log = counts - counts.max(axis=-1, keepdims=True)
        share, scale = xp.exp(log), None
    else:
        share = scale = counts + counts.dtype.type(1)
        log = xp.log(share)
    whole = share.sum(axis=-1, keepdims=True)
    right = chosen.astype(counts.dtype)
    error = xp.asarray(((xp.log(whole) - log) * right).sum(), dtype=counts.dtype)

    def pullback(g: Array) -> Array:
        of_log = (share / whole - right) * g
        return of_log if scale is None else of_log / scale

    return error, pullback
