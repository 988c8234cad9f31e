"""The sums of an epoch: emulated CUDA against the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from tests.kernels.test_twins import Array, dtypes, seeds
from tests.kernels.test_twins_conv import emulator as emulator
from tests.kernels.test_twins_spike_count import packed
from tools.emulator.driver import Emulator


def totals_of(kernels: Any, s: Any, *arguments: Any) -> list[float]:
    """Return the totals after a batch, from others than zero."""
    totals = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0])
    kernels.score.add(totals, s, *arguments)
    return totals.tolist()


@st.composite
def outputs(draw: st.DrawFn) -> tuple[Array, Array, int]:
    """Return spikes (T, N, classes), many counts of them equal, labels, of which some are no class, and a seed."""
    shape = draw(st.integers(0, 40)), draw(st.integers(0, 20)), draw(st.sampled_from([1, 2, 10, 31, 33, 70]))
    rng = np.random.default_rng(draw(seeds))
    s = rng.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.5]))
    return s, rng.integers(-1, shape[2] + 1, shape[1]), draw(seeds)


@settings(max_examples=30, deadline=None)
@given(outputs(), st.sampled_from(["bool", "packed", "float32", "float64"]), dtypes, st.booleans(), st.booleans())
def test_score_add(drawn: Any, form: str, dtype: str, by_class: bool, as_number: bool) -> None:
    s, labels, seed = drawn
    # Quarters, as a mean of four neurons has: their sums are exact in any order.
    x = s if form in ("bool", "packed") else (s * np.random.default_rng(seed).integers(-4, 9, s.shape) / 4).astype(form)
    error: Any = 0.1 if as_number else np.array(0.1, dtype if x.dtype == bool else x.dtype)
    arguments = labels if by_class else None, error, 3.0
    assert totals_of(gpu, packed(s) if form == "packed" else x, *arguments) == totals_of(cpu, x, *arguments)


@pytest.mark.parametrize("form", ["bool", "packed", "numbers"])
def test_the_lowest_of_equal_classes_wins(form: str) -> None:
    """Far apart: in one lane, in two lanes, in lanes that are added in another order."""
    for first, last in ((0, 1), (0, 32), (1, 34), (31, 32), (5, 69)):
        s = np.zeros((20, 2, 70), bool)
        s[[3, 9], :, first] = s[[4, 19], :, last] = True
        x = {"bool": s, "packed": packed(s), "numbers": s * 1.0}[form]
        assert totals_of(gpu, x, np.array([first, first]), 0.0, 1.0)[1] == 4.0


def test_a_silent_output_is_class_zero_and_noticed() -> None:
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


def test_targets_of_more_axes_have_no_classes() -> None:
    s = np.random.default_rng(0).random((9, 2, 3, 4, 5)) < 0.1
    assert totals_of(gpu, s, None, np.array(2.0), 0.5) == totals_of(cpu, s, None, np.array(2.0), 0.5)


def test_a_loss_that_is_no_number_stays_one() -> None:
    found = totals_of(gpu, np.zeros((3, 1, 1), bool), None, np.array(math.nan, np.float32), 1.0)
    assert math.isnan(found[0])


@pytest.mark.parametrize("form", ["bool", "packed", "float32", "float64"])
def test_the_first_batch_that_is_not_finite_is_noted(form: str) -> None:
    s = np.random.default_rng(0).random((9, 3, 40)) < 0.2
    for kernels in (cpu, gpu):
        totals, x = np.zeros(7), s if form in ("bool", "packed") else s.astype(form)
        given = packed(s) if form == "packed" and kernels is gpu else x
        real = np.dtype("float32" if form in ("bool", "packed") else form).type
        errors: list[Any] = [np.array(1.0, real), np.array(math.inf, real), math.nan, np.array(1.0, real), 1.0]
        for error, noted in zip(errors, ([1, 0, 0], [2, 2, 0], [3, 2, 0], [4, 2, 4], [5, 2, 4]), strict=True):
            if noted[0] == 4 and x.dtype != bool:
                x[7, 2, 39] = math.nan
            kernels.score.add(totals, given, np.zeros(3, np.int64), error, 1.0)
            assert totals[4:].tolist() == (noted if x.dtype != bool else [*noted[:2], 0])


sizes = st.lists(st.sampled_from([None, 0, 1, 255, 257, 4096, 4097, 9000]), min_size=1, max_size=10)


@settings(max_examples=10, deadline=None)
@given(sizes, dtypes, st.booleans(), seeds)
def test_add_squares(shapes: list[Any], dtype: str, mixed: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    types = [rng.choice(["float32", "float64"]) if mixed else dtype for _ in shapes]
    gradients = [None if n is None else rng.standard_normal(n).astype(t) for n, t in zip(shapes, types, strict=True)]
    ours, theirs = (np.full(len(shapes), 0.5) for _ in range(2))
    for _ in range(2):
        gpu.score.add_squares(ours, gradients)
        cpu.score.add_squares(theirs, gradients)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_squares_of_eight_gradients_a_launch(emulator: Emulator) -> None:
    for count, launches in ((1, 1), (8, 1), (9, 2)):
        emulator.launches.clear()
        gpu.score.add_squares(np.zeros(count), [np.ones((2, 3), np.float32)] * count)
        assert emulator.launches == ["add_squares"] * launches
    emulator.launches.clear()
    gpu.score.add_squares(np.zeros(2), [None, None])
    assert emulator.launches == []
