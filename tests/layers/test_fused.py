"""Layers and neurons as one operation: the same bits and gradients as one by one."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions, kernels
from cuslayer._tape import on_potential
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.kernels.synapse.conv import spikes as conv_spikes
from tests.support.kinds import Echo

pytestmark = pytest.mark.all

geometries = st.fixed_dictionaries(
    {
        "stride": st.sampled_from([1, 1, 2]),
        "padding": st.tuples(st.integers(0, 3), st.integers(0, 2)),
        "dilation": st.sampled_from([1, 1, 2]),
        "groups": st.sampled_from([1, 1, 2]),
    }
)


KINDS = {
    "srm": (cs.SRM(tau_sr=3.0, cutoff=0.2), cs.SRM(tau_sr=2.0, theta=9.0)),
    "lif": (cs.LIF(theta=10.0, tau=3.0), cs.CUBA(tau_i=2.0, theta=9.0, reset="subtract")),
    "adaptive": (cs.AdaptiveLIF(theta=10.0), cs.neurons.ResonateAndFire(theta=9.0, surrogate="fast_sigmoid")),
    "srm of another surrogate": (cs.SRM(tau_sr=3.0, surrogate="triangle"), cs.SRM(tau_sr=2.0, surrogate="arctan")),
    "echo": (Echo(theta=8.0, far=9), Echo(theta=9.0, near=0, far=40)),
    "srm, then lif": (cs.SRM(tau_sr=3.0), cs.LIF(theta=9.0)),
}


def of_kind(kind, channels, gradient):
    """Return the neurons before and behind pooling; leaky ones have a time constant for each channel."""
    first, behind = (neuron.with_gradient(gradient) for neuron in KINDS[kind])
    if kind == "lif":
        first = cs.LIF(theta=10.0, tau=3.0 + np.arange(channels), gradient=gradient)
    return first, behind


def pooling_of(pool, neuron):
    return Pooling(pool.window, pool.gain, *neuron.one_pass[:2])


def same_gradient(one, two):
    """Hold two gradients to the same bits on the CPU, and on a GPU, which sums in another order, to its rounding."""
    assert (one.dtype, one.shape) == (two.dtype, two.shape)
    if kernels.of(one) is cpu:
        assert one.tobytes() == two.tobytes()
    else:
        bound = {"float32": 1e-5, "float64": 1e-12}[one.dtype.name]
        assert np.linalg.norm(one - two) <= bound * np.linalg.norm(two)


@settings(max_examples=120)
@given(
    geometry=geometries,
    pool=st.none()
    | st.fixed_dictionaries(
        {
            "kernel_size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
            "stride": st.sampled_from([None, None, 1]),
            "padding": st.sampled_from([0, 0, 1]),
        }
    ),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 3)),
    image=st.tuples(st.integers(1, 9), st.integers(1, 8)),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    sizes=st.tuples(st.sampled_from([0, 1, 20, 32, 33, 100]), st.integers(0, 3)),
    together=st.sampled_from([1, 5, 9, 512, 1024]),
    numbers=st.booleans(),
    steady=st.booleans(),
    kind=st.sampled_from(sorted(KINDS)),
    gradient=st.sampled_from(["slayer", "exact"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_one_pass_is_its_stages(
    geometry, pool, kernel, image, channels, sizes, together, numbers, steady, kind, gradient, dtype
):
    """Of a convolution and its neurons, or with pooling and the neurons behind it."""
    for axis in (0, 1):
        assume(image[axis] + 2 * geometry["padding"][axis] > geometry["dilation"] * (kernel[axis] - 1))
    generator, groups = np.random.default_rng(0), geometry["groups"]
    x = generator.random((*sizes, *image, channels[0] * groups)) < 0.2
    w = (generator.standard_normal((*kernel, channels[0], channels[1] * groups)) * 6).astype(dtype)
    first, behind = of_kind(kind, channels[1] * groups, gradient)
    assume(first.one_pass and behind.one_pass)
    layer = pool and cs.SumPool(**pool, gain=8.0)
    options = {**first.one_pass._asdict(), **geometry}
    runs = []
    for one_pass in (True, False):
        t = cs.Tensor(x.astype(dtype) if numbers else x, requires_grad=numbers)
        weight = cs.Tensor(w, requires_grad=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conv_spikes, "_TOGETHER", together)
            if not one_pass:
                s = first(functions.conv(t, weight, **geometry))
                s = behind(layer(s)) if layer else s
            elif layer:
                s = functions.conv_pool(t, weight, pooling=pooling_of(layer, behind), **options)
            else:
                s = functions.conv_neuron(t, weight, **options)
            g = np.random.default_rng(1).standard_normal(s.shape).astype(dtype)
            s.backward(np.broadcast_to(g[:1], g.shape) if steady else g)
        runs.append((s.data, weight.grad, t.grad))
    (s, of_weight, of_x), apart = runs
    assert (s == apart[0]).all()
    assert of_weight.dtype == dtype
    same_gradient(of_weight, apart[1])
    if numbers:
        same_gradient(of_x, apart[2])


@pytest.mark.cpu_only
def test_the_condition_of_fusion():
    plain, strided, srm = Window.of(3, 1, 1, 1), Window.of(3, 2, 1, 1), cs.SRM()
    pooled = lambda *window: Pooling(Window.of(*window), 1.0, (), srm.spiking)  # noqa: E731
    spikes = cpu.spikes.synapse_input(np.zeros((2, 4, 4, 2), bool))
    for n in (1, 2):
        assert cpu.fused.conv_kernels(spikes, plain, n, srm.spiking).groups == n
        assert cpu.fused.conv_kernels(spikes, strided, n, srm.spiking).groups == n
        assert cpu.fused.conv_pool_kernels(spikes, plain, n, pooled(2, 2, 0, 1), srm.spiking).groups == n
    assert cpu.fused.conv_kernels(np.zeros((2, 4, 4, 2)), plain, 1, srm.spiking) is None
    for pool in ((2, 1, 0, 1), (2, 2, 1, 1), (2, 2, 0, 2)):
        assert cpu.fused.conv_pool_kernels(spikes, plain, 1, pooled(*pool), srm.spiking) is None


@pytest.mark.parametrize("gradients", [("slayer", "exact"), ("exact", "slayer"), ("exact", "exact")])
def test_neurons_before_and_behind_pooling_have_their_own_gradient(gradients):
    """Neurons with different modes of the gradient are not fused."""
    x = np.random.default_rng(0).random((40, 2, 6, 6, 2)) < 0.2
    first, second = (cs.SRM(tau_sr=3.0, tau_ref=3.0, gradient=gradient) for gradient in gradients)
    cs.seed(3)
    conv, pool = cs.Conv(2, 4, 3, padding=1), cs.SumPool(2, gain=11.0)
    together = cs.Sequential(conv, first, pool, second)(x)
    g = np.random.default_rng(1).standard_normal(together.shape).astype(np.float32)
    together.backward(g)
    found, conv.weight.grad = conv.weight.grad, None
    apart = second(pool(first(conv(x))))
    apart.backward(g)
    assert apart.data.any()
    assert (together.data == apart.data).all()
    # A float32 sum of 40 x 2 x 36 terms in another order.
    np.testing.assert_allclose(found, conv.weight.grad, rtol=0, atol=1e-5 * np.abs(found).max())


@pytest.mark.cpu_only
@pytest.mark.parametrize("together", [1, 2 * 4 * 3, 1024])
def test_potentials_in_blocks_are_those_of_the_map(together, monkeypatch):
    """Blocks of one row, of two rows (the last block reaches past the map's 5 rows), and of all rows."""
    monkeypatch.setattr(conv_spikes, "_TOGETHER", together)
    srm, seen = cs.SRM(), []
    x = np.random.default_rng(0).random((9, 3, 5, 4, 2)) < 0.3
    w = np.random.default_rng(1).standard_normal((3, 3, 2, 3)).astype(np.float32)
    with on_potential(seen.append):
        functions.conv_neuron(x, cs.Tensor(w, requires_grad=True), spiking=srm.spiking, padding=1)
        srm(functions.conv(x, cs.Tensor(w, requires_grad=True), padding=1))
    in_blocks, plain = seen
    assert in_blocks.from_blocks is not None
    neurons = np.array([[0, 0, 0], [1, 3, 2], [3, 0, 1], [4, 3, 2]])
    for samples in (None, np.array([2, 0])):
        for some in (None, neurons):
            found = in_blocks.from_blocks(in_blocks.values, (9, 3, 5, 4, 3), samples, some)
            expected = plain.values.reshape(9, 3, 5, 4, 3)[:, slice(None) if samples is None else samples]
            assert (found == (expected if some is None else expected[(slice(None), slice(None), *some.T)])).all()
