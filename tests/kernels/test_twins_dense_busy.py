"""The gradient of a dense layer's weight where many bits are set: groups of inputs that are multiplied, not walked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuslayer.kernels import gpu
from tests.kernels.test_twins import Array, dtypes, normal, seeds
from tests.kernels.test_twins_conv import emulator as emulator
from tests.kernels.test_twins_dense import held
from tests.support.packed_bits import packed_on_host
from tools.emulator.driver import Emulator

# The inputs of a group, which is busy if more than a third of its bits are set, those behind the last step too.
GROUP = 4


def both(x: Array, g: Array) -> None:
    held(gpu.dense.weight_adjoint(packed_on_host(x), g), x, g)


@settings(max_examples=25, deadline=None)
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
def test_groups_of_any_activity(
    steps: int, samples: int, inputs: int, outputs: int, rates: list[float], dtype: str, seed: int
) -> None:
    """A launch has groups of both kinds; a busy one has silent inputs too."""
    rng = np.random.default_rng(seed)
    of_groups = np.array(rates)[np.arange(inputs) // GROUP]
    x = rng.random((steps, samples, inputs)) < of_groups
    x[..., rng.random(inputs) < 0.2] = False
    both(x, normal(seed, (steps * samples, outputs), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0, 0.01, 0.1, 0.5, 1])
def test_activities(rate: float, dtype: str) -> None:
    x = np.random.default_rng(0).random((50, 3, 11)) < rate
    both(x, normal(1, (150, 37), dtype))


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_a_group_is_multiplied_above_a_third(inputs: int) -> None:
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


def test_the_order_of_sums_does_not_depend_on_other_groups(emulator: Emulator) -> None:
    rng = np.random.default_rng(2)
    x, g = rng.random((70, 2, 12)) < 0.6, normal(3, (140, 70), "float32")
    whole = gpu.dense.weight_adjoint(packed_on_host(x), g)
    x[..., 4:8] &= rng.random((70, 2, 4)) < 0.01
    part = gpu.dense.weight_adjoint(packed_on_host(x), g)
    assert whole[:4].tobytes() == part[:4].tobytes()
    assert whole[8:].tobytes() == part[8:].tobytes()
    assert (whole[4:8] != part[4:8]).any()
