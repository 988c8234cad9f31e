"""Dense layers of packed spikes on emulated CUDA: forward equal to the CPU's to the bit, gradients to rounding."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Product
from cuslayer.kernels.synapse.dense import matmul as launcher
from cuslayer.kernels.synapse.dense.matmul import matmul
from tests.kernels.test_twins import close, dtypes, norm, normal, same_bits, seeds, train
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host

drawn = settings(max_examples=30)
steps_drawn = st.one_of(st.integers(0, 5), st.sampled_from([31, 32, 33, 65]))
samples_drawn = st.integers(0, 3)
# One line of bits, and several, whose last words are not full.
frames_drawn = st.sampled_from([(0,), (1,), (31,), (32,), (100,), (3, 5, 2), (2, 7, 5), (9, 33, 1), (6, 4, 16)])
# Within a word, of several words, of two blocks.
outputs_drawn = st.sampled_from([0, 1, 10, 32, 33, 64, 128, 130])
# No spikes, a few, many, all.
rates = st.sampled_from([0, 0.05, 0.4, 1])


def listed(x):
    """Return spikes (steps, samples, ...) as the CPU's list of rows."""
    return cpu.spikes.synapse_input(x.reshape(x.shape[0] * x.shape[1], math.prod(x.shape[2:])))


def held(ours, x, g):
    """Compare the gradient of the weights with the CPU's, to the rounding of its terms: they may cancel."""
    spikes = listed(x)
    least = norm(cpu.dense.weight_adjoint(spikes, abs(g)))
    close(ours, cpu.dense.weight_adjoint(spikes, g), least=least)


@drawn
@given(steps_drawn, samples_drawn, frames_drawn, outputs_drawn, rates, dtypes, seeds)
@example(3, 1, (70, 33, 2), 5, 0.1, "float32", 0)  # more words than a warp loads together
@example(2, 2, (4500,), 33, 0.5, "float64", 0)
@example(40, 3, (9,), 161, 0.4, "float32", 0)
def test_dense(steps, samples, frame, outputs, rate, dtype, seed):
    x, w = train(seed, (steps, samples, *frame), rate), normal(seed, (math.prod(frame), outputs), dtype)
    same_bits(gpu.dense.forward(packed_on_host(x), w), cpu.dense.forward(listed(x), w))


def of_every_activity(seed, frame):
    """Return a step of frames, one for each activity."""
    inputs, rng = math.prod(frame), np.random.default_rng(seed)
    activities = np.array([0.0, 0.005, 0.05, 0.15, 0.4, 0.8, 1.0])
    frames = [rng.permutation(np.arange(inputs) < round(inputs * activity)) for activity in activities]
    return np.array(frames).reshape(1, len(frames), *frame)


def drawn_weights(seed, inputs, outputs, dtype):
    """Return weights of which many are 0 or -0, whose sums are 0."""
    w, kind = normal(seed, (inputs, outputs), dtype), np.random.default_rng(seed).integers(0, 6, (inputs, 1))
    return np.where(kind == 0, w.dtype.type(-0.0), np.where(kind == 1, w.dtype.type(0.0), w))


# Frames of inputs less than, as many as and more than six neighbours, in lines of 34 x 2 within three words; outputs of
# a part of a word, of a word and one more, of several blocks.
activities = pytest.mark.parametrize(
    ("frame", "outputs"),
    [((inputs,), outputs) for inputs in (1, 5, 6, 7, 61) for outputs in (1, 10, 33, 512)]
    + [((34, 34, 2), outputs) for outputs in (1, 10, 33, 512)]
    + [((70, 33, 2), 10)],  # more words than a warp loads together
)


@activities
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_frame_is_summed_in_the_order_of_the_cpu(frame, outputs, dtype):
    w = drawn_weights(outputs, math.prod(frame), outputs, dtype)
    x = of_every_activity(outputs, frame)
    same_bits(gpu.dense.forward(packed_on_host(x), w), cpu.dense.forward(listed(x), w))


def test_frames_of_a_warp_one_after_another(monkeypatch):
    monkeypatch.setattr(gpu.dense, "_BLOCKS", 1)
    x, w = train(0, (20, 2, 45), 0.3), normal(0, (45, 7), "float32")
    same_bits(gpu.dense.forward(packed_on_host(x), w), cpu.dense.forward(listed(x), w))


@drawn
@given(steps_drawn, samples_drawn, frames_drawn, outputs_drawn, rates, dtypes, seeds, st.booleans())
@example(3, 300, (2,), 33, 0.4, "float32", 0, True)  # more words than the warps of a block take at once
@example(40, 3, (3,), 130, 1, "float64", 0, False)
def test_dense_weight_adjoint(steps, samples, frame, outputs, rate, dtype, seed, whole):
    x, g = train(seed, (steps, samples, *frame), rate), normal(seed, (steps * samples, outputs), dtype)
    packed = packed_on_host(x) if whole else replace(packed_on_host(x), by_neuron=None)
    held(gpu.dense.weight_adjoint(packed, g), x, g)


