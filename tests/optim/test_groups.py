"""Groups of parameters, rates that are set, frozen parameters, and what an optimizer refuses."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.training import load_checkpoint
from cuslayer.training.checkpoint import Checkpoint

MAKE = {
    "SGD": lambda p, **o: cs.SGD(p, momentum=0.9, **o),
    "Adam": cs.Adam,
    "AMSGrad": lambda p, **o: cs.Adam(p, amsgrad=True, **o),
    "NAdam": cs.NAdam,
    "Nadam of SLAYER": lambda p, **o: cs.NAdam(p, momentum_decay=None, **o),
}


def parameter(*values):
    return cs.Tensor(np.array(values or (3.0, -2.0)), requires_grad=True)


def move(optimizer, steps=1, seed=0):
    """Take steps along gradients that are drawn, for all parameters that are not frozen."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in optimizer.parameters:
            drawn = rng.normal(1.0, 0.3, p.shape)
            p.grad = drawn if p.requires_grad else p.grad
        optimizer.step()


@pytest.fixture(params=MAKE)
def make(request):
    return MAKE[request.param]


def test_groups_are_two_optimizers(make):
    """An optimizer of groups takes the steps that one optimizer for each group takes."""
    a, b, c, d = (parameter() for _ in range(4))
    both = make([{"params": [a], "lr": 0.3}, {"params": iter([b]), "weight_decay": 0.1}], lr=0.01)
    apart = [make([c], lr=0.3), make([d], lr=0.01, weight_decay=0.1)]
    assert [group.lr for group in both.groups] == [0.3, 0.01]
    assert both.parameters == [a, b]
    for seed in range(5):
        g = np.random.default_rng(seed).standard_normal(2)
        for p in (a, b, c, d):
            p.grad = g.copy()
        for optimizer in (both, *apart):
            optimizer.step()
    assert (a.data == c.data).all()
    assert (b.data == d.data).all()
    assert not (a.data == b.data).any()


def test_options_of_groups():
    a, b, c = (parameter() for _ in range(3))
    groups = [{"params": a, "betas": (0.5, 0.9), "eps": 0.1}, {"params": [b], "amsgrad": True}, {"params": [c]}]
    optimizer = cs.Adam(groups, lr=0.1)
    assert ["peak" in memory for memory in optimizer.memory] == [False, True, False]
    alone = [cs.Adam([p], 0.1, **o) for p, o in ((parameter(), {"betas": (0.5, 0.9), "eps": 0.1}), (parameter(), {}))]
    for optimizer_ in (optimizer, *alone):
        for p in optimizer_.parameters:
            p.grad = np.array([0.5, 2.0])
        optimizer_.step()
    assert (a.data == alone[0].parameters[0].data).all()
    assert (c.data == alone[1].parameters[0].data).all()
    slayers = cs.NAdam([{"params": [parameter()], "momentum_decay": None}, {"params": [parameter()]}])
    move(slayers)
    assert not (slayers.parameters[0].data == slayers.parameters[1].data).all()


def test_each_group_of_nadam_has_a_momentum_of_its_own():
    """Groups that share only b1 or only momentum_decay take the steps that an optimizer for each takes, bit for bit."""
    options = [
        {"betas": (0.9, 0.999), "momentum_decay": 0.004},
        {"betas": (0.9, 0.99), "momentum_decay": 0.5},
        {"betas": (0.6, 0.99), "momentum_decay": 0.5},
    ]
    apart = [cs.NAdam([parameter()], 0.1, **o) for o in options]
    together = cs.NAdam([{"params": [parameter()], **o} for o in options], 0.1)
    for _ in range(6):
        for optimizer in (together, *apart):
            for p in optimizer.parameters:
                p.grad = np.sin(5 * p.data)
            optimizer.step()
        paths = [p.data.tolist() for p in together.parameters]
        assert paths == [optimizer.parameters[0].data.tolist() for optimizer in apart]
    assert len({tuple(path) for path in paths}) == 3


def test_the_rate_can_be_set(make):
    first, second = parameter(), parameter()
    set_later, from_start = make([first], lr=0.5), make([second], lr=0.125)
    set_later.lr = 0.125
    assert set_later.lr == 0.125
    for optimizer in (set_later, from_start):
        move(optimizer, 3)
    assert (first.data == second.data).all()
    set_later.lr = cs.step_decay(0.5, every=1, factor=0.5)
    set_later.epoch = 2
    assert set_later.lr == 0.125
    set_later.lr *= 2
    assert set_later.lr == 0.25


