"""The error of spike counts: emulated CUDA against the CPU, and the choice of the kernel."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import ClassCounts
from cuslayer.kernels.step.filters import Sampled
from tests.kernels.test_twins import CLOSE, alphas, norm, seeds
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host


def packed(s):
    """Return booleans (T, N, neurons) as packed spikes."""
    return replace(packed_on_host(s), by_neuron=None)


def close(ours, theirs, least=0.0):
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert norm(ours - theirs) <= CLOSE[theirs.dtype.name] * max(norm(theirs), least)


@st.composite
def cases(draw):
    """Return spikes (T, N, neurons), a window, and a seed; T is under, at and over multiples of the 16 runs."""
    steps = draw(st.one_of(st.integers(1, 70), st.sampled_from([1, 15, 16, 17, 32, 33, 64, 65])))
    samples, neurons = draw(st.integers(0, 4)), draw(st.sampled_from([0, 1, 2, 10, 31, 32, 33]))
    first = draw(st.integers(0, steps - 1))
    last = draw(st.integers(first + 1, steps))
    seed = draw(seeds)
    s = np.random.default_rng(seed).random((steps, samples, neurons)) < draw(st.sampled_from([0, 0.02, 0.3]))
    return s, draw(st.sampled_from([(0, steps), (first, last)])), seed


SAMPLED = Sampled(np.array([0.0, 1.0, 0.5, -0.25]), 0.5)
responses = st.one_of(alphas, st.just(SAMPLED))
# Spikes before, within and after the window.
AROUND = np.random.default_rng(5).random((20, 2, 33)) < 0.3, (3, 9), 5


@settings(max_examples=25)
@given(cases(), responses, st.sampled_from(["bool", "packed", "float32", "float64"]), st.booleans(), st.booleans())
@example(AROUND, SAMPLED, "packed", False, True)
@example(AROUND, SAMPLED, "float64", True, False)
def test_spike_count_error(case, response, form, piecewise, by_label):
    s, window, seed = case
    rng = np.random.default_rng(seed)
    x = s if form in ("bool", "packed") else (s * rng.standard_normal(s.shape)).astype(form)
    desired = rng.uniform(0, 20, s.shape[1:])
    if by_label:
        desired = ClassCounts(rng.integers(0, max(s.shape[2], 1), s.shape[1]), 9.0, 2.5)
    arguments = desired, window, response, 1.5, piecewise
    value, e = gpu.loss.error(packed(s) if form == "packed" else x, *arguments)
    expected, theirs = cpu.loss.error(x, *arguments)
    # The response to spikes outside the window may cancel to rounding, and so may counts of numbers.
    close(e, theirs, least=response.samples().max(initial=0) * norm(x))
    close(value, expected, least=norm(theirs) ** 2 * 0.1)
    dtype = theirs.dtype
    e, g = rng.standard_normal(s.shape).astype(dtype), np.array(0.7, dtype)
    ours = gpu.loss.error_adjoint(e, g, response)
    # Where a response is long, float32 has an error in the CPU's recurrence, not here.
    theirs = cpu.loss.error_adjoint(e.astype(np.float64), g, response).astype(dtype)
    # A response whose samples are all 0 leaves the rounding of its recurrence.
    close(ours, theirs, least=(np.abs(response.samples()).max(initial=0) + 1e-6) * norm(e))


def test_more_blocks_than_a_block_has_threads():
    """The last block to end adds the sums of 513 blocks, and looks for a spike in each of them."""
    s = np.zeros((1, 513, 32), bool)
    s[0, 512, 31] = True
    arguments = s, ClassCounts(np.arange(513) % 32, 3.0, 1.0), (0, 1), cs.SRM().filter, 1.0, False
    close(gpu.loss.error(*arguments)[0], cpu.loss.error(*arguments)[0])
    assert totals_of(gpu, s, None, 0.0, 1.0) == totals_of(cpu, s, None, 0.0, 1.0)


def test_the_usual_response_is_that_of_the_cpu_in_float32():
    rng = np.random.default_rng(1)
    e, g = rng.standard_normal((300, 4, 10)).astype(np.float32), np.array(1, np.float32)
    response = cs.SRM().filter
    close(gpu.loss.error_adjoint(e, g, response), cpu.loss.error_adjoint(e, g, response))


def test_the_sum_has_the_same_bits_each_time():
    """The emulator runs blocks in three orders; which of them ends last differs, and E does not."""
    s = np.random.default_rng(2).random((40, 7, 33)) < 0.2
    labels = ClassCounts(np.arange(7), 12.0, 3.0)
    values = [gpu.loss.error(x, labels, (3, 30), cs.SRM().filter, 1.0, False) for x in (s, s, packed(s))]
    assert len({(value.tobytes(), e.tobytes()) for value, e in values}) == 1


@pytest.mark.parametrize("label", [-1, 3, 1 << 40])
def test_the_label_of_no_class_gives_no_number(label):
    s, window, response = np.zeros((20, 2, 3), bool), (0, 20), cs.SRM().filter
    desired = ClassCounts(np.array([1, label]), 5.0, 1.0)
    for kernels in (cpu, gpu):
        value, e = kernels.loss.error(s, desired, window, response, 1.0, False)
        assert np.isnan(value)
        assert (np.isnan(e).all(axis=(0, 2)) == [False, True]).all()


def test_a_gradient_of_packed_spikes():
    """The operation takes packed spikes from a tensor's data as they are."""
    s = np.random.default_rng(3).random((20, 2, 3)) < 0.3
    loss = cs.SpikeCountLoss(cs.SRM(), true=5, false=1, window=(2, 15))
    t = cs.Tensor(s)
    expected = loss(t, [0, 2]).item()
    t = cs.Tensor(packed(s))
    assert loss(t, [0, 2]).item() == expected


