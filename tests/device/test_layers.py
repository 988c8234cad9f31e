"""Batch normalization, competition, decimation and synaptic operations on a device, against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.backend import to_numpy
from cuslayer.data import Arrays, Loader
from cuslayer.functions import decimate, k_winners, synaptic_operations
from cuslayer.training import Trainer
from tests.device.test_operations import device as device
from tests.device.test_operations import run

RNG = np.random.default_rng(59)
OPERATIONS: dict[str, Any] = {
    **{f"norm, {scale}": lambda x, scale=scale: cs.BatchNorm(5, scale=scale)(x) for scale in ("none", "power", "std")},
    "winners": lambda x: k_winners(x, k=2),
    "winners of channels": lambda x: k_winners(x, k=2, among="channels"),
    **{how: lambda x, how=how: decimate(x, factor=4, how=how) for how in ("sum", "mean", "max", "last")},
    "operations": lambda x: synaptic_operations(x, fan_out=np.arange(15.0).reshape(3, 5)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(device: None, name: str, dtype: str) -> None:
    x = RNG.standard_normal((30, 2, 3, 5)).astype(dtype)
    for mine, other in zip(run("cuda", OPERATIONS[name], [x]), run("cpu", OPERATIONS[name], [x]), strict=True):
        assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("norm", ["std", "power"])
def test_steps_are_graphs(device: None, ascending: None, norm: str) -> None:
    generator = np.random.default_rng(3)
    data = Arrays(generator.random((14, 12, 4, 4, 2)) < 0.3, generator.integers(0, 3, 14))
    found: dict[bool, Any] = {}
    for graph in (False, True):
        cs.seed(1)
        srm = cs.SRM(tau_sr=3.0)
        first, second = cs.Dense((4, 4, 2), 8), cs.Dense(8, 3)
        net = cs.Sequential(first, cs.BatchNorm(8, scale=norm, height=5.0, trained=True), srm, second, srm)
        loss = cs.SparsityLoss(cs.SpikeCountLoss(srm, true=6, false=1), weight=1e-3)
        trainer = Trainer(net, loss, cs.Adam(net.parameters(), 0.02), graph=graph)
        loader = Loader(data, 2, steps=12, shuffle=True, seed=0)
        scores = [trainer.train(loader) for _ in range(2)]
        assert trainer.graph_problem is None
        found[graph] = scores, [to_numpy(p.data).tobytes() for p in net.parameters()]
    assert found[True] == found[False]