def test_the_rate_of_a_group_can_be_set():
    optimizer = cs.SGD([{"params": [parameter()], "lr": 0.5}, {"params": [parameter()]}], lr=0.1)
    optimizer.lr = 0.25  # of the groups that have no rate of their own
    assert [group.lr for group in optimizer.groups] == [0.5, 0.25]
    optimizer.groups[1].lr, optimizer.groups[0].lr = 0.75, lambda epoch: 1 / (1 + epoch)
    optimizer.epoch = 1
    assert [group.lr for group in optimizer.groups] == [0.5, 0.75]
    move(cs.SGD([p := parameter(1.0)], lr=0.25))
    assert p.item() < 1


def test_a_rate_that_was_set_is_part_of_the_state(make):
    def made():
        return make([{"params": [parameter()]}, {"params": [parameter()], "lr": 0.5}], lr=0.1)

    optimizer = made()
    assert not any(name.endswith("lr") for name in optimizer.state())
    optimizer.lr, optimizer.groups[1].lr = 0.25, 0.125
    move(optimizer, 3)
    other = made()
    other.load_state(optimizer.state())
    assert [group.lr for group in other.groups] == [0.25, 0.125]
    move(optimizer, 2, seed=1)
    for p, q in zip(other.parameters, optimizer.parameters, strict=True):
        p.data = q.data.copy()
    for one, two in zip(optimizer.memory, made().memory, strict=True):
        assert one.keys() == two.keys()
    # A schedule is a function: it is not part of the state, and that of the loading optimizer stays.
    optimizer.lr = lambda epoch: 1.0
    other.lr = 0.75
    state = optimizer.state()
    assert "lr" not in state
    other.load_state(state)
    assert [group.lr for group in other.groups] == [0.75, 0.125]


def test_groups_go_on_through_a_checkpoint(make, tmp_path):
    def made():
        cs.seed(1)
        net = cs.Sequential(cs.Dense(6, 4), cs.SRM(), cs.Dense(4, 3), cs.SRM())
        first, last = (net[i].parameters() for i in (0, 2))
        return net, make([{"params": first, "lr": 0.001}, {"params": last}], lr=0.01)

    net, optimizer = made()
    optimizer.lr = 0.5
    net[0].weight.requires_grad = False
    move(optimizer, 3)
    net[0].weight.requires_grad = True
    move(optimizer, 2)
    Checkpoint.of(1, net, optimizer).save(tmp_path / "it.npz")
    other, resumed = made()
    load_checkpoint(tmp_path / "it.npz").restore(other, resumed)
    move(optimizer, 4, seed=2)
    move(resumed, 4, seed=2)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert (p.data == q.data).all()
    assert resumed.lr == 0.5


def test_a_frozen_parameter_does_not_move(make):
    frozen, free = parameter(), parameter()
    optimizer = make([frozen, free], lr=0.1, weight_decay=0.5)
    move(optimizer, 3)  # momentum is there
    frozen.requires_grad = False
    before, stale = frozen.data.copy(), frozen.grad
    move(optimizer, 3)
    assert stale is frozen.grad  # a gradient of before does not move it either
    assert (frozen.data == before).all()
    optimizer.zero_grad()
    assert frozen.grad is None


def test_an_unfrozen_parameter_takes_its_first_step(make):
    """It moves as if training began with it: the means have seen one gradient, whatever the others have seen."""
    late, free, fresh = parameter(), parameter(), parameter()
    late.requires_grad = False
    optimizer, alone = make([late, free], lr=0.1), make([fresh], lr=0.1)
    move(optimizer, 20)
    assert (late.data == [3.0, -2.0]).all()
    late.requires_grad = True
    for p in (late, free, fresh):
        p.grad = np.array([0.5, -1.0])
    optimizer.step()
    alone.step()
    np.testing.assert_array_equal(late.data, fresh.data)
    # Nor does a state that was saved in between change that.
    state = optimizer.state()
    assert (state["0.steps"], state["steps"]) == (1, 21)