# The sums of an epoch


def totals_of(kernels, s, *arguments):
    """Return the totals after a batch, from others than zero."""
    totals = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0])
    kernels.loss.score(totals, s, *arguments)
    return totals.tolist()


@pytest.mark.parametrize("form", ["bool", "packed", "float32", "float64"])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("as_number", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_spike_count_score(form, by_class, as_number, seed):
    """Also of more samples than two for each warp, and with equal counts; some labels are right, some no class."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(0, 40), (40, 17, 0)[seed], rng.choice([1, 2, 10, 31, 33, 70])
    s = rng.random(shape) < rng.choice([0.02, 0.5])
    labels = rng.integers(-1, shape[2] + 1, shape[1])
    labels[::2] = s[:, ::2].sum(axis=0).argmax(axis=1)
    # Quarters, as a mean of four neurons has: their sums are exact in any order.
    x = s if form in ("bool", "packed") else (s * rng.integers(-4, 9, s.shape) / 4).astype(form)
    error = 0.1 if as_number else np.array(0.1, x.dtype if x.dtype != bool else f"f{4 + 4 * (seed % 2)}")
    arguments = labels if by_class else None, error, 3.0
    assert totals_of(gpu, packed(s) if form == "packed" else x, *arguments) == totals_of(cpu, x, *arguments)


@pytest.mark.parametrize("form", ["bool", "packed", "numbers"])
def test_the_lowest_of_equal_classes_wins(form):
    """Far apart: in one lane, in two lanes, in lanes that are added in another order."""
    for first, last in ((0, 1), (0, 32), (1, 34), (31, 32), (5, 69)):
        s = np.zeros((20, 2, 70), bool)
        s[[3, 9], :, first] = s[[4, 19], :, last] = True
        x = {"bool": s, "packed": packed(s), "numbers": s * 1.0}[form]
        assert totals_of(gpu, x, np.array([first, first]), 0.0, 1.0)[1] == 4.0


def test_a_silent_output_is_class_zero_and_noticed():
    s = np.zeros((20, 3, 40), bool)
    assert totals_of(gpu, s, np.array([0, 1, 0]), 0.0, 1.0) == [1.5, 4.0, 6.0, 4.0, 6.0, 0.0, 0.0]
    for place in ((0, 0, 0), (19, 2, 39)):
        s[:] = False
        s[place] = True
        assert totals_of(gpu, s, None, 0.0, 1.0) == [1.5, 2.0, 6.0, 5.0, 6.0, 0.0, 0.0]
    # Numbers whose sum is zero.
    x = np.zeros((20, 3, 40))
    x[3:5, 1, 1] = 1, -1
    assert totals_of(gpu, x, None, 0.0, 1.0)[3] == totals_of(cpu, x, None, 0.0, 1.0)[3] == 5.0


def test_targets_of_more_axes_have_no_classes():
    s = np.random.default_rng(0).random((9, 2, 3, 4, 5)) < 0.1
    assert totals_of(gpu, s, None, np.array(2.0), 0.5) == totals_of(cpu, s, None, np.array(2.0), 0.5)
    found = totals_of(gpu, np.zeros((3, 1, 1), bool), None, np.array(math.nan, np.float32), 1.0)
    assert math.isnan(found[0])


@pytest.mark.parametrize("form", ["bool", "packed", "float32", "float64"])
def test_the_first_batch_that_is_not_finite_is_noted(form):
    s = np.random.default_rng(0).random((9, 3, 40)) < 0.2
    for kernels in (cpu, gpu):
        totals, x = np.zeros(7), s if form in ("bool", "packed") else s.astype(form)
        given = packed(s) if form == "packed" and kernels is gpu else x
        real = np.dtype("float32" if form in ("bool", "packed") else form).type
        errors = [np.array(1.0, real), np.array(math.inf, real), math.nan, np.array(1.0, real), 1.0]
        for error, noted in zip(errors, ([1, 0, 0], [2, 2, 0], [3, 2, 0], [4, 2, 4], [5, 2, 4]), strict=True):
            if noted[0] == 4 and x.dtype != bool:
                x[7, 2, 39] = math.nan
            kernels.loss.score(totals, given, np.zeros(3, np.int64), error, 1.0)
            assert totals[4:].tolist() == (noted if x.dtype != bool else [*noted[:2], 0])
