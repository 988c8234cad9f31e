"""Groups of parameters; rates, relative and warmed up; frozen parameters; clipping; what an optimizer refuses."""

import math

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._parameter import Bounded
from cuslayer.kernels import cpu
from cuslayer.training import load_checkpoint
from cuslayer.training.checkpoint import Checkpoint
from tests.support.refused import raises, refused, refuses

MAKE = {
    "SGD": lambda p, **o: cs.SGD(p, momentum=0.9, **o),
    "Adam": cs.Adam,
    "AMSGrad": lambda p, **o: cs.Adam(p, amsgrad=True, **o),
    "NAdam": cs.optim.NAdam,
    "Nadam of SLAYER": lambda p, **o: cs.optim.NAdam(p, momentum_decay=None, **o),
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


# Options of groups: those of all optimizers, and those of some.
OPTIONS = [{}, {"lr": 0.3}, {"weight_decay": 0.1}, {"relative": True, "warmup": 0}, {"warmup": 3}]
BETAS = [{"betas": (0.5, 0.9)}, {"eps": 0.1}, {"amsgrad": True}]
MOMENTUM = [
    *({"momentum_decay": None}, {"betas": (0.9, 0.99), "momentum_decay": 0.5}),
    *({"betas": (0.6, 0.99), "momentum_decay": 0.5}, {"momentum_decay": 0.9}),
]
OWN = {"SGD": [{"momentum": 0.5}], "Adam": BETAS, "AMSGrad": BETAS, "NAdam": [*BETAS, *MOMENTUM]}


@pytest.mark.parametrize("kind", OWN)
def test_groups_are_optimizers_of_their_own(kind):
    """An optimizer of groups takes the steps that one optimizer for each group takes, bit for bit."""
    options = [*OPTIONS, *OWN[kind]]
    make = {**MAKE, "SGD": cs.SGD, "AMSGrad": cs.Adam}[kind]
    usual = {"lr": 0.1, "warmup": 2} | {"SGD": {"momentum": 0.9}, "AMSGrad": {"amsgrad": True}}.get(kind, {})
    apart = [make([parameter()], **usual | o) for o in options]
    together = make([{"params": iter([parameter()]), **o} for o in options], **usual)
    assert [group.lr for group in together.groups] == [optimizer.lr for optimizer in apart]
    assert [memory.keys() for memory in together.memory] == [optimizer.memory[0].keys() for optimizer in apart]
    for _ in range(6):
        for optimizer in (together, *apart):
            for p in optimizer.parameters:
                p.grad = np.sin(5 * p.data)
            optimizer.step()
        paths = [p.data.tolist() for p in together.parameters]
        assert paths == [optimizer.parameters[0].data.tolist() for optimizer in apart]
    # The largest of squares that grow is the last one, so that amsgrad changes nothing here but the memory.
    assert len({tuple(path) for path in paths}) >= len(paths) - (kind != "SGD")


def test_the_rate_can_be_set(make):
    first, second = parameter(), parameter()
    set_later, from_start = make([first], lr=0.5), make([second], lr=0.125)
    set_later.lr = 0.125
    assert set_later.lr == 0.125
    for optimizer in (set_later, from_start):
        move(optimizer, 3)
    assert (first.data == second.data).all()
    set_later.lr = cs.optim.step_decay(0.5, every=1, factor=0.5)
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


@pytest.mark.parametrize("options", [{}, {"relative": True, "warmup": 4}])
def test_an_unfrozen_parameter_takes_its_first_step(make, options):
    """It moves as if training began with it: the means have seen one gradient, whatever the others have seen."""
    late, free, fresh = parameter(), parameter(), parameter()
    late.requires_grad = False
    optimizer, alone = make([late, free], lr=0.1, **options), make([fresh], lr=0.1, **options)
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
        ([w, {"params": [w]}], "must be all tensors or all groups, got both$"),
    ):
        with pytest.raises(TypeError, match=f"^Adam: parameters {message}"):
            cs.Adam(given)


def test_parameters_that_cannot_be_trained():
    w, v = parameter(), cs.Tensor([1.0])
    with refuses("Adam: a parameter must have requires_grad=True, all 2 are frozen"):
        cs.Adam([v, cs.Tensor([2.0])])
    refused("Adam: parameter 2 is parameter 0 again", lambda: cs.Adam([w, v, w]))
    refused("SGD: parameter 1 is parameter 0 again", lambda: cs.SGD([{"params": [w]}, {"params": [w]}]))
    refused("Adam: parameters must be leaf tensors", lambda: cs.Adam([w * 2]))
    optimizer = cs.Adam([w])
    w.requires_grad = False
    refused("Adam: a parameter must have requires_grad=True, all 1 are frozen", lambda: optimizer.step())
    assert optimizer.steps == 0


