"""Training stops where a number is not finite, and says which; otherwise it goes on with finite numbers."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._parameter import Bounded
from cuslayer.network.join import on_gradient
from cuslayer.training import NotFiniteError, Trainer

RNG = np.random.default_rng(0)
SPIKES = RNG.random((40, 4, 3)) < 0.3
ONES = np.ones((40, 4, 3), np.float32)
LABELS = np.array([0, 1, 0, 1])
STEP = "; lower the learning rate or clip gradients"


def mlp(srm: Any = None, scale: float = 30.0, **options: Any) -> cs.Sequential:
    srm = srm or cs.SRM()
    return cs.Sequential(large(cs.Dense(3, 5, **options), scale), srm, cs.Dense(5, 2, weight_scale=30.0), srm)


def large(layer: Any, scale: float) -> Any:
    """Give a layer the weights of a scale, which may be larger than its constructor allows."""
    layer.weight.data *= np.float32(scale / layer.usual_scale)
    return layer


def run(net: Any, x: Any = SPIKES, target: Any = LABELS, loss: Any = None, optimizer: Any = None, **more: Any) -> Any:
    """Train for an epoch of six steps, then test; all weights are finite if nothing is raised."""
    loss = loss or cs.SpikeCountLoss(net[-1] if isinstance(net[-1], cs.Neuron) else cs.SRM(), true=5, false=0)
    trainer = Trainer(net, loss, (optimizer or cs.SGD)(net.parameters()), calibrate=None, **more)
    scores = trainer.train([(x, target)] * 6), trainer.test([(x, target)])
    assert all(np.isfinite(p.data).all() for p in net.parameters())
    assert all(math.isfinite(score.loss) for score in scores)
    return trainer


def sgd(lr: float, **options: Any) -> Any:
    return lambda parameters: cs.SGD(parameters, lr, **options)


def adam(lr: float = 0.01, **options: Any) -> Any:
    return lambda parameters: cs.Adam(parameters, lr, **options)


def counts(**options: Any) -> Any:
    return cs.SpikeCountLoss(cs.SRM(), **{"true": 5, "false": 0, **options})


def times(factor: float) -> Any:
    return lambda spikes, target: counts()(spikes, target) * factor


def frozen(net: Any) -> Any:
    net[0].weight.requires_grad = False
    return net


def half(net: Any) -> Any:
    net.potentials = "float16"
    return net


POTENTIAL = r"the potential of layer 1 \(SRM\) is not finite \(-?(inf|nan)\)"
INPUT = r"the output of layer 0 \(Dense\(3, 5\)\) is not finite \((inf|nan|-inf)\)"
WEIGHT = r"[02]\.weight \(Dense\(\d, \d\)\) is not finite \(-?(inf|nan)\) after the step"
STATE = r"the optimizer's state of 0\.weight \(Dense\(3, 5\)\) is not finite after the step"
LOSS = r"the loss is not finite \((inf|nan)\)"

WAYS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "rate": (mlp, {"optimizer": sgd(1e9), "loss": times(1e30)}, WEIGHT),
    "relative rate of Adam": (lambda: mlp(scale=1e30), {"optimizer": adam(2e9, relative=True)}, WEIGHT),
    "weight decay": (lambda: mlp(scale=1e30), {"optimizer": sgd(100.0, weight_decay=2e9)}, WEIGHT),
    "weight decay and AMSGrad": (lambda: mlp(scale=1e20), {"optimizer": adam(amsgrad=True, weight_decay=1e9)}, STATE),
    "large weights": (lambda: mlp(scale=1e38), {}, POTENTIAL),
    "large weights, float16": (lambda: half(mlp(scale=1e38)), {}, POTENTIAL),
    "large weights, frozen": (lambda: frozen(mlp(scale=1e38)), {}, POTENTIAL),
    "surrogate": (lambda: mlp(cs.SRM(scale_rho=2e9)), {"loss": times(1e30)}, r"the gradient of "),
    "gradients whose squares overflow": (mlp, {"loss": times(1e24), "optimizer": adam()}, STATE),
    "input": (mlp, {"x": ONES * 1e38}, INPUT),
    "weight hook": (lambda: mlp(weight_hook=lambda w: w * math.nan), {}, INPUT),
    "layers without neurons": (
        lambda: cs.Sequential(large(cs.Dense(3, 5), 1e38), large(cs.Dense(5, 2), 1e38)),
        {"x": ONES, "loss": lambda s, t: (s * 0.0).sum()},
        r"the output of layer \d \(Dense\(\d, \d\)\) is not finite",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_training_stops_at_the_first_batch(way: str) -> None:
    make, options, message = WAYS[way]
    cs.seed(0)
    with pytest.raises(NotFiniteError, match=rf"^train: epoch 1, batch \d: {message}") as raised:
        run(make(), **options)
    assert ("\n" in str(raised.value), raised.value.epoch, raised.value.batch >= 1) == (False, 1, True)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": adam(2e9)},
        {"x": ONES * 1e5, "net": half(mlp())},
        {"net": mlp(cs.SRM(tau_rho=1e-10)), "loss": counts()},
        {"net": mlp(cs.SRM(scale_ref=2e8)), "loss": counts()},
        {"net": mlp(cs.Loihi(), scale=1e38)},
    ],
    ids=lambda options: "-".join(options),
)
def test_training_goes_on_with_finite_numbers(options: Any) -> None:
    run(options.pop("net", None) or mlp(), **options)


def test_the_gradient_is_found_before_the_weights_change() -> None:
    net = mlp()
    calls = []

    def wrong(g: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            g[20] = math.nan

    net = cs.Sequential(net[0], net[1], lambda s: on_gradient(s, callback=wrong), net[2], net[3])
    trainer = Trainer(net, counts(), cs.Adam(net.parameters()), calibrate=None)
    trainer.optimizer.epoch = 4
    trainer.train([(SPIKES, LABELS)] * 2)
    before = [p.data.copy() for p in net.parameters()]
    message = f"train: epoch 6, batch 1: the gradient of 0.weight (Dense(3, 5)) is not finite (nan){STEP}"
    with pytest.raises(NotFiniteError, match=f"^{re.escape(message)}$") as raised:
        trainer.train([(SPIKES, LABELS)] * 2)
    assert (raised.value.epoch, raised.value.batch) == (6, 1)
    for p, old in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, old)


@pytest.mark.parametrize("part", [0, 2])
def test_a_parameter_that_is_not_finite_before_the_first_batch(part: int) -> None:
    net = mlp()
    net[part].weight.data[1, 1] = math.nan
    trainer = Trainer(net, counts(), cs.SGD([net[0].weight]))
    for call in ("train", "test"):
        with pytest.raises(NotFiniteError, match=rf"^{call}: epoch 1, before the first batch: {part}\.weight .*nan\);"):
            getattr(trainer, call)([(SPIKES, LABELS)])


def test_a_test_stops_for_its_loss_and_its_output() -> None:
    def loss(spikes: Any, target: Any) -> Any:
        return counts()(spikes, target) * (1.0 if target[0] else math.nan)

    trainer = Trainer(mlp(), loss, cs.SGD(mlp().parameters()))
    with pytest.raises(NotFiniteError, match=r"^test: epoch 1, batch 2: the loss is not finite \(nan\); check"):
        trainer.test([(SPIKES, 1 - LABELS), (SPIKES, LABELS)])
    net = cs.Sequential(large(cs.Dense(3, 2), 1e38))
    trainer = Trainer(net, lambda s, t: cs.Tensor(1.0), cs.SGD(net.parameters()))
    with pytest.raises(NotFiniteError, match=r"^test: epoch 1, batch 1: the output of layer 0 \(Dense\(3, 2\)\) is"):
        trainer.test([(ONES * 10, LABELS)])


def test_a_custom_optimizer_is_checked_too() -> None:
    class Own(cs.SGD):
        def _update(self, k: Any, weight: Any, grad: Any, memory: Any, update: Any) -> None:
            weight[0] = math.inf if update.steps == 3 else weight[0]

    with pytest.raises(NotFiniteError, match=r"^train: epoch 1, batch 3: .\.weight \(Dense\(\d, \d\)\) is not"):
        run(mlp(), optimizer=Own)


def test_bounds_spare_the_reading_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    norm = cs.optim.finite.norm
    monkeypatch.setattr(cs.optim.finite, "norm", lambda x: read.append(x) or norm(x))
    for optimizer in (sgd(0.01, momentum=0.9), adam(amsgrad=True), lambda p: cs.optim.NAdam(p)):
        net = mlp()
        trainer = Trainer(net, counts(), optimizer(net.parameters()), calibrate=None)
        trainer.train([(SPIKES, LABELS)])
        read.clear()
        trainer.train([(SPIKES, LABELS)] * 5)
        # Two parameters: before and after the epoch, their gradients, and the state once.
        state = len(trainer.optimizer.memory[0])
        assert len(read) == 2 * (2 + 5 + 1 + state)


# The gradients of a weight of 100 in steps 1, 2, ...: in the last, and in none before, a number overflows.
LATER: dict[str, tuple[Any, list[float]]] = {
    "velocity, by the sum of gradients": (sgd(1e-30, momentum=0.9), [1.0, 2e38, 2e38]),
    "velocity, by one gradient": (sgd(1e-30, momentum=0.9), [1.0, 3e34, 3.4028e38]),
    "velocity, by momentum": (sgd(1e-30, momentum=0.99999), [1.0, 3.4027e38, 3e34]),
    "velocity, by weight decay": (sgd(1.0, weight_decay=1e9), [1.0, -1e30, 1.0]),
    "square, by one gradient": (adam(), [1.0, 1.0, 1e22]),
    "square, by weight decay": (adam(1e9, relative=True, weight_decay=1e9, betas=(0.9, 0.5)), [1.0, 1.0]),
    "weight": (sgd(1e9), [1.0, 1.0, 1e30]),
}


@pytest.mark.parametrize(
    ("way", "bounded"), [(way, False) for way in LATER] + [(way, True) for way in LATER if way != "weight"]
)
def test_the_step_in_which_a_number_overflows_is_named(way: str, bounded: bool) -> None:
    """It is found in this step, though the weight was far from it, and stays finite if it is bounded."""
    make, gradients = LATER[way]
    quiet, free = (cs.Tensor(np.full(1, start, np.float32), requires_grad=True) for start in (0, 100))
    w = Bounded(free.data, least=-2e30, most=2e30) if bounded else free
    optimizer = make([quiet, w])
    for number, gradient in enumerate(gradients, start=1):
        quiet.grad, w.grad = np.zeros(1, np.float32), np.full(1, gradient, np.float32)
        assert optimizer.check_gradients() is None
        optimizer.step()
        last = number == len(gradients)
        assert all(np.isfinite(a).all() for a in (w.data, *optimizer.memory[1].values())) == (not last)
        assert np.isfinite(w.data).all() or not bounded
        assert optimizer.not_finite() == ((number, 1, "update") if last else None)


def test_the_bounds_are_forgotten_when_a_state_is_loaded() -> None:
    w = cs.Tensor(np.ones(1, np.float32), requires_grad=True)
    optimizer = cs.SGD([w], 1.0)
    for start, gradient, found in ((1.0, 1.0, None), (3.402823e38, -1e33, (2, 0, "update"))):
        w.data[...], w.grad = start, np.full(1, gradient, np.float32)
        optimizer.load_state(optimizer.state())
        assert optimizer.check_gradients() is None
        with np.errstate(over="ignore"):
            optimizer.step()
        assert optimizer.not_finite() == found


def test_a_rate_that_is_assigned_within_an_epoch() -> None:
    """The bounds know of it, and the weights are read."""
    net = mlp()
    trainer = Trainer(net, times(1e30), cs.SGD(net.parameters()), calibrate=None)

    def batches() -> Any:
        for number in range(4):
            trainer.optimizer.lr = 2e9 if number == 2 else 1e-32
            yield SPIKES, LABELS

    with pytest.raises(NotFiniteError, match=rf"^train: epoch 1, batch 3: {WEIGHT}{STEP}$"):
        trainer.train(batches())


def test_the_check_of_a_running_epoch() -> None:
    net = mlp()
    trainer = Trainer(net, counts(), cs.SGD(net.parameters()), calibrate=None)
    trainer.check_finite()

    def batches() -> Any:
        yield SPIKES, LABELS
        trainer.check_finite()
        net[0].weight.data[0] = math.inf
        with pytest.raises(NotFiniteError, match=r"^train: epoch 1, batch 1: 0\.weight .* is not finite \(inf\)"):
            trainer.check_finite()
        yield SPIKES, LABELS

    with pytest.raises(NotFiniteError, match=r"^train: epoch 1, batch 2: "):
        trainer.train(batches())
