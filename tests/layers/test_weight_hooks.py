"""Weight hooks: applied in every pass of every layer with a weight."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs

RNG = np.random.default_rng(12)
SRM = cs.SRM()


def halve(w):
    return w * 0.5


class Shifted:
    """A hook with a parameter, without `attach`."""

    def __init__(self):
        self.by = cs.Tensor([0.25], requires_grad=True)

    def parameters(self):
        return [self.by]

    def __call__(self, w):
        return w + self.by


def rounded(w):
    return cs.quantize(w, step=2)


# Networks for each fused pass: two or four stages in one, dense in training and in inference, and a stage alone.
NETWORKS = {
    "dense": (lambda hook: [cs.Dense(40, 6, weight_scale=40.0, weight_hook=hook), SRM], (40,)),
    "conv": (lambda hook: [cs.Conv(2, 4, 3, weight_hook=hook), SRM], (6, 7, 2)),
    "strided": (lambda hook: [cs.Conv(2, 4, 3, stride=2, groups=2, weight_hook=hook), SRM], (6, 7, 2)),
    "pooled": (lambda hook: [cs.Conv(2, 4, 3, weight_hook=hook), SRM, cs.Pool(2, gain=11.0), SRM], (6, 7, 2)),
    "transposed": (lambda hook: [cs.ConvTranspose(2, 4, 3, stride=2, weight_hook=hook), SRM], (4, 3, 2)),
    "numbers": (lambda hook: [cs.ConvTranspose(2, 4, 3, weight_hook=hook), SRM.psp, SRM.spike], (4, 3, 2)),
}


def step(net, x, grad):
    spikes = net(x)
    spikes.backward(grad(spikes.shape))
    return spikes.data


@pytest.mark.parametrize("potentials", ["full", "float16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_hook_applies_in_every_pass(name, potentials):
    """A network with a hook equals one whose weights were passed through it before."""
    make, shape = NETWORKS[name]
    x = RNG.random((40, 2, *shape)) < 0.25
    cs.seed(1)
    hooked, plain = (cs.Sequential(*make(hook), potentials=potentials) for hook in (rounded, None))
    weight = hooked[0].weight
    plain[0].weight.data = np.rint(weight.data / 2) * 2
    assert (plain[0].weight.data != weight.data).any()

    def grad(shape):
        return np.random.default_rng(2).standard_normal(shape).astype(np.float32)

    assert (step(hooked, x, grad) == step(plain, x, grad)).all()
    assert hooked(x).data.any()
    np.testing.assert_array_equal(weight.grad, plain[0].weight.grad)  # straight through
    with cs.no_grad():
        assert (hooked(x).data == plain(x).data).all()


def test_the_weight_is_rounded_and_trained_in_full():
    layer = cs.Dense(4, 3, weight_hook=lambda w: cs.quantize(w, step=2))
    assert set(np.unique(layer.effective_weight().data % 2)) == {0}
    layer.weight.data = np.full((4, 3), 0.9, np.float32)
    optimizer = cs.SGD(layer.parameters(), lr=0.05)
    sums = []
    for _ in range(6):
        y = layer(np.ones((1, 1, 4), bool))
        sums.append(float(y.data[0, 0, 0]))
        optimizer.zero_grad()
        y.backward(-np.ones(y.shape))
        optimizer.step()
    # It grows by 0.05 per step, and rounds to 0 up to 1.
    assert sums == [0, 0, 0, 8, 8, 8]


def test_hooks_follow_one_another():
    layer = cs.Dense(4, 3, weight_hook=(rounded, halve))
    np.testing.assert_array_equal(layer.effective_weight().data, np.rint(layer.weight.data / 2))
    layer = cs.Dense(4, 3, weight_hook=(halve, rounded))
    np.testing.assert_array_equal(layer.effective_weight().data, np.rint(layer.weight.data / 4) * 2)
    layer(np.ones((1, 1, 4))).sum().backward()
    assert (layer.weight.grad == 0.5).all()
    assert cs.Dense(4, 3, weight_hook=()).parameters()[0].shape == (4, 3)


def test_a_hook_may_have_parameters():
    hook = Shifted()
    net = cs.Sequential(cs.Dense(4, 3, weight_hook=(hook, halve)), SRM, cs.Dense(3, 3), SRM)
    assert [p.shape for p in net.parameters()] == [(4, 3), (1,), (3, 3)]
    assert list(net.state()) == ["0.0", "0.1", "2.0"]
    net[0](np.ones((5, 1, 4))).sum().backward()
    assert hook.by.grad.tolist() == [5 * 4 * 3 * 0.5]
    # A hook of two layers is one parameter.
    shared = cs.Sequential(cs.Dense(4, 4, weight_hook=hook), cs.Dense(4, 3, weight_hook=hook))
    assert len(shared.parameters()) == 3


def test_a_hook_may_attach_to_its_layer():
    class Curious:
        layer = None

        def attach(self, layer):
            self.layer = layer, layer.weight.shape

        def __call__(self, w):
            return w

    hook = Curious()
    layer = cs.Conv(2, 4, 3, weight_hook=hook)
    assert hook.layer == (layer, (3, 3, 2, 4))


def test_hooks_do_not_change_initial_weights():
    cs.seed(3)
    with_hook = cs.Dense(4, 3, weight_hook=cs.WeightNorm()), cs.Conv(2, 2, 3)
    cs.seed(3)
    without = cs.Dense(4, 3), cs.Conv(2, 2, 3)
    for mine, other in zip(with_hook, without, strict=True):
        assert (mine.weight.data == other.weight.data).all()


def test_errors():
    with pytest.raises(TypeError, match=r"^Dense: weight_hook must be callable, got int$"):
        cs.Dense(3, 2, weight_hook=(halve, 1))
    with pytest.raises(TypeError, match=r"^Dense: weight_hook must return a Tensor, got ndarray$"):
        cs.Dense(3, 2, weight_hook=lambda w: w.data)(np.ones((1, 1, 3)))
    message = r"^Conv: what weight_hook returns has shape \(4,\), weight has shape \(1, 1, 2, 2\)$"
    with pytest.raises(ValueError, match=message):
        cs.Conv(2, 2, 1, weight_hook=lambda w: w.reshape(4))(np.ones((1, 1, 3, 3, 2)))
