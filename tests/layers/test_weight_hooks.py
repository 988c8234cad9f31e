"""Weight hooks: applied in every pass of every layer with a weight."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer.layers import IntegerWeight
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint

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
    return cs.functions.quantize(w, step=2)


# Networks for each fused pass: two or four stages in one, dense in training and in inference, and a stage alone.
NETWORKS = {
    "dense": (lambda hook: [cs.Dense(40, 6, weight_scale=40.0, weight_hook=hook), SRM], (40,)),
    "conv": (lambda hook: [cs.Conv(2, 4, 3, weight_hook=hook), SRM], (6, 7, 2)),
    "strided": (lambda hook: [cs.Conv(2, 4, 3, stride=2, groups=2, weight_hook=hook), SRM], (6, 7, 2)),
    "pooled": (lambda hook: [cs.Conv(2, 4, 3, weight_hook=hook), SRM, cs.SumPool(2, gain=11.0), SRM], (6, 7, 2)),
    "transposed": (lambda hook: [cs.ConvTranspose(2, 4, 3, stride=2, weight_hook=hook), SRM], (4, 3, 2)),
    "numbers": (lambda hook: [cs.ConvTranspose(2, 4, 3, weight_hook=hook), SRM.psp, SRM.spike], (4, 3, 2)),
}


def step(net, x, grad):
    spikes = net(x)
    spikes.backward(grad(spikes.shape))
    return spikes.data


@pytest.mark.parametrize(
    ("name", "potentials"),
    [
        pytest.param(name, form, marks=[pytest.mark.all] * (name != "dense"))
        for name in NETWORKS
        for form in ("full", "float16")
    ],
)
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
    assert list(net.state()) == ["0.weight", "0.weight_hook.0.by", "2.weight"]
    net[0](np.ones((5, 1, 4))).sum().backward()
    assert hook.by.grad.tolist() == [5 * 4 * 3 * 0.5]
    pool = cs.SumPool(2, gain=3.0, weight_hook=hook)
    hook.by.grad = None
    pool(np.ones((1, 1, 4, 6, 1))).sum().backward()
    assert hook.by.grad.tolist() == [4 * 6]
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
def test_gradient_of_normalization(shape, outputs):
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
    inside = cs.Dense(6, 6, weight_hook=cs.WeightNorm())
    cs.Recurrent(inside, cs.LIF(tau=5.0))  # draws the initial weight again
    np.testing.assert_allclose(inside.effective_weight().data, inside.weight.data, rtol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_integers_of_each_output_have_a_scale(name):
    make, outputs = LAYERS[name]
    layer = make(IntegerWeight(3))
    weight = layer.weight.data
    view = weight.shape if name != "transposed" else (*weight.shape[:3], 2, 2)
    one_output = tuple(axis for axis, size in enumerate(outputs) if size == 1)
    scale = np.abs(weight.reshape(view)).max(axis=one_output, keepdims=True) / 3
    expected = np.rint(weight.reshape(view) / scale) * scale
    np.testing.assert_allclose(layer.effective_weight().data.reshape(view), expected, rtol=1e-6)


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
    hook = (cs.WeightNorm(), lambda w: cs.functions.quantize(w, step=0.5)) if hooks else None
    front = cs.ConvTranspose(2, 3, 3, stride=2, weight_hook=hook)
    back = cs.Dense((9, 9, 3), 4, weight_scale=100.0, weight_hook=cs.WeightNorm() if hooks else None)
    return cs.Sequential(front, SRM, back, SRM)


def test_scales_are_trained_and_saved_with_the_weights(tmp_path):
    net = net_of(0)
    assert list(net.state()) == ["0.weight", "0.weight_hook.0.scale", "2.weight", "2.weight_hook.scale"]
    assert list(net_of(0, hooks=False).state()) == ["0.weight", "2.weight"]
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


weights = st.lists(st.floats(-1e4, 1e4, width=32), max_size=20)


@settings(max_examples=100)
@given(values=weights, step=st.sampled_from([1, 2, 0.25, 0.1, 8]), dtype=st.sampled_from([np.float32, np.float64]))
def test_the_nearest_multiple(values, step, dtype):
    w = np.array(values, dtype)
    before = w.copy()
    q = cs.functions.quantize(w, step=step)
    assert (q.dtype, q.shape) == (dtype, w.shape)
    assert (w == before).all()
    if step == 0.1:  # no binary fraction: near a half the quotient decides
        rounding = 2 * np.finfo(dtype).eps * abs(w)
        assert (abs(q.data - w) <= 0.05 + rounding).all()
        assert (abs(q.data / 0.1 - np.rint(q.data / 0.1)) <= 20 * rounding).all()
    else:
        assert q.data.tolist() == [round(Fraction(float(x)) / Fraction(step)) * step for x in w]


def test_limits_hold_and_the_gradient_passes_straight():
    w = cs.Tensor(np.array([-300.0, -257.0, -256.0, 0.4, 254.0, 255.0, 256.0, 1e9]), requires_grad=True)
    q = cs.functions.quantize(w, step=2, limits=(-256, 254))
    assert q.data.tolist() == [-256, -256, -256, 0, 254, 254, 254, 254]
    g = np.arange(8.0) - 3
    q.backward(g)
    np.testing.assert_array_equal(w.grad, g)
    g[0] = 99
    assert w.grad[0] == -3
    assert cs.functions.quantize(np.array([0.34]), 0.1, limits=[-0.3, 0.3]).data.tolist() == [0.3]


types = st.sampled_from([np.float32, np.float64, float])


@given(st.floats(1e-4, 10), st.integers(-4000, 0), st.integers(1, 4000), types, types)
def test_limits_are_multiples_of_a_step_of_any_type(step, low, high, of_step, of_limits):
    """Rounded to float32 before or after the product."""
    step = of_step(step)
    limits = of_limits(low * step), of_limits(high) * step
    w = np.array([-1e9, low * step, high * step, 1e9], np.float32)
    q = cs.functions.quantize(w, step, limits=limits).data
    np.testing.assert_allclose(q, np.float32([low, low, high, high]) * np.float32(step), rtol=1e-6)
    with pytest.raises(ValueError, match=r"^quantize: limits must be multiples of step"):
        cs.functions.quantize(w, step, limits=(limits[0] - 0.01 * step, limits[1]))
