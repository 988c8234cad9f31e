"""Any number of processes computes the same bits: weights, optimizer, scores, gradients, and the generator."""

from __future__ import annotations

import pytest

from cuslayer.distributed import Context
from tests.support import fake_cupy
from tests.support.divided import networks, trained
from tests.support.emulator import launch
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
def test_on_emulated_cuda(name, monkeypatch):
    """20 steps of a batch of 4, by arrays that go through the host; other tests vary the order of threads."""
    for passes in ("_PLAIN", "_FIBERS"):
        monkeypatch.setattr(launch, passes, getattr(launch, passes)[:1])
    make = networks()[name]

    def work(context: Context) -> object:
        with fake_cupy.in_use():
            return trained(make, context, epochs=20, data=(4, 4, 8))

    alone = work(Context())
    for size in (2, 4) if name == "MLP" else (2,):
        assert all(found == alone for found in together(size, work)), size
    weights = alone["scores"]
    assert weights[0] != weights[-2]
