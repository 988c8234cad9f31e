"""`from_arrays`: weights of other libraries in a network of numbers, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.network import Word
from tests.support.refused import refused

RNG = np.random.default_rng(0)


def convolved(x, weight, bias):
    """Return a convolution (N, C, H, W) with a kernel (outputs, inputs, 3, 3), padded by 1, as torch's axes have it."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = x.shape[2:]
    taps = [padded[:, :, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    kernels = weight.transpose(2, 3, 0, 1).reshape(9, *weight.shape[:2])
    return np.einsum("tncrs,toc->nors", taps, kernels) + bias[:, None, None]


def torch_weights():
    return {
        "0.weight": RNG.standard_normal((4, 2, 3, 3)),
        "0.bias": RNG.standard_normal(4),
        "3.weight": RNG.standard_normal((5, 4 * 3 * 2)),
        "3.bias": RNG.standard_normal(5),
    }


def test_weights_in_torchs_axes():
    weights = torch_weights()
    x = RNG.standard_normal((3, 2, 6, 4))
    hidden = np.maximum(convolved(x, weights["0.weight"], weights["0.bias"]), 0)
    pooled = hidden.reshape(3, 4, 3, 2, 2, 2).mean(axis=(3, 5))
    wanted = pooled.reshape(3, -1) @ weights["3.weight"].T + weights["3.bias"]
    net = cs.from_arrays("6x4x2-4c3-2mean-5", weights)
    assert [type(layer).__name__ for layer in net.layers] == ["Conv", "ReLU", "AvgPool", "Dense"]
    ours = x.transpose(0, 2, 3, 1)[None].astype(np.float32)
    np.testing.assert_allclose(net(ours).data[0], wanted, atol=1e-4)
    # The same in our axes; a dense layer takes H, W, C there.
    flat = weights["3.weight"].reshape(5, 4, 3, 2).transpose(2, 3, 1, 0).reshape(24, 5)
    kernel = weights["0.weight"].transpose(2, 3, 1, 0)
    again = cs.from_arrays("6x4x2-4c3-2mean-5", [kernel, weights["0.bias"], flat, weights["3.bias"]])
    np.testing.assert_array_equal(again(ours).data, net(ours).data)
    # scikit-learn has all kernels, then all biases.
    listed = cs.from_arrays("6x4x2-4c3-2mean-5", [kernel, flat, weights["0.bias"], weights["3.bias"]])
    np.testing.assert_array_equal(listed(ours).data, net(ours).data)


def test_square_kernels_need_axes():
    square = RNG.standard_normal((3, 3))
    x = RNG.standard_normal((1, 2, 3)).astype(np.float32)
    refused("from_arrays: axes must be given where shapes do not tell them", lambda: cs.from_arrays("3-3", [square]))
    for axes, matrix in (("torch", square.T), ("keras", square), ("cuslayer", square)):
        net = cs.from_arrays("3-3", [square], axes=axes)
        np.testing.assert_allclose(net(x).data, x @ matrix, atol=1e-5)
    cs.from_arrays("3-3", [square + square.T])


def test_words_with_options():
    words = [Word("8x8x2"), Word("4c3", stride=2, padding=0, groups=2), Word("3max"), Word("5")]
    net = cs.from_arrays(words, [RNG.standard_normal((3, 3, 1, 4)), RNG.standard_normal((4, 5))])
    assert net(np.zeros((1, 2, 8, 8, 2), np.float32)).shape == (1, 2, 5)
    assert net[0].stride == (2, 2)


@pytest.mark.parametrize(
    ("said", "notation", "weights"),
    [
        ("weights must have 2 kernels for 2-3-1, got 1", "2-3-1", [np.ones((2, 3))]),
        ("weights[0] must have shape (2, 3), or (3, 2) in torch's axes", "2-3", [np.ones((4, 3))]),
        ("weights[1] must have shape (3,), got (2,)", "2-3", [np.ones((2, 3)), np.ones(2)]),
        ("weights[1] must have the axes of weights[0]", "2-3-4", [np.ones((2, 3)), np.ones((4, 3))]),
        ("weights[0] must be finite", "2-3", [np.full((2, 3), np.inf)]),
        ("notation must have input, conv, dense, mean, max and avg words, got '2a'", "4x4x1-2a-3", [np.ones((4, 3))]),
        ("notation must have a layer with weights", "4x4x1-2mean", []),
    ],
)
def test_refused(said, notation, weights):
    refused(f"from_arrays: {said}", lambda: cs.from_arrays(notation, weights))
