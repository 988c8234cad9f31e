"""Parallel branches and nested networks: what they compute, their gradients, and errors."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import Tensor, no_grad
from cuslayer.layers import Dense
from cuslayer.network import Parallel, Sequential
from cuslayer.network.graph import INPUT, plan
from cuslayer.network.join import Join, join
from cuslayer.network.walk import Walk
from tests.support.branches import EXACT, FRAMES, NETWORKS, SRM, conv, skip, spikes
from tests.support.refused import refuses


def by_hand(stage, x):
    """Run a network as plain calls, without its graph and its plan."""
    if isinstance(stage, cs.Sequential):
        for each in stage.layers:
            x = by_hand(each, x)
        return x
    if isinstance(stage, cs.Parallel):
        found = [by_hand(branch, x) for branch in stage.branches]
        if stage.join == "add":
            total = found[0] * 1.0
            for y in found[1:]:
                total = total + y
            return total
        arrays = [y.data for y in found]
        return join(*found, how="concatenate") if len(arrays) > 1 else found[0]
    return stage(x)


def run(net, x, call):
    for p in net.parameters():
        p.grad = None
    given = cs.Tensor(x, requires_grad=True)
    y = call(given)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(y.data.dtype if y.dtype != bool else np.float32)
    (y * cs.Tensor(weights)).sum().backward()
    return [y.data, given.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("neuron", [SRM, pytest.param(EXACT, marks=pytest.mark.all)], ids=["slayer", "exact"])
def test_a_network_computes_what_its_stages_do(name, neuron):
    """Fused passes inside branches and nested networks give the bits of the single stages."""
    cs.seed(2)
    net, x = NETWORKS[name](neuron), spikes(*FRAMES)
    found, expected = run(net, x, net), run(net, x, lambda x: by_hand(net, x))
    assert found[0].any()
    assert all(abs(g).max() > 1e-3 for g in expected[1:])
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        if b.dtype == bool or a is found[0]:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5 * abs(b).max())
    with cs.no_grad():
        np.testing.assert_array_equal(net(x).data, found[0])


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("skip", [2, 2, 1, 2, 2]),
        ("kernels_of_two_sizes", [2, 4, 1, 2]),
        ("nested", [2, 1, 1, 1, 1, 1, 1, 2, 2]),
        ("shared", [2, 2, 1, 2, 1, 1, 1]),
        ("first_and_last", [2, 2, 1, 2, 2, 2, 1]),
    ],
)
def test_the_plan_of_a_graph(name, sizes):
    assert [len(step.stages) for step in plan(NETWORKS[name]().graph)] == sizes


def test_a_pass_ends_where_an_output_is_taken_twice():
    """The skip takes the convolution's weighted input too: it cannot run in one pass with its neurons."""
    layer = conv(2, 2)
    net = cs.Sequential(layer, cs.Parallel(cs.Sequential(SRM, conv(2, 2)), cs.Sequential()))
    assert [len(step.stages) for step in plan(net.graph)] == [1, 1, 1, 1]
    x = spikes(*FRAMES)
    weighted = layer(x)
    np.testing.assert_array_equal(net(x).data, (net[1][0][1](SRM(weighted)) + weighted).data)


def test_adding_spikes_counts_them_and_concatenating_keeps_them():
    """The documented types: numbers for a sum, also of one branch; booleans for spikes side by side."""
    x = spikes(3)
    for branches in (1, 2, 3):
        added = cs.Parallel(*[cs.Sequential()] * branches)(x)
        assert added.dtype == np.float32
        np.testing.assert_array_equal(added.data, branches * x.astype(np.float32))
        beside = cs.Parallel(*[cs.Sequential()] * branches, join="concatenate")(x)
        assert beside.dtype == bool
        np.testing.assert_array_equal(beside.data, np.concatenate([x] * branches, axis=-1))
    mixed = cs.Parallel(cs.Sequential(), cs.Dense(3, 2), join="concatenate")(x)
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed.data[..., :3], x)


def test_where_the_images_of_each_branch_begin():
    assert Join("concatenate").offsets([(4, 5, 2), (4, 5, 3), (4, 5, 1)]) == [0, 2, 5]