@pytest.mark.parametrize(
    ("group", "kind", "message"),
    [
        ({"params": []}, ValueError, "group 0's params must be at least one, got none"),
        ({"lr": 0.1}, ValueError, "group 0's params are missing"),
        ({"param": [parameter()]}, ValueError, "group 0's option 'param' is unknown; did you mean params"),
        ({"params": cs.Dense(2, 1)}, TypeError, "group 0's params must be tensors, got a layer; pass layer.param"),
        ({"params": parameter(), "lr": -1}, ValueError, "group 0's lr must not be negative, got -1"),
        ({"params": parameter(), "betas": (0.5, 1)}, ValueError, r"group 0's betas\[1\] must lie in \[0, 1\), got 1"),
        ({"params": parameter(), "momentum": 0.5}, ValueError, "group 0's option 'momentum' is unknown"),
    ],
)
def test_bad_groups(group, kind, message):
    raises(f"^Adam: {message}", lambda: cs.Adam([group]), kind)


def test_bad_rates():
    optimizer = cs.Adam([{"params": [parameter()]}], lr=0.5)
    with refuses("Adam: lr must not be negative"):
        optimizer.lr = -1.0
    with refuses("Adam: lr must be a number"):
        optimizer.lr = "0.1"
    with pytest.raises(ValueError, match="Adam: group 0's lr must be finite, got inf"):
        optimizer.groups[0].lr = np.inf
    assert (optimizer.lr, optimizer.groups[0].lr) == (0.5, 0.5)
    optimizer.groups[0].lr, optimizer.parameters[0].grad = (lambda epoch: -0.5), np.ones(2)
    refused("Adam: group 0's lr must not be negative", lambda: optimizer.step())
    with refuses("load_state: optimizer's group.1.lr is unknown"):
        optimizer.load_state(optimizer.state() | {"group.1.lr": np.array(0.1)})
    with refuses("load_state: optimizer's lr has shape (2,), the parameter's has shape ()"):
        optimizer.load_state(optimizer.state() | {"lr": np.ones(2)})


def sized(*values):
    return cs.Tensor(np.array(values or (3.0, -4.0)), requires_grad=True)


def test_a_relative_rate_is_the_rate_times_the_first_size(make):
    a, b = sized(), sized()
    relative, plain = make([a], lr=0.1, relative=True), make([b], lr=0.1 * np.sqrt(12.5))
    for seed in range(6):
        move(relative, seed=seed)
        move(plain, seed=seed)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


def test_warm_up_is_a_schedule_of_steps(make):
    a, b = sized(), sized()
    warm, plain = make([a], lr=0.1, warmup=4), make([b], lr=0.1)
    for step in range(1, 8):
        plain.lr = 0.1 * min(step / 4, 1.0)
        assert (warm.lr, warm.groups[0].lr, warm.base_lr) == (pytest.approx(plain.lr), warm.lr, 0.1)
        move(warm, seed=step)
        move(plain, seed=step)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)
    assert warm.lr == 0.1


def test_a_schedule_by_step(make):
    a, b = sized(), sized()
    falling, plain = make([{"params": [a], "lr": cs.optim.cosine_decay(0.1, steps=4)}]), make([b], lr=0.1)
    for step in range(6):
        plain.lr = 0.05 * (1 + math.cos(math.pi * min(step / 4, 1.0)))
        assert falling.groups[0].lr == pytest.approx(plain.lr)
        move(falling, seed=step)
        move(plain, seed=step)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)
    again = make([sized()], lr=cs.optim.ByStep(lambda step: 1.0 / (1 + step)))
    again.load_state(falling.state())
    assert again.lr == 1 / 7


def test_the_size_of_a_parameter(make):
    for shape in ((2,), (0,), (1,), ()):
        a, b = (cs.Tensor(np.zeros(shape), requires_grad=True) for _ in range(2))
        one, other = make([a], lr=0.1, relative=True), make([b], lr=0.1)
        move(one, 3)
        move(other, 3)
        assert (a.data == b.data).all()
        assert np.isfinite(a.data).all()
    # Not that at the time when the optimizer is made: calibration may come between.
    a = sized()
    optimizer = cs.SGD([a], 0.1, relative=True)
    a.data *= 10.0
    a.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_allclose(a.data, np.array([30.0, -40.0]) - 0.1 * 10 * np.sqrt(12.5), rtol=1e-12)


