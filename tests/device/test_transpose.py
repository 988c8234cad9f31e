"""Transposes, weighted pooling, replication and weight hooks on a device, against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from tests.device import test_operations as test_device
from tests.device.test_operations import device as device
from tests.device.test_operations import normal, run, spikes

# The operation, its arrays, and whether its result is the CPU's to the bit.
OPERATIONS: dict[str, tuple[Any, list[Any], bool]] = {
    "transposed": (
        lambda x, w: functions.conv_transpose(x, w, padding=1, stride=2, output_padding=1),
        [normal(3, 2, 4, 5, 4), normal(3, 3, 6, 4)],
        False,
    ),
    "transposed, of spikes": (functions.conv_transpose, [spikes(3, 2, 4, 5, 4), normal(3, 3, 6, 4)], False),
    "transposed, in groups": (
        lambda x, w: functions.conv_transpose(x, w, groups=2, dilation=(2, 3), output_padding=(1, 2)),
        [spikes(3, 2, 4, 5, 4), normal(2, 3, 3, 4)],
        False,
    ),
    "transposed, wider than its windows": (
        lambda x, w: functions.conv_transpose(x, w, dilation=3, output_padding=2),
        [normal(3, 2, 4, 5, 4), normal(2, 2, 3, 4)],
        False,
    ),
    "unpool": (lambda x: functions.unpool(x, kernel_size=2, gain=11.0), [normal(3, 2, 5, 6, 2)], False),
    "unpool of spikes": (
        lambda x: functions.unpool(x, kernel_size=3, stride=2, padding=1, gain=11.0),
        [spikes(3, 2, 5, 6, 2)],
        False,
    ),
    "weighted pool": (functions.weighted_pool, [normal(3, 2, 5, 6, 2), normal(2, 3, 1, 1)], False),
    "weighted pool of spikes": (functions.weighted_pool, [spikes(3, 2, 5, 6, 2), normal(2, 3, 1, 1)], False),
    "weighted unpool": (functions.weighted_unpool, [normal(3, 2, 5, 6, 2), normal(2, 3, 1, 1)], False),
    "replicate": (lambda x: cs.replicate(x, steps=7), [normal(2, 3, 4, 2)], True),
    "replicate of spikes": (lambda x: cs.replicate(x, steps=7), [spikes(2, 5)], True),
    "quantize": (lambda w: cs.quantize(w, 0.5), [normal(5, 6)], True),
    "quantize to limits": (lambda w: cs.quantize(w, 2, limits=(-4, 2)), [normal(5, 6, scale=4)], True),
    "weight norm": (functions.weight_norm, [normal(5, 6), normal(1, 6)], False),
    "weight norm, transposed": (functions.weight_norm, [normal(3, 2, 4, 2, 3), normal(1, 1, 4, 2, 1)], False),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_device, "OPERATIONS", OPERATIONS)
    test_device.test_an_operation(name, dtype)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if not name.startswith("quantize")])
def test_a_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_device, "OPERATIONS", OPERATIONS)
    test_device.test_a_gradient(name)


def hooked() -> list[Any]:
    hooks = (cs.WeightNorm(), lambda w: cs.quantize(w, step=0.5))
    front = cs.ConvTranspose(2, 4, 3, stride=2, groups=2, weight_hook=hooks)
    return [front, test_device.SRM, cs.Dense((9, 9, 4), 3, weight_hook=cs.WeightNorm()), test_device.SRM]


def test_a_network_of_hooks_trains_as_on_the_cpu() -> None:
    """Its scales too: they are made on the device, and come home with the state."""
    found = []
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(2)
        net = cs.Sequential(*hooked())
        for p in net.parameters():
            assert test_device.module(p.data) == {"cpu": "numpy", "cuda": "cupy"}[where]
            p.data = p.data.astype(np.float64)
        x = np.random.default_rng(0).random((30, 2, 4, 4, 2)) < 0.3
        optimizer = cs.SGD(net.parameters(), lr=1e-3)
        out = net(x)
        cs.SpikeCountLoss(test_device.SRM, true=12, false=2, region=(5, 30))(out, [0, 2]).backward()
        optimizer.step()
        grads = [backend.to_numpy(p.grad) for p in net.parameters()]
        found.append((out.numpy(), grads, net.state()))
    (out, grads, state), (their_out, their_grads, their_state) = found
    assert their_out.any()
    assert (out == their_out).all()
    assert list(state) == list(their_state) == ["0.0", "0.1", "2.0", "2.1"]
    for mine, other in zip([*grads, *state.values()], [*their_grads, *their_state.values()], strict=True):
        assert other.any()
        # The loss of spikes is computed in float32, in another order on each device.
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6 * np.abs(other).max())


def test_a_hook_runs_where_its_layer_is() -> None:
    run("cuda", cs.Dense(4, 3, weight_hook=cs.WeightNorm()), [spikes(5, 2, 4)])
