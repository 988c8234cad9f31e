"""Dense layers of packed spikes on emulated CUDA: forward equal to the CPU's to the bit, gradients to rounding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.dense.costs import busy_above
from cuslayer.kernels.dense.product import Product
from tests.kernels.test_twins import Array, close, dtypes, norm, normal, same_bits, seeds, train
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host

drawn = settings(max_examples=30, deadline=None)
steps_drawn = st.one_of(st.integers(0, 5), st.sampled_from([31, 32, 33, 65]))
samples_drawn = st.integers(0, 3)
# One line of bits, and several, whose last words are not full.
frames_drawn = st.sampled_from([(0,), (1,), (31,), (32,), (100,), (3, 5, 2), (2, 7, 5), (9, 33, 1), (6, 4, 16)])
# Within a word, of several words, of two blocks.
outputs_drawn = st.sampled_from([0, 1, 10, 32, 33, 64, 128, 130])
# No spikes, a few, many, all.
rates = st.sampled_from([0, 0.05, 0.4, 1])


def listed(x: Array) -> cpu.spikes.SpikeList:
    """Return spikes (steps, samples, ...) as the CPU's list of rows."""
    return cpu.spikes.synapse_input(x.reshape(x.shape[0] * x.shape[1], math.prod(x.shape[2:])))


def held(ours: Array, x: Array, g: Array) -> None:
    """Compare the gradient of the weights with the CPU's, to the rounding of its terms: they may cancel."""
    spikes = listed(x)
    least = norm(cpu.dense.weight_adjoint(spikes, abs(g)))
    close(ours, cpu.dense.weight_adjoint(spikes, g), least=least)


@drawn
@given(steps_drawn, samples_drawn, frames_drawn, outputs_drawn, rates, dtypes, seeds)
@example(3, 1, (70, 33, 2), 5, 0.1, "float32", 0)  # more words than a warp loads together
@example(2, 2, (4500,), 33, 0.5, "float64", 0)
@example(40, 3, (9,), 161, 0.4, "float32", 0)
def test_dense_of_packed_spikes(
    steps: int, samples: int, frame: tuple[int, ...], outputs: int, rate: float, dtype: str, seed: int
) -> None:
    x, w = train(seed, (steps, samples, *frame), rate), normal(seed, (math.prod(frame), outputs), dtype)
    same_bits(gpu.dense.forward(packed_on_host(x), w), cpu.dense.forward(listed(x), w))


def of_every_activity(seed: int, frame: tuple[int, ...], w: Array) -> Array:
    """Return a step of frames, one for each activity and number of spikes around the limit, and all spikes or none."""
    inputs, limit = len(w), busy_above(w)
    numbers = [limit - 1, limit, limit + 1, 0, inputs, *(inputs * rate for rate in (0.005, 0.05, 0.09, 0.15, 0.4, 0.8))]
    rng = np.random.default_rng(seed)
    frames = [rng.permutation(np.arange(inputs) < round(number)) for number in numbers]
    return np.array(frames).reshape(1, len(numbers), *frame)


def drawn_weights(seed: int, inputs: int, outputs: int, dtype: str) -> Array:
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
def test_each_frame_is_summed_in_the_order_of_the_cpu(frame: tuple[int, ...], outputs: int, dtype: str) -> None:
    w = drawn_weights(outputs, math.prod(frame), outputs, dtype)
    x = of_every_activity(outputs, frame, w)
    expected = cpu.dense.forward(listed(x), w)
    same_bits(gpu.dense.forward(packed_on_host(x), w), expected)
    quiet = x.reshape(x.shape[1], -1).sum(axis=1) <= busy_above(w)
    others = (cpu.dense.walk(listed(x), w) != expected).any(axis=1)
    assert not others[quiet].any()
    assert others[~quiet].any() or math.prod(frame) < 61


def test_frames_of_a_warp_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.dense, "_BLOCKS", 1)
    x, w = train(0, (20, 2, 45), 0.3), normal(0, (45, 7), "float32")
    same_bits(gpu.dense.forward(packed_on_host(x), w), cpu.dense.forward(listed(x), w))


@drawn
@given(steps_drawn, samples_drawn, frames_drawn, outputs_drawn, rates, dtypes, seeds, st.booleans())
@example(3, 300, (2,), 33, 0.4, "float32", 0, True)  # more words than the warps of a block take at once
@example(40, 3, (3,), 130, 1, "float64", 0, False)
def test_dense_weight_adjoint_of_packed_spikes(
    steps: int, samples: int, frame: tuple[int, ...], outputs: int, rate: float, dtype: str, seed: int, whole: bool
) -> None:
    x, g = train(seed, (steps, samples, *frame), rate), normal(seed, (steps * samples, outputs), dtype)
    packed = packed_on_host(x) if whole else replace(packed_on_host(x), by_neuron=None)
    held(gpu.dense.weight_adjoint(packed, g), x, g)


side = st.one_of(st.integers(0, 20), st.sampled_from([63, 64, 65, 130]))


@drawn
@given(side, side, st.integers(0, 35), dtypes, seeds)
def test_tiles_of_dense_input_adjoint(rows: int, inputs: int, outputs: int, dtype: str, seed: int) -> None:
    g, w = normal(seed, (rows, outputs), dtype), normal(seed + 1, (inputs, outputs), dtype)
    exact = (g.astype(np.float64) @ w.T.astype(np.float64)).astype(dtype)
    close(gpu.dense.input_adjoint(g, w), exact, least=norm(abs(g) @ abs(w).T))


def test_a_product_is_its_matrix() -> None:
    errors, weight = normal(0, (6, 3), "float64"), normal(1, (4, 3), "float64")
    product = Product(errors, weight)
    assert (product.shape, product.dtype) == ((6, 4), np.float64)
    np.testing.assert_allclose(product.materialize(), errors @ weight.T, rtol=1e-12)


def test_deferred_input_adjoint() -> None:
    g, w = normal(0, (6, 3), "float64"), normal(1, (4, 3), "float64")
    for kernels in (gpu, cpu):
        deferred = kernels.dense.deferred_input_adjoint(g, w, (2, 3, 4))
        assert deferred.shape == (2, 3, 4)
        close(deferred.value.materialize(), cpu.dense.input_adjoint(g, w))
