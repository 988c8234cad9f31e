"""The walk through a network: what it visits, in which order, what it runs, and what it frees."""

import numpy as np
import pytest

from cuslayer.layers import Dense
from cuslayer.network import Parallel, Sequential
from cuslayer.network.graph import INPUT
from cuslayer.network.walk import Walk
from cuslayer.neurons import SRM
from cuslayer.tape import Tensor, no_grad


@pytest.fixture
def net():
    branches = Parallel(Sequential(Dense(4, 3), SRM()), Sequential(), join="concatenate")
    return Sequential(Dense(5, 4), SRM(), branches, Dense(7, 2), SRM())


@pytest.fixture
def x():
    return Tensor(np.random.default_rng(0).random((30, 2, 5)) < 0.3)


def test_an_output_that_the_loop_sets_is_what_later_stages_get(net, x):
    silent = np.zeros((30, 2, 4), bool)
    steps = Walk(net, x)
    with no_grad():
        for at in steps:
            if at.address == 1:
                at.output = Tensor(silent)
            if at.address == 2:
                assert not at.inputs[1].data.any()
        rest = Walk(net, {1: Tensor(silent)}, steps.nodes[2:]).run()
    assert not steps.output.data.any()
    np.testing.assert_array_equal(rest.data, steps.output.data)


def test_a_stage_runs_once_and_values_are_freed_after_their_last_use(net, x):
    runs = []
    net = Sequential(lambda x: runs.append("first") or x, Dense(5, 2))
    steps = Walk(net, x)
    for at in steps:
        assert at.output is at.output
        assert set(steps._values) <= {at.number - 1}
    assert runs == ["first"]
    assert set(steps._values) == {1}
    empty = Walk(Sequential(), {INPUT: x})
    assert empty.run() is x
