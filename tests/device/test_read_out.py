"""A read-out on a device, against the CPU: its integral, a network with it, and its steps as CUDA graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.backend import to_numpy
from cuslayer.data import Arrays, Loader
from cuslayer.functions import leaky_integral
from cuslayer.training import Trainer
from tests.device.test_operations import device as device
from tests.device.test_operations import run

RNG = np.random.default_rng(17)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 2, 5), (1, 1, 1), (7, 3, 150)])
def test_the_integral_has_the_bits_of_the_cpu(device: None, shape: tuple[int, ...], dtype: str) -> None:
    x, keep = RNG.standard_normal(shape).astype(dtype), RNG.random(shape[-1]).astype(dtype)
    here, there = (run(where, leaky_integral, [x, keep]) for where in ("cuda", "cpu"))
    for name, mine, other in zip(("y", "g_x", "g_keep"), here, there, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=0 if name != "g_keep" else 1e-5, err_msg=name)


def test_a_network_with_a_read_out(device: None) -> None:
    x, labels, found = RNG.random((20, 4, 6)) < 0.3, np.array([0, 2, 1, 1]), {}
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(4)
        net = cs.Sequential(cs.Dense(6, 8, bias=True), cs.SRM(), cs.Affine(8, 3, trained=True, bias=True))
        value = cs.CrossEntropyLoss()(net(x), labels)
        value.backward()
        found[where] = [to_numpy(net(x).data), *(to_numpy(p.grad) for p in net.parameters())]
    for mine, other in zip(found["cuda"], found["cpu"], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("over", ["max", "every"])
def test_steps_with_a_read_out_are_graphs(device: None, ascending: None, over: str) -> None:
    generator = np.random.default_rng(3)
    data = Arrays(generator.random((14, 12, 4, 4, 2)) < 0.3, generator.integers(0, 3, 14))
    found: dict[bool, Any] = {}
    for graph in (False, True):
        cs.seed(1)
        net = cs.Network([cs.Word("4x4x2"), cs.Word("8"), cs.Word("3out", bias=True)], cs.SRM(tau_sr=3.0))
        trainer = Trainer(net, cs.CrossEntropyLoss(over), cs.Adam(net.parameters(), 0.02), graph=graph)
        loader = Loader(data, 2, steps=12, shuffle=True, seed=0)
        scores = [trainer.train(loader) for _ in range(2)]
        assert trainer.graph_problem is None
        found[graph] = scores, [to_numpy(p.data).tobytes() for p in net.parameters()]
    assert found[True] == found[False]
