"""Weight normalization: norms and directions, their exact gradients, and the hook with its trained scale."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint

RNG = np.random.default_rng(11)
SRM = cs.SRM()
SHAPES = [((4, 3), (1, 3)), ((3, 2, 4, 5), (1, 1, 1, 5)), ((3, 3, 2, 2, 3), (1, 1, 2, 2, 1)), ((4, 1), (1, 1))]


@pytest.mark.parametrize(("shape", "outputs"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_output_has_a_norm_and_a_direction(shape, outputs, dtype):
    v, scale = RNG.standard_normal(shape).astype(dtype), RNG.standard_normal(outputs).astype(dtype)
    w = functions.weight_norm(v, scale).data
    axes = tuple(i for i, n in enumerate(outputs) if n == 1)
    assert w.dtype == dtype
    np.testing.assert_allclose(np.sqrt((w**2).sum(axis=axes, keepdims=True)), abs(scale), rtol=1e-5)
    along = (w * v).sum(axis=axes, keepdims=True)
    np.testing.assert_allclose(along, scale * np.sqrt((v**2).sum(axis=axes, keepdims=True)), rtol=1e-5)


@pytest.mark.parametrize(("shape", "outputs"), SHAPES)
def test_gradient(shape, outputs):
    v, scale = RNG.standard_normal(shape), RNG.standard_normal(outputs)
    assert cs.gradcheck(functions.weight_norm, v, scale) < 1e-6
    t = cs.Tensor(v, requires_grad=True)
    functions.weight_norm(t, scale).backward(RNG.standard_normal(shape))
    axes = tuple(i for i, n in enumerate(outputs) if n == 1)
    np.testing.assert_allclose((t.grad * v).sum(axis=axes), 0, atol=1e-12)  # what is along v changes nothing


def test_a_zero_weight_stays_zero():
    v, scale = cs.Tensor(np.array([[0.0, 3.0], [0.0, 4.0]]), requires_grad=True), cs.Tensor([[2.0, 5.0]], True)
    w = functions.weight_norm(v, scale)
    assert w.data.tolist() == [[0, 3], [0, 4]]
    w.backward(np.ones((2, 2)))
    assert v.grad[:, 0].tolist() == [2, 2]
    assert scale.grad[0, 0] == 0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
def test_shapes(shape):
    v, scale = cs.Tensor(np.ones(shape), requires_grad=True), cs.Tensor(np.ones((1, shape[1])), requires_grad=True)
    w = functions.weight_norm(v, scale)
    w.backward(np.ones(shape))
    assert (w.shape, v.grad.shape, scale.grad.shape) == (shape, shape, (1, shape[1]))


LAYERS = {
    "dense": (lambda hook: cs.Dense(6, 3, weight_hook=hook), (1, 3)),
    "conv": (lambda hook: cs.Conv(4, 6, (3, 2), groups=2, weight_hook=hook), (1, 1, 1, 6)),
    "transposed": (lambda hook: cs.ConvTranspose(4, 6, (3, 2), groups=2, weight_hook=hook), (1, 1, 3, 2, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_begins_as_it_would_without(name):
    make, outputs = LAYERS[name]
    hook = cs.WeightNorm()
    layer = make(hook)
    assert hook.scale.shape == outputs
    assert layer.parameters() == [layer.weight, hook.scale]
    np.testing.assert_allclose(layer.effective_weight().data, layer.weight.data, rtol=1e-5)
    assert repr(hook) == "WeightNorm()"


def test_each_output_of_a_transposed_group_is_one():
    """Doubling one scale doubles one channel of the output only."""
    hook = cs.WeightNorm()
    layer = cs.ConvTranspose(4, 6, 3, groups=2, weight_hook=hook)
    x = RNG.standard_normal((1, 1, 4, 4, 4)).astype(np.float32)
    before = layer(x).data
    for output in range(3):
        for group in range(2):
            kept = hook.scale.data.copy()
            hook.scale.data[0, 0, output, group] *= 2
            changed = np.flatnonzero(np.abs(layer(x).data - before).max(axis=(0, 1, 2, 3)) > 1e-3)
            assert changed.tolist() == [3 * group + output]
            hook.scale.data = kept


def net_of(seed, hooks=True):
    cs.seed(seed)
    hook = (cs.WeightNorm(), lambda w: cs.quantize(w, step=0.5)) if hooks else None
    front = cs.ConvTranspose(2, 3, 3, stride=2, weight_hook=hook)
    back = cs.Dense((9, 9, 3), 4, weight_scale=100.0, weight_hook=cs.WeightNorm() if hooks else None)
    return cs.Sequential(front, SRM, back, SRM)


def test_scales_are_trained_and_saved_with_the_weights(tmp_path):
    net = net_of(0)
    assert list(net.state()) == ["0.0", "0.1", "2.0", "2.1"]
    assert list(net_of(0, hooks=False).state()) == ["0.0", "2.0"]
    optimizer = cs.Adam(net.parameters(), lr=0.1)
    before = net.state()
    x = RNG.random((30, 2, 4, 4, 2)) < 0.3
    cs.SpikeCountLoss(SRM, true=20, false=1)(net(x), [0, 3]).backward()
    optimizer.step()
    assert all((net.state()[name] != array).any() for name, array in before.items())
    Checkpoint.of(1, net, optimizer).save(tmp_path / "run.npz")
    other = net_of(1)
    taken_up = cs.Adam(other.parameters(), lr=0.1)
    assert (other(x).data != net(x).data).any()
    load_checkpoint(tmp_path / "run.npz").restore(other, taken_up)
    assert (other(x).data == net(x).data).all()
    for name, array in net.state().items():
        np.testing.assert_array_equal(other.state()[name], array)


def test_errors():
    v = np.ones((4, 3))
    for scale in (np.ones(3), np.ones((1, 2)), np.ones((2, 3))):
        with pytest.raises(ValueError, match=r"^weight_norm: scale must have shape \(4, 3\), or 1 in it, got \("):
            functions.weight_norm(v, scale)
    with pytest.raises(TypeError, match=r"^weight_norm: v must be float32 or float64, got bool$"):
        functions.weight_norm(v > 0, v)
    with pytest.raises(TypeError, match=r"^weight_norm: scale must be float32 or float64, got bool$"):
        functions.weight_norm(v, v > 0)
    hook = cs.WeightNorm()
    with pytest.raises(ValueError, match=r"^WeightNorm: a hook needs a layer, it is none's weight_hook$"):
        hook(cs.Tensor(v))
    cs.Dense(3, 2, weight_hook=hook)
    with pytest.raises(ValueError, match=r"^WeightNorm: a hook serves one layer, Conv is its second$"):
        cs.Conv(1, 2, 3, weight_hook=hook)
