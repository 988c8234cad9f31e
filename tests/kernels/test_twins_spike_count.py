"""The error of spike counts: emulated CUDA against the CPU, and the choice of the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import ClassCounts, Sampled
from cuslayer.kernels.spikes.packed import PackedSpikes
from tests.kernels.test_twins import CLOSE, Array, alphas, dtypes, norm, seeds
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host


def packed(s: Array) -> PackedSpikes:
    """Return booleans (T, N, neurons) as packed spikes."""
    return replace(packed_on_host(s), by_neuron=None)


def close(ours: Array, theirs: Array, least: float = 0.0) -> None:
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert norm(ours - theirs) <= CLOSE[theirs.dtype.name] * max(norm(theirs), least)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Array, tuple[int, int], int]:
    """Return spikes (T, N, neurons), a region, and a seed; T is under, at and over multiples of the 16 runs."""
    steps = draw(st.one_of(st.integers(1, 70), st.sampled_from([1, 15, 16, 17, 32, 33, 64, 65])))
    samples, neurons = draw(st.integers(0, 4)), draw(st.sampled_from([0, 1, 2, 10, 31, 32, 33]))
    first = draw(st.integers(0, steps - 1))
    last = draw(st.integers(first + 1, steps))
    seed = draw(seeds)
    s = np.random.default_rng(seed).random((steps, samples, neurons)) < draw(st.sampled_from([0, 0.02, 0.3]))
    return s, draw(st.sampled_from([(0, steps), (first, last)])), seed


responses = st.one_of(alphas, st.just(Sampled(np.array([0.0, 1.0, 0.5, -0.25]), 0.5)))


@settings(max_examples=25, deadline=None)
@given(cases(), responses, st.sampled_from(["bool", "packed", "float32", "float64"]), st.booleans(), st.booleans())
def test_spike_count_error(case: Any, response: Any, form: str, piecewise: bool, by_label: bool) -> None:
    s, region, seed = case
    rng = np.random.default_rng(seed)
    x = s if form in ("bool", "packed") else (s * rng.standard_normal(s.shape)).astype(form)
    desired: Any = rng.uniform(0, 20, s.shape[1:])
    if by_label:
        desired = ClassCounts(rng.integers(0, max(s.shape[2], 1), s.shape[1]), 9.0, 2.5)
    arguments = desired, region, response, 1.5, piecewise
    value, e = gpu.spike_count.error(packed(s) if form == "packed" else x, *arguments)
    expected, theirs = cpu.spike_count.error(x, *arguments)
    # The response to spikes outside the region may cancel to rounding, and so may counts of numbers.
    close(e, theirs, least=response.samples().max(initial=0) * norm(x))
    close(value, expected, least=norm(theirs) ** 2 * 0.1)


@settings(max_examples=25, deadline=None)
@given(cases(), responses, dtypes)
def test_spike_count_error_adjoint(case: Any, response: Any, dtype: str) -> None:
    s, _, seed = case
    e = np.random.default_rng(seed).standard_normal(s.shape).astype(dtype)
    g = np.array(0.7, dtype)
    ours = gpu.spike_count.error_adjoint(e, g, response)
    # Where a response is long, float32 has an error in the CPU's recurrence, not here.
    theirs = cpu.spike_count.error_adjoint(e.astype(np.float64), g, response).astype(dtype)
    # A response whose samples are all 0 leaves the rounding of its recurrence.
    close(ours, theirs, least=(np.abs(response.samples()).max(initial=0) + 1e-6) * norm(e))


def test_the_usual_response_is_that_of_the_cpu_in_float32() -> None:
    rng = np.random.default_rng(1)
    e, g = rng.standard_normal((300, 4, 10)).astype(np.float32), np.array(1, np.float32)
    response = cs.SRM().filter
    close(gpu.spike_count.error_adjoint(e, g, response), cpu.spike_count.error_adjoint(e, g, response))


def test_the_sum_has_the_same_bits_each_time() -> None:
    """The emulator runs blocks in three orders; which of them ends last differs, and E does not."""
    s = np.random.default_rng(2).random((40, 7, 33)) < 0.2
    labels = ClassCounts(np.arange(7), 12.0, 3.0)
    values = [gpu.spike_count.error(x, labels, (3, 30), cs.SRM().filter, 1.0, False) for x in (s, s, packed(s))]
    assert len({(value.tobytes(), e.tobytes()) for value, e in values}) == 1


@pytest.mark.parametrize("label", [-1, 3, 1 << 40])
def test_the_label_of_no_class_gives_no_number(label: int) -> None:
    s, region, response = np.zeros((20, 2, 3), bool), (0, 20), cs.SRM().filter
    desired = ClassCounts(np.array([1, label]), 5.0, 1.0)
    for kernels in (cpu, gpu):
        value, e = kernels.spike_count.error(s, desired, region, response, 1.0, False)
        assert np.isnan(value)
        assert (np.isnan(e).all(axis=(0, 2)) == [False, True]).all()


def test_a_gradient_of_packed_spikes() -> None:
    """The operation takes packed spikes from a tensor's data as they are."""
    s = np.random.default_rng(3).random((20, 2, 3)) < 0.3
    loss = cs.SpikeCountLoss(cs.SRM(), true=5, false=1, region=(2, 15))
    t = cs.Tensor(s)
    expected = loss(t, [0, 2]).item()
    t = cs.Tensor(packed(s))
    assert loss(t, [0, 2]).item() == expected
