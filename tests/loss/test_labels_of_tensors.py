"""Labels in a tensor, which holds no integers."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays

SPIKES = np.random.default_rng(0).random((20, 3, 4)) < 0.3
LOSSES = [cs.SpikeCountLoss(cs.SRM(), true=5, false=1), cs.SpikeRateLoss(cs.SRM())]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_whole_numbers_are_labels(loss):
    wanted = loss(SPIKES, np.array([2, 0, 3])).item()
    assert loss(SPIKES, cs.Tensor([2, 0, 3])).item() == wanted
    assert loss(SPIKES, cs.Tensor(np.eye(4)[[2, 0, 3]])).item() == wanted
    for wrong in (0.5, np.nan):
        with pytest.raises(TypeError, match=f"^{type(loss).__name__}: labels must be integers, got {wrong}$"):
            loss(SPIKES, cs.Tensor([2, wrong, 3]))
    with pytest.raises(ValueError, match="label 4 of sample 1 is none of 4 classes"):
        loss(SPIKES, cs.Tensor([2, 4, 3]))


def test_in_arrays():
    data = Arrays(SPIKES, cs.Tensor(np.arange(20)))
    assert data.labels.tolist() == list(range(20))
    with pytest.raises(TypeError, match=r"^Arrays: y must be integers from 0, got 0\.5$"):
        Arrays(SPIKES, cs.Tensor([0.5, *range(19)]))
