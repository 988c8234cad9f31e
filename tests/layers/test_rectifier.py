"""`ReLU` and `QuantizedReLU`: values, gradients, saving, and the trained limit."""

import re

import numpy as np
import pytest

import cuslayer as cs


@pytest.mark.parametrize("shape", [(0, 2, 3), (3, 0, 2), (2, 3, 4, 5, 1)])
def test_relu_of_odd_shapes(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(cs.ReLU()(x).data, np.where(x > 0, x, 0))


def test_gradients():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 5))
    cs.gradcheck(cs.functions.relu, x)
    # Rounding has no gradient to compare with: the formula is compared, at each place of the interval.
    limit = cs.Tensor(np.array(2.0), requires_grad=True)
    given = cs.Tensor(np.array([-0.3, -0.2, 0.7, 2.2, 2.3, 9.0]).reshape(1, 1, 6), requires_grad=True)
    y = cs.functions.quantized_relu(given, limit, levels=4)
    y.backward(np.arange(1.0, 7.0).reshape(y.shape))
    np.testing.assert_array_equal(y.data.ravel(), [0, 0, 0.5, 2, 2, 2])
    np.testing.assert_array_equal(given.grad.ravel(), [0, 2, 3, 4, 0, 0])
    share = 2 * (0 + 0.2) / 2 + 3 * (0.5 - 0.7) / 2 + 4 * (2 - 2.2) / 2 + 5 + 6
    np.testing.assert_allclose(limit.grad, share, rtol=1e-12)


def test_counts_are_whole_and_limits_train(tmp_path):
    cs.seed(0)
    net = cs.Sequential(cs.Dense(6, 8, weight_scale=2.0, bias=True), cs.QuantizedReLU(3, limit=0.5), cs.Dense(8, 2))
    x = np.random.default_rng(0).standard_normal((1, 16, 6)).astype(np.float32)
    optimizer = cs.Adam(net.parameters(), lr=0.05)
    before = float(net[1].limit.data)
    for _ in range(3):
        optimizer.zero_grad()
        (net(x) * net(x)).sum().backward()
        optimizer.step()
    after = float(net[1].limit.data)
    assert after != before
    counts = net[1](net[0](x)).data * np.float32(3 / after)
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-5)
    assert counts.max() == pytest.approx(3)
    assert counts.min() == 0
    cs.save(net, tmp_path / "net.npz")
    np.testing.assert_array_equal(cs.load(tmp_path / "net.npz")(x).data, net(x).data)


def test_errors():
    x = np.zeros((1, 1, 2))
    for message, action in (
        ("relu: x must be (T, N, ...), got shape (3,)", lambda: cs.ReLU()(np.zeros(3))),
        ("QuantizedReLU: levels must be at least 1, got 0", lambda: cs.QuantizedReLU(0)),
        ("QuantizedReLU: limit must be", lambda: cs.QuantizedReLU(4, limit=-1.0)),
        (
            "quantized_relu: limit must be one number, got shape (2,)",
            lambda: cs.functions.quantized_relu(x, np.ones(2), levels=4),
        ),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            action()