def test_a_product_is_its_matrix():
    errors, weight = normal(0, (6, 3), "float64"), normal(1, (4, 3), "float64")
    product = Product(errors, weight)
    assert (product.shape, product.dtype) == ((6, 4), np.float64)
    np.testing.assert_allclose(product.materialize(), errors @ weight.T, rtol=1e-12)


# Groups of inputs that are busy, whose bits are multiplied


# The inputs of a group, which is busy if more than a third of its bits are set, those behind the last step too.
GROUP = 4


@settings(max_examples=25)
@given(
    st.sampled_from([1, 31, 32, 33, 70]),
    st.integers(1, 3),
    st.integers(1, 9),
    st.sampled_from([1, 10, 32, 33, 64, 130]),
    st.lists(st.sampled_from([0, 0.01, 0.1, 0.3, 0.5, 1]), min_size=3, max_size=3),
    dtypes,
    seeds,
)
@example(96, 9, 8, 129, [0.5, 0, 1], "float32", 0)  # more words than warps
@example(64, 2, 5, 160, [1, 1, 1], "float64", 0)  # a group of one input takes all groups of outputs
def test_groups_of_any_activity(steps, samples, inputs, outputs, rates, dtype, seed):
    """A launch has groups of both kinds; a busy one has silent inputs too."""
    rng = np.random.default_rng(seed)
    of_groups = np.array(rates)[np.arange(inputs) // GROUP]
    x = rng.random((steps, samples, inputs)) < of_groups
    x[..., rng.random(inputs) < 0.2] = False
    g = normal(seed, (steps * samples, outputs), dtype)
    held(gpu.dense.weight_adjoint(packed_on_host(x), g), x, g)


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_a_group_is_multiplied_above_a_third(inputs):
    """By its own bits alone: those of the group before are none. 0 times infinity is no number, a sum of spikes is."""
    bits = 64 * inputs
    g = np.ones((64, 3), np.float32)
    g[-1] = np.inf
    for spikes, multiplied in ((bits // 3, False), (bits // 3 + 1, True)):
        x = np.zeros((64, 1, GROUP + inputs), bool)
        x[:, 0, GROUP:] = (np.arange(bits) < spikes).reshape(inputs, 64).T
        assert not x[-1, 0, -1]
        g_w = gpu.dense.weight_adjoint(packed_on_host(x), g)
        assert (g_w[:GROUP] == 0).all()
        assert np.isnan(g_w[-1]).all() == multiplied


def test_the_order_of_sums_does_not_depend_on_other_groups(emulator):
    rng = np.random.default_rng(2)
    x, g = rng.random((70, 2, 12)) < 0.6, normal(3, (140, 70), "float32")
    whole = gpu.dense.weight_adjoint(packed_on_host(x), g)
    x[..., 4:8] &= rng.random((70, 2, 4)) < 0.01
    part = gpu.dense.weight_adjoint(packed_on_host(x), g)
    assert whole[:4].tobytes() == part[:4].tobytes()
    assert whole[8:].tobytes() == part[8:].tobytes()
    assert (whole[4:8] != part[4:8]).any()


# Products of matrices


edges = st.one_of(st.integers(0, 9), st.sampled_from([63, 64, 65]))
forms = st.sampled_from(["a b", "a' b", "a b'"])


@settings(max_examples=25)
@given(edges, st.one_of(st.integers(0, 40), st.sampled_from([256, 512, 700])), edges, forms, dtypes, seeds)
@example(3, 1030, 70, "a' b", "float32", 0)
@example(130, 17, 65, "a b", "float64", 0)
@example(130, 130, 35, "a b'", "float32", 0)
def test_matmul(rows, inner, columns, form, dtype, seed):
    a, b = normal(seed, (rows, inner), dtype), normal(seed + 1, (inner, columns), dtype)
    exact = (a.astype(np.float64) @ b.astype(np.float64)).astype(dtype)
    if form == "a b'":
        product = gpu.dense.input_adjoint(a, b.T)
    else:
        product = matmul(a.T if form == "a' b" else a, b, a_transposed=form == "a' b")
    close(product, exact, least=norm(a) * norm(b))


def test_the_parts_of_a_long_sum(monkeypatch, emulator):
    """Their number depends on the shapes; a part begins where the one before it ends."""
    found = []
    monkeypatch.setattr(launcher, "add_parts", lambda parts, shape: found.append(parts) or parts.sum(0).reshape(shape))
    a, b = np.ones((5000, 2), np.float32), np.ones((5000, 3), np.float32)
    assert (matmul(a, b, a_transposed=True) == 5000).all()
    (parts,) = found
    assert parts.shape == (19, 6)
    assert set(parts[:-1, 0].tolist()) == {272.0}
    assert parts[-1, 0] == 5000 - 18 * 272
    monkeypatch.setattr(launcher, "_BLOCKS", 1)
    assert (matmul(a[:700], b[:700], a_transposed=True) == 700).all()
    assert len(found[-1]) == 1
