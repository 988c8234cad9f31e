"""Any number of processes computes the same bits: weights, optimizer, scores, gradients, and the generator."""

from __future__ import annotations

import pytest

from tests.support.divided import emulated, networks, trained
from tests.support.processes import together

SIZES = (2, 3, 4, 8)


@pytest.mark.parametrize("name", networks())
def test_on_the_cpu(name):
    """21 steps of batches of 10, 10 and 5 recordings in micro-batches of 2: 8 processes have fewer than one each."""
    make = networks()[name]
    alone = trained(make)
    for size in SIZES:
        assert all(found == alone for found in together(size, lambda context: trained(make, context))), size


@pytest.mark.parametrize("name", networks())
def test_on_emulated_cuda(name):
    """20 steps of a batch of 4, by arrays that go through the host; other tests vary the order of threads."""
    make = networks()[name]
    alone = emulated(make)
    assert together(2, lambda context: emulated(make, context)) == [alone] * 2
    scores = alone["scores"]
    assert scores[0] != scores[-2]
