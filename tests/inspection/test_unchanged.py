"""To look at a network changes nothing: weights, gradients, states, the random generator; and what a look refuses."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer._tape import as_tensor
from cuslayer.training import GradientFlow, NotFiniteError, Trainer
from tests.support.refused import refuses

pytestmark = pytest.mark.all

RNG = np.random.default_rng(3)
X = RNG.random((12, 3, 5)) < 0.4
LABELS = np.array([0, 1, 1])


class Own(cs.Layer):
    """A layer of a user with statistics of its own, which draws in every mode, and trains less than it has."""

    def __init__(self) -> None:
        self.mean, self.calls = cs.Tensor(np.zeros(1, np.float32)), 0
        self.gain = cs.Tensor(np.ones(1, np.float32), requires_grad=True)

    def parameters(self) -> list[cs.Tensor]:
        return []

    def __call__(self, x: Any) -> cs.Tensor:
        x = as_tensor(x)
        if self.training:
            self.mean.data += 1.0
            self.calls += 1
        return x * self.gain * float(1 + 0 * backend.generator().random())


def network(neuron: Any = None, recurrent: bool = True) -> cs.Sequential:
    """Return a network in the middle of its training."""
    cs.seed(4)
    own = neuron or cs.LIF(tau=5.0, stateful=True)
    last = (
        cs.Recurrent(cs.Dense(2, 2), cs.CUBA(tau_i=2.0, stateful=True))
        if recurrent
        else neuron or cs.LIF(tau=5.0, stateful=True)
    )
    net = cs.Sequential(
        cs.Dense(5, 6, weight_hook=cs.WeightNorm(), bias=True),
        cs.BatchNorm(6, trained=True, height=2.0),
        own,
        cs.Dropout(0.4),
        cs.Delay((6,), dt=1.0),
        Own(),
        cs.Dense(6, 2, bias=True),
        last,
    )
    net[0].weight.requires_grad = False
    for p in net.parameters():
        p.grad = np.full(p.shape, 0.5, np.float32) if p.requires_grad else None
    net.train()
    net(X)
    assert own.one_pass or own.stateful  # neurons compute it once
    return net


def everything(net: Any, optimizer: Any = None) -> Any:
    """Return all that a step of the training could depend on, as values that can be compared."""
    tensors, numbers = [], []

    def note(value: Any, depth: int = 0) -> None:
        if isinstance(value, cs.Tensor):
            grad = None if value.grad is None else value.grad.tobytes()
            tensors.append((value.data.tobytes(), grad, value.requires_grad))
        elif isinstance(value, np.ndarray):
            numbers.append(value.tobytes())
        elif isinstance(value, (list, tuple)):
            for each in value:
                note(each, depth)
        elif isinstance(value, (bool, int, float)):
            numbers.append(value)
        elif hasattr(value, "__dict__") and depth < 4:
            for name in sorted(vars(value)):
                # A cached property is computed from the rest.
                if not isinstance(vars(type(value)).get(name), cached_property):
                    note(vars(value)[name], depth + 1)

    for node in net.graph.nodes:
        note(node.stage)
    of_optimizer = None if optimizer is None else {n: a.tobytes() for n, a in optimizer.state().items()}
    return tensors, numbers, of_optimizer, str(backend.generator_state())


def srm() -> cs.Sequential:
    return network(cs.SRM(theta=1.0, tau_sr=2.0), recurrent=False)


def hidden() -> cs.Sequential:
    """Return a network with a frozen bias and a tensor that only a function knows."""
    net = network(cs.SRM(theta=1.0, tau_sr=2.0), recurrent=False)
    net[6].bias.requires_grad = False
    net.outside = cs.Tensor(np.full(6, 1.5, np.float32), requires_grad=True)  # type: ignore[attr-defined]
    net.outside.grad = np.ones(6, np.float32)  # type: ignore[attr-defined]
    net.layers[5] = lambda s: s * net.outside  # type: ignore[attr-defined]
    return net


LOOKS: dict[str, tuple[Any, Any]] = {
    "health": (network, lambda net, o: cs.diagnose(net, [(X, LABELS)])),
    "health with an optimizer": (network, lambda net, o: cs.diagnose(net, [(X, LABELS)], optimizer=o)),
    "ops": (network, lambda net, o: cs.inspection.count_operations(net, X)),
    "explain": (srm, lambda net, o: cs.explain(net, X, layer=2, index=1, time=4)),
    "trace": (hidden, lambda net, o: cs.explain(net, X, layer=7, index=1, time=9).trace()),
    "reassignment": (srm, lambda net, o: cs.reassign(net, X, LABELS, layer=2, index=1)),
    "compare_gradients": (hidden, lambda net, o: cs.inspection.compare_gradients(net, X[:, :1], [1], perturbations=1)),
    "gradient flow": (network, lambda net, o: GradientFlow(net).add()),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_changes_nothing(look: str) -> None:
    make, call = LOOKS[look]
    net = make()
    optimizer = cs.Adam([p for p in net.parameters() if p.requires_grad])
    before, gradients = everything(net, optimizer), [p.grad for p in net.parameters()]
    call(net, optimizer)
    assert everything(net, optimizer) == before
    assert all(layer.training for layer in net.layers_within())
    assert all(p.grad is g for p, g in zip(net.parameters(), gradients, strict=True))
    if hasattr(net, "outside"):
        assert net.outside.requires_grad
        assert (net.outside.grad == 1.0).all()


def test_pages_change_nothing(tmp_path: Any) -> None:
    net, x = srm(), X.copy()
    before = everything(net)
    cs.write_report(net, x, tmp_path / "report.html", target=LABELS)
    assert everything(net) == before
    assert (x == X).all()
    net = cs.Sequential(cs.Dense((9, 8, 2), 5), cs.Dropout(0.5), cs.SRM(), cs.Dense(5, 2), cs.SRM())
    before, drawn = net.state(), backend.generator_state()
    cs.write_demo(net, tmp_path / "demo.html")
    assert all((a == before[name]).all() for name, a in net.state().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert (net[1].training, backend.generator_state()) == (True, drawn)


def test_a_record_leaves_the_gradients_of_a_pass_as_they_are() -> None:
    found = []
    for recorded in (False, True):
        net = srm()
        with cs.record(net) if recorded else cs.no_grad(False):
            cs.loss.SpikeMaxLoss(cs.SRM())(net(X), LABELS).backward()
        found.append(everything(net))
    assert found[0] == found[1]


def test_an_explanation_that_fails_changes_nothing() -> None:
    net = cs.Sequential(
        cs.Dense(5, 8, bias=True), cs.layers.Decimate(2), cs.Dense(8, 3, bias=True), cs.SRM(theta=2.0, dt=2.0)
    )
    for p in net.parameters():
        p.grad, p.requires_grad = np.ones_like(p.data), False
    gradients = [p.grad for p in net.parameters()]
    with refuses("explain: the inputs of layer 3 must have its steps, they have 12 steps, the neurons 6"):
        cs.explain(net, X, 3, 0, 3)
    assert all(p.grad is g and not p.requires_grad for p, g in zip(net.parameters(), gradients, strict=True))


def trainer_of(net: Any) -> Trainer:
    optimizer = cs.Adam([p for p in net.parameters() if p.requires_grad])
    return Trainer(net, cs.SpikeCountLoss(cs.SRM(), true=5, false=1), optimizer, calibrate=None)


def test_training_runs_the_network_once_a_batch() -> None:
    """Also the first, whose layers a frozen layer and a weight hook let the check look at one by one."""
    net = network()
    trainer_of(net).train([(X, LABELS)] * 2)
    found, calls = everything(net)[0], net[5].calls
    own = network()
    loss, optimizer = cs.SpikeCountLoss(cs.SRM(), true=5, false=1), trainer_of(own).optimizer
    for _ in range(2):
        value = loss(own(X), LABELS)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert calls == own[5].calls == 3
    assert found == everything(own)[0]


def test_a_check_that_finds_something_changes_nothing() -> None:
    net = network()
    net[6].weight.data[...] = 3e38
    before = everything(net)
    with pytest.raises(NotFiniteError, match="layer 6"):
        trainer_of(net).train([(X, LABELS)])
    assert everything(net) == before


# What every inspection refuses: input that is not finite, and networks within a layer of the user's own.
NET = cs.Network("3-2", cs.SRM())
RUNS = {
    "report": lambda x, path: cs.write_report(NET, x, path / "page.html"),
    "explain": lambda x, path: cs.explain(NET, x, 1, 0, 3),
    "compare_gradients": lambda x, path: cs.inspection.compare_gradients(NET, x, [0, 1], perturbations=1),
    "reassignment": lambda x, path: cs.reassign(NET, x, [0, 1], layer=1, index=0),
    "health": lambda x, path: cs.diagnose(NET, [(x, [0, 1])]),
    "calibrate": lambda x, path: cs.calibrate(NET, [x]),
}


@pytest.mark.parametrize(("op", "value"), [*zip(RUNS, [np.nan, np.inf, -np.inf] * 2, strict=True)])
def test_input_that_is_not_finite_is_refused_also_past_the_first_sample(op, value, tmp_path):
    x, before = np.ones((10, 2, 3), np.float32), NET.state()
    x[4, 1, 2] = value
    name = "write_report: samples" if op == "report" else f"(network|{op.replace('health', 'diagnose')}): x"
    with pytest.raises(ValueError, match=f"^{name} must be finite, got {value} in it$"):
        RUNS[op](x, tmp_path)
    assert not list(tmp_path.iterdir())
    assert all((array == before[key]).all() for key, array in NET.state().items())


ONES = np.ones((6, 1, 3), bool)
HINT = "build it of Sequential and Parallel, or as a subclass of Sequential"


class Within(cs.Layer):
    def __init__(self):
        self.parts = {"net": [cs.Sequential(cs.Dense(3, 2)), cs.SRM()]}

    def __call__(self, x):
        return self.parts["net"][1](self.parts["net"][0](x))


@pytest.mark.parametrize(
    "run", [cs.record, lambda net: cs.calibrate(net, [ONES]), lambda net: cs.explain(net, ONES, 0, 0, 0)]
)
def test_what_is_no_network(run):
    with pytest.raises(TypeError, match=f"net must be a Network or Sequential, got Within; {HINT}$"):
        run(Within())
    with pytest.raises(TypeError, match=r"got Parallel; write Sequential\(Parallel\(\.\.\.\)\)$"):
        run(cs.Parallel(cs.Dense(3, 2)))


@pytest.mark.parametrize("run", [lambda net: cs.calibrate(net, [ONES]), lambda net: cs.diagnose(net, [(ONES, [0])])])
def test_neurons_that_are_not_seen(run):
    with pytest.raises(TypeError, match=rf"net has no neurons: those within layer 1 \(Within\) are not seen; {HINT}$"):
        run(cs.Sequential(cs.Dense(3, 3), Within()))
    with pytest.raises(TypeError, match=r"net has no neurons$"):
        run(cs.Sequential(cs.Dense(3, 2), cs.layers.TemporalFilter(cs.SRM())))