def test_what_is_not_a_list_of_tensors():
    net, w = cs.Network("4-3", cs.SRM()), parameter()
    for given, message in (
        (net, r"must be tensors, got a network; pass net\.parameters"),
        ([w, net[0]], r"must be tensors, got a layer; pass layer\.parameters"),
        (w, r"must be a list of tensors, got a Tensor; pass \[tensor\]$"),
        ({"params": [w]}, r"must be a list of groups, got dict; pass \[group\]$"),
        (3, "must be tensors, got int$"),
        (net.parameters, r"must be tensors, got a function; call it, as in net\.parameters\(\)$"),
        ("weights", "must be tensors, got str$"),
        ([w, None], "must be tensors, got NoneType$"),
        ([w, {"params": [w]}], "must be all tensors or all groups, got both$"),
    ):
        with pytest.raises(TypeError, match=f"^Adam: parameters {message}"):
            cs.Adam(given)


def test_parameters_that_cannot_be_trained():
    w, v = parameter(), cs.Tensor([1.0])
    with pytest.raises(ValueError, match=r"^Adam: a parameter must have requires_grad=True, all 2 are frozen$"):
        cs.Adam([v, cs.Tensor([2.0])])
    with pytest.raises(ValueError, match=r"^Adam: parameter 2 is parameter 0 again$"):
        cs.Adam([w, v, w])
    with pytest.raises(ValueError, match=r"^SGD: parameter 1 is parameter 0 again$"):
        cs.SGD([{"params": [w]}, {"params": [w]}])
    with pytest.raises(ValueError, match=r"^Adam: parameters must be leaf tensors, got the result of an operation$"):
        cs.Adam([w * 2])
    optimizer = cs.Adam([w])
    w.requires_grad = False
    with pytest.raises(ValueError, match=r"^Adam: a parameter must have requires_grad=True, all 1 are frozen$"):
        optimizer.step()
    assert optimizer.steps == 0


@pytest.mark.parametrize(
    ("group", "kind", "message"),
    [
        ({"params": []}, ValueError, "group 0's params must be at least one, got none"),
        ({"lr": 0.1}, ValueError, "group 0's params are missing"),
        ({"param": [parameter()]}, ValueError, "group 0's option 'param' is unknown; did you mean params"),
        ({"params": [1.0]}, TypeError, "group 0's params must be tensors, got float"),
        ({"params": cs.Dense(2, 1)}, TypeError, "group 0's params must be tensors, got a layer; pass layer.param"),
        ({"params": parameter(), "lr": -1}, ValueError, "group 0's lr must not be negative, got -1"),
        ({"params": parameter(), "weight_decay": -1}, ValueError, "group 0's weight_decay must not be negative"),
        ({"params": parameter(), "betas": (0.5, 1)}, ValueError, r"group 0's betas\[1\] must lie in \[0, 1\), got 1"),
        ({"params": parameter(), "momentum": 0.5}, ValueError, "group 0's option 'momentum' is unknown"),
    ],
)
def test_bad_groups(group, kind, message):
    with pytest.raises(kind, match=f"^Adam: {message}"):
        cs.Adam([group])


def test_bad_rates():
    optimizer = cs.Adam([{"params": [parameter()]}], lr=0.5)
    with pytest.raises(ValueError, match="Adam: lr must not be negative, got -1"):
        optimizer.lr = -1.0
    with pytest.raises(TypeError, match="Adam: lr must be a number, got str"):
        optimizer.lr = "0.1"
    with pytest.raises(ValueError, match="Adam: group 0's lr must be finite, got inf"):
        optimizer.groups[0].lr = np.inf
    assert (optimizer.lr, optimizer.groups[0].lr) == (0.5, 0.5)
    optimizer.groups[0].lr, optimizer.parameters[0].grad = (lambda epoch: -0.5), np.ones(2)
    with pytest.raises(ValueError, match=r"Adam: group 0's lr must not be negative, got -0\.5"):
        optimizer.step()
    with pytest.raises(ValueError, match=r"load_state: optimizer's group\.1\.lr is unknown"):
        optimizer.load_state(optimizer.state() | {"group.1.lr": np.array(0.1)})
    with pytest.raises(ValueError, match=r"load_state: optimizer's lr has shape \(2,\)"):
        optimizer.load_state(optimizer.state() | {"lr": np.ones(2)})