@pytest.mark.parametrize("steps", [0, 2, 5])
def test_a_loaded_state_continues_to_the_bit(make, steps):
    a, b = sized(), sized(1.0, 2.0, 3.0)
    options = {"lr": 0.1, "relative": True, "warmup": 4}
    whole = make([a, b], **options)
    move(whole, steps)
    state = whole.state()
    assert [name for name in state if name.endswith(".size")] == (["0.size", "1.size"] if steps else [])
    c, d = sized(*a.data), sized(*b.data)
    again = make([c, d], **options)
    again.load_state(state)
    assert {name: x.tobytes() for name, x in again.state().items()} == {n: x.tobytes() for n, x in state.items()}
    move(whole, 4, seed=7)
    move(again, 4, seed=7)
    assert (a.data == c.data).all()
    assert (b.data == d.data).all()


def test_a_state_with_a_wrong_size():
    optimizer = cs.Adam([sized()], relative=True)
    move(optimizer)
    with refuses("load_state: optimizer's 0.size has shape (2,), the parameter's has shape ()"):
        optimizer.load_state(optimizer.state() | {"0.size": np.ones(2)})
    with refuses("load_state: optimizer's 1.size is unknown"):
        optimizer.load_state(optimizer.state() | {"1.size": np.array(1.0)})


# Clipping of gradients: by value, then by the norm of all of them


CLIPPING = {"SGD": cs.SGD, "Adam": cs.Adam, "NAdam": cs.optim.NAdam}


def with_gradients(*values):
    found = [cs.Tensor(np.zeros(len(g)), requires_grad=True) for g in values]
    for p, g in zip(found, values, strict=True):
        p.grad = np.array(g)
    return found


def moves(values, **options):
    given = with_gradients(*values)
    cs.SGD(given, lr=1.0, **options).step()
    return [(-p.data).tolist() for p in given]


def test_by_norm_by_value_and_by_both():
    values = [[3.0, 0.0], [0.0, -4.0]]
    assert moves(values) == values
    assert moves(values, clip_norm=5.0) == values
    assert np.allclose(moves(values, clip_norm=1.0), [[0.6, 0.0], [0.0, -0.8]])
    assert moves(values, clip_value=3.5) == [[3.0, 0.0], [0.0, -3.5]]
    # By value first: of 3 and 3, the norm is 3 sqrt(2).
    assert np.allclose(moves(values, clip_value=3.0, clip_norm=1.0), [[math.sqrt(0.5), 0.0], [0.0, -math.sqrt(0.5)]])


@pytest.mark.parametrize("name", CLIPPING)
def test_every_optimizer_moves_by_the_clipped_gradient(name):
    clipped, plain = with_gradients([3.0], [-4.0]), with_gradients([0.6], [-0.8])
    optimizer = CLIPPING[name](clipped, lr=0.1, clip_norm=1.0)
    optimizer.step()
    CLIPPING[name](plain, lr=0.1).step()
    for ours, theirs in zip(clipped, plain, strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12)
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-12)
    assert (optimizer.clip_norm, optimizer.clip_value) == (1.0, None)


def test_frozen_parameters_and_those_without_a_gradient_do_not_count():
    given = with_gradients([3.0], [4.0], [100.0], [7.0])
    given[2].requires_grad, given[3].grad = False, None
    cs.SGD(given, lr=1.0, clip_norm=1.0).step()
    assert np.allclose([p.data[0] for p in given], [-0.6, -0.8, 0.0, 0.0])
    assert given[2].grad.tolist() == [100.0]
    p, g = Bounded(np.zeros(2), least=-0.5, most=0.5), np.array([30.0, 40.0])
    p.grad = g
    cs.SGD([p], lr=1.0, clip_norm=1.0).step()
    assert p.data.tolist() == [-0.5, -0.5]
    assert g.tolist() == [30.0, 40.0]


def test_the_norm_does_not_depend_on_the_number_of_cores():
    g = [np.random.default_rng(1).standard_normal(100_003).astype(np.float32)]
    found = set()
    for count in (1, 2, 3):
        cs.threads(count)
        found.add(cpu.optim.clip_norm(g, 1.0)[0].tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_a_group_has_no_limit_of_its_own(name):
    refused(
        f"SGD: group 0's option '{name}' is unknown",
        lambda: cs.SGD([{"params": with_gradients([1.0]), name: 1.0}]),
    )
