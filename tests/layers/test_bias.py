"""Dense and convolutional layers with a bias, a constant current at each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cuslayer as cs

RNG = np.random.default_rng(23)


def network(gradient: str = "slayer") -> cs.Sequential:
    srm = cs.SRM(gradient=gradient)
    conv, pool = cs.Conv(2, 3, 3, padding=1, bias=True), cs.Pool(2, gain=11.0)
    net = cs.Sequential(conv, srm, pool, srm, cs.Dense((3, 3, 3), 4, bias=True), srm)
    conv.bias.data[:] = [2.0, -1.0, 0.5]
    net[4].bias.data[:] = [3.0, 0.0, -3.0, 1.0]
    return net


def test_the_formula() -> None:
    x = RNG.random((10, 2, 6, 6, 2)) < 0.2
    conv = network()[0]
    np.testing.assert_array_equal(conv(x).data, cs.functions.conv(x, conv.weight, padding=1).data + conv.bias.data)
    dense = cs.Dense(4, 3, bias=True)
    assert dense.bias.data.tolist() == [0.0, 0.0, 0.0]
    assert cs.Dense(4, 3).bias is None
    assert cs.Dense(4, 3, bias=dense.bias).bias is dense.bias


def test_gradients() -> None:
    layers: tuple[Any, ...] = (cs.Dense(4, 3, bias=True), cs.Conv(2, 3, 2, bias=True))
    shapes = ((5, 2, 4), (4, 3)), ((3, 2, 4, 4, 2), (2, 2, 2, 3))
    for layer, (of_x, of_weight) in zip(layers, shapes, strict=True):

        def run(x: cs.Tensor, weight: cs.Tensor, bias: cs.Tensor, layer: Any = layer) -> cs.Tensor:
            layer.weight, layer.bias = weight, bias
            found: cs.Tensor = layer(x)
            return found

        arrays = (RNG.standard_normal(shape) for shape in (of_x, of_weight, (3,)))
        assert cs.gradcheck(run, *arrays) < 1e-6


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
def test_a_network_with_biases_is_its_stages(gradient: str) -> None:
    x = RNG.random((20, 2, 6, 6, 2)) < 0.2
    found = []
    for alone in (False, True):
        cs.seed(6)
        net = network(gradient)
        y: Any = x
        for stage in net if alone else [net]:
            y = stage(y)
        y.backward(np.ones(y.shape, np.float32))
        found.append([y.data, *(p.grad for p in net.parameters())])
    assert found[0][0].any()
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(found[0]) == 5


def test_saved_and_streamed(tmp_path: Any) -> None:
    net, x = network(), RNG.random((20, 1, 6, 6, 2)) < 0.2
    cs.save(net, tmp_path / "net.npz")
    again = cs.load(tmp_path / "net.npz")
    assert list(net.state()) == ["0.0", "0.bias", "4.0", "4.bias", "2.gain"]
    np.testing.assert_array_equal(again(x).data, net(x).data)
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:3]), stream(x[3:])]), net(x).data)
