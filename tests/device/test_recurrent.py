"""Recurrent populations on a device against the CPU: operation, gradients, records, explanations, training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from tests.device.test_operations import device as device
from tests.device.test_operations import module, normal, run

TAUS = np.linspace(2.0, 9.0, 5)
NEURONS: dict[str, Any] = {
    "SRM": lambda **options: cs.SRM(theta=2.0, tau_sr=3.0, **options),
    "LIF": lambda **options: cs.LIF(TAUS, theta=2.0, **options),
    "CUBA": lambda **options: cs.CUBA(3.0, TAUS, theta=2.0, reset="subtract", **options),
    "AdaptiveLIF": lambda **options: cs.AdaptiveLIF(3.0, TAUS, 20.0, 4.0, rise=0.3, theta=2.0, **options),
}


def population(kind: str, dtype: str = "float32", delay: float = 1.0, **options: Any) -> cs.Recurrent:
    cs.seed(4)
    found = cs.Recurrent(cs.Dense(5, 5, weight_scale=2.0), NEURONS[kind](**options), delay=delay)
    found.layer.weight.data = found.layer.weight.data.astype(dtype)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("shape", [(40, 2, 5), (1, 1, 5), (0, 2, 5), (40, 0, 5)])
@pytest.mark.parametrize("kind", NEURONS)
def test_the_spikes_are_the_cpus_to_the_bit(kind: str, gradient: str, dtype: str, shape: tuple[int, ...]) -> None:
    def operation(x: cs.Tensor, scale: cs.Tensor) -> cs.Tensor:
        made = population(kind, dtype, 2.0, gradient=gradient, scale_rho=0.2)
        made.layer.weight_hook = lambda w: w * scale
        return made(x)

    arrays = [normal(*shape, scale=2).astype(dtype), np.ones((5, 5), dtype)]
    (s, *grads), (spikes, *expected) = (run(where, operation, arrays) for where in ("cuda", "cpu"))
    assert (s == spikes).all()
    assert spikes.any() or shape != (40, 2, 5)
    for mine, other in zip(grads, expected, strict=True):
        assert mine.dtype == other.dtype == np.dtype(dtype)
        bound = {"float32": 1e-4, "float64": 1e-10}[dtype] * max(1.0, abs(other).max(initial=0))
        np.testing.assert_allclose(mine, other, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", ["LIF", "CUBA", "AdaptiveLIF"])
def test_time_constants_are_trained(kind: str) -> None:
    found, x = [], normal(30, 2, 5, scale=2).astype(np.float32)
    for where in ("cuda", "cpu"):
        cs.use(where)
        made = population(kind, trained=True, gradient="exact", scale_rho=0.2)
        out = made(backend.to_device(x))
        assert module(out.data) == ("cupy" if where == "cuda" else "numpy")
        out.backward(backend.to_device(np.ones(out.shape, np.float32)))
        found.append([backend.to_numpy(p.grad) for p in made.parameters()])
    assert len(found[0]) == 1 + len(NEURONS[kind]().time_constants)
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4 * max(1.0, abs(other).max()))


@pytest.mark.parametrize("kind", NEURONS)
def test_a_network_is_recorded_and_explained(kind: str) -> None:
    found = []
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(1)
        net = cs.Sequential(cs.Dense(6, 5, weight_scale=6.0), cs.Recurrent(cs.Dense(5, 5), NEURONS[kind]()))
        x = np.random.default_rng(0).random((30, 2, 6)) < 0.4
        with cs.record(net, window=(5, 25)) as seen:
            cs.SpikeCountLoss(net[1], true=9, false=2)(net(x), [0, 2]).backward()
        why = cs.explain(net, x, 1, 0, 20)
        assert why.exact
        assert [source.layer for source in why.sources] == ["input", "layer 1 (Dense(6, 5), Recurrent)"]
        arrays = (getattr(seen[1], name).values for name in ("potential", "spikes", "recurrent"))
        found.append((*arrays, why.potential, why.filtered))
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


def test_a_state_between_calls_is_the_cpus() -> None:
    made = population("LIF", stateful=True)
    with pytest.raises(ValueError, match=r"^recurrent: a state between calls is kept on the CPU only, got x on a GPU$"):
        made(backend.to_device(np.zeros((3, 1, 5), np.float32)))
