"""Weight hooks of pooling and unpooling, and the operations with a weight for each tap of the window."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer.kernels.constants import Window
from cuslayer.kernels.synapse.pool import cpu as pool
from cuslayer.network.graph import plan
from tests.support import reference

pytestmark = pytest.mark.all

RNG = np.random.default_rng(15)
SRM = cs.SRM()
pairs = st.tuples(st.integers(1, 3), st.integers(1, 4))


@settings(max_examples=40)
@given(
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 1)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_equals_the_formulas(kernel, stride, padding, dilation, image, channels, seed):
    generator = np.random.default_rng(seed)
    x, w = generator.standard_normal((2, 2, *image, channels)), generator.standard_normal((*kernel, 1, 1))
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    fits = all(i + 2 * p >= r >= s for i, p, r, s in zip(image, padding, reach, stride, strict=True))
    for given_x in (x, x > 0.5):
        flat = given_x.reshape(4, *x.shape[2:])
        if fits:
            expected = reference.pool(flat, kernel, stride, padding, dilation, w[:, :, 0, 0])
            y = functions.weighted_pool(given_x, w, **options)
            np.testing.assert_allclose(y.data.reshape(expected.shape), expected, atol=1e-12)
        expected = reference.unpool(flat, kernel, stride, padding, dilation, w[:, :, 0, 0])
        assume(min(expected.shape[1:3]) > 0)
        y = functions.weighted_unpool(given_x, w, **options)
        np.testing.assert_allclose(y.data.reshape(expected.shape), expected, atol=1e-12)


def test_each_frame_adds_its_own_gradient():
    """Of the weights: a part of a thread is several frames."""
    x, window = RNG.standard_normal((64, 5, 6, 2)), Window.of((3, 2), 2, 1, 1)
    g = RNG.standard_normal((64, *window.outputs((5, 6), ceil=True), 2))
    of_each = [pool.weight_adjoint(x[n : n + 1], g[n : n + 1], window) for n in range(64)]
    np.testing.assert_allclose(pool.weight_adjoint(x, g, window), sum(of_each), rtol=1e-12)


def rounded(w):
    return cs.functions.quantize(w, step=4)


def uneven(w):
    return w * np.array([[0.5, 1.0], [1.5, 2.0]], np.float32).reshape(2, 2, 1, 1)


def network(pool):
    return cs.Sequential(cs.Conv(2, 4, 3, weight_scale=60.0), SRM, pool, SRM)


@pytest.mark.parametrize("potentials", ["full", "float16"])
def test_a_hook_applies_in_every_pass(potentials):
    """Also behind a convolution, whose fused pass with pooling has one gain."""
    x = RNG.random((40, 2, 7, 8, 2)) < 0.3
    cs.seed(1)
    hooked = network(cs.SumPool(2, gain=11.0, weight_hook=rounded))
    cs.seed(1)
    plain = network(cs.SumPool(2, gain=12.0))
    for net in (hooked, plain):
        net.potentials = potentials
    assert (hooked(x).data == plain(x).data).all()
    assert hooked(x).data.any()
    for net in (hooked, plain):
        net(x).backward(np.ones((40, 2, 3, 3, 4), np.float32))
    np.testing.assert_allclose(hooked[0].weight.grad, plain[0].weight.grad, rtol=0, atol=1e-4)
    with cs.no_grad():
        assert (hooked(x).data == plain(x).data).all()
    assert [len(step.stages) for step in plan(hooked.graph)] == [2, 1, 1]
    assert [len(step.stages) for step in plan(plain.graph)] == [4]
    assert [len(step.stages) for step in plan(network(cs.SumPool(2, gain=11.0, weight_hook=())).graph)] == [4]


def test_recordings_and_explanations_follow_the_hook():
    net, x = network(cs.SumPool(2, gain=11.0, weight_hook=uneven)), RNG.random((40, 1, 6, 6, 2)) < 0.4
    net[0].weight.data = np.abs(net[0].weight.data)
    with cs.record(net) as seen:
        out = net(x).data
    weighted = functions.weighted_pool(seen[1].spikes.values, net[2].effective_weight()).data
    np.testing.assert_array_equal(seen[3].weighted, weighted)
    assert (seen[3].spikes.values == out).all()
    time, _, *neuron = np.argwhere(out)[0].tolist()
    why = cs.explain(net, x, 3, tuple(neuron), time)
    assert why.contributions.sum() + why.refractory == pytest.approx(why.potential, rel=1e-4)
    assert len(set(np.round(why.contributions[why.contributions != 0], 3).tolist())) > 1