@pytest.mark.parametrize("how", ["add", "concatenate"])
@pytest.mark.parametrize("shape", [(4, 2, 3), (0, 2, 3), (1, 1, 1), (3, 0, 2), (2, 2, 0), (3, 1, 2, 1, 4)])
def test_the_gradient_of_a_join(how, shape):
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape) for _ in range(3)]
    if how == "concatenate":
        arrays[1] = rng.standard_normal((*shape[:-1], 2))
    assert cs.gradcheck(lambda *xs: join(*xs, how=how), *arrays) < 1e-6
    y = join(*arrays, how=how).data
    g = rng.standard_normal(y.shape)
    leaves = [cs.Tensor(x, requires_grad=True) for x in arrays]
    join(*leaves, how=how).backward(g)
    assert np.vdot(g, y) == pytest.approx(sum(np.vdot(leaf.grad, leaf.data) for leaf in leaves))


def test_gradients_of_a_sum_share_no_memory():
    leaves = [cs.Tensor(np.ones((2, 1, 3)), requires_grad=True) for _ in range(2)]
    join(*leaves, how="add").sum().backward()
    leaves[0].grad[:] = 7.0
    assert (leaves[1].grad == 1.0).all()
    for name, build in NETWORKS.items():
        net = build()
        with cs.no_grad():
            assert net.output_shape(FRAMES) == net(spikes(*FRAMES)).shape[2:], name
    assert skip().output_shape(None) == (4,)
    assert cs.Parallel(cs.Sequential(), conv(2, 3), join="concatenate").output_shape(None) is None
    assert cs.Parallel(cs.Sequential(), cs.Dense(3, 4)).output_shape(None) == (4,)


@pytest.mark.parametrize(
    ("how", "branches", "message"),
    [
        (
            "add",
            (cs.Dense(6, 4), lambda x: x[..., :3]),
            "must have one shape to add, branch 0 has {}4), branch 1 has {}3)",
        ),
        (
            "add",
            (cs.Dense(6, 1), lambda x: x[..., :3]),
            "must have one shape to add, branch 0 has {}1), branch 1 has {}3)",
        ),
        (
            "concatenate",
            (cs.Sequential(), cs.Sequential(), lambda x: x.reshape(5, 2, 2, 3)),
            "may differ in the last axis only to concatenate, branch 0 has {}6), branch 2 has {}2, 3)",
        ),
    ],
)
def test_shapes_that_do_not_fit(how, branches, message):
    net = cs.Sequential(cs.Parallel(*branches, join=how))
    with pytest.raises(ValueError) as error:
        net(spikes(6, steps=5))
    assert str(error.value) == "Parallel: branches " + message.format("(5, 2, ", "(5, 2, ")
    if how == "add":
        with pytest.raises(
            ValueError, match=r"^Parallel: branches must have one shape to add, branch 0 has \(\.\.\., \d\), b"
        ):
            cs.Parallel(branches[0], cs.Dense(6, 3))


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (ValueError, "Parallel: branches must be at least one, got none", lambda: cs.Parallel()),
        (TypeError, "Parallel: branch 1 must be callable, got int", lambda: cs.Parallel(SRM, 3)),
        (
            ValueError,
            "Parallel: join must be one of add, concatenate, and, iand, got 'addd'; did you mean add?",
            lambda: cs.Parallel(SRM, join="addd"),
        ),
        (ValueError, "Parallel: neurons must have one dt, got 0.5 and 1", lambda: cs.Parallel(SRM, cs.SRM(dt=0.5))),
        (
            ValueError,
            "Sequential: neurons must have one dt, got 0.5 and 1",
            lambda: cs.Sequential(cs.SRM(dt=0.5), cs.Parallel(SRM)),
        ),
        (IndexError, "Parallel: no branch 2 in 1", lambda: cs.Parallel(SRM)[2]),
        (ValueError, "network: x must be (T, N, ...), got shape (3,)", lambda: cs.Parallel(SRM)(np.ones(3))),
    ],
)
def test_what_is_refused(kind, message, make):
    with pytest.raises(kind) as error:
        make()
    assert str(error.value) == message


def test_a_network_that_is_nested_in_itself():
    net = cs.Sequential(SRM)
    net.layers.append(net)
    with refuses("network: networks must be nested up to 50 deep"):
        net(spikes(3))


# The walk through a network


@pytest.fixture
def net():
    branches = Parallel(Sequential(Dense(4, 3), SRM), Sequential(), join="concatenate")
    return Sequential(Dense(5, 4), SRM, branches, Dense(7, 2), SRM)


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
