"""To look at a network changes nothing of it: no gradient, no weight, no mode, no state of the generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.backend import generator_state

X, LABELS = np.random.default_rng(3).random((30, 4, 6)) < 0.3, np.array([0, 1, 2, 0])


class Looked:
    """A network in training with a gradient of every parameter, and of a tensor that only a function knows."""

    def __init__(self) -> None:
        cs.seed(4)
        self.hidden = cs.Tensor(np.full(8, 1.5, np.float32), requires_grad=True)
        self.net = cs.Sequential(
            cs.Dense(6, 8, bias=True),
            cs.BatchNorm(8, scale="none", trained=True),
            cs.SRM(theta=2.0),
            cs.Delay(8, dt=1.0, max_delay=3.0),
            lambda s: s * self.hidden,
            cs.Dropout(0.3),
            cs.Dense(8, 3, bias=True, weight_hook=cs.WeightNorm()),
            cs.SRM(theta=2.0),
        )
        self.optimizer = cs.Adam([p for p in self.net.parameters() if p.requires_grad], 0.01)
        self.net[0].bias.requires_grad = False  # a frozen one
        rng = np.random.default_rng(5)
        self.tensors = [*self.net.parameters(), self.hidden]
        for p in self.tensors[:-2] + self.tensors[-1:]:
            p.grad = rng.standard_normal(p.shape).astype(np.float32)

    def state(self) -> list[Any]:
        flags = [layer.training for layer in self.net.layers_within()]
        arrays = [(p.data.tobytes(), p.grad is None or p.grad.tobytes(), p.requires_grad) for p in self.tensors]
        return [flags, arrays, generator_state(), {n: a.tobytes() for n, a in self.optimizer.state().items()}]


LOOKS: dict[str, Callable[[Looked, Path], Any]] = {
    "explain": lambda it, at: cs.explain(it.net, X, 7, 1, 20).trace(),
    "explain, first": lambda it, at: cs.explain(it.net, X, 2, 1, 20),
    "ops": lambda it, at: cs.ops(it.net, X),
    "health": lambda it, at: cs.health(it.net, [(X, LABELS)], optimizer=it.optimizer),
    "compare": lambda it, at: cs.compare_gradients(it.net, X, LABELS, perturbations=2),
    "reassignment": lambda it, at: cs.reassignment(it.net, X, LABELS, layer=7, neuron=0),
    "report": lambda it, at: cs.report(it.net, X[:, :1], at / "page.html", target=LABELS[:1]),
    "repr": lambda it, at: repr(it.net) + repr(it.optimizer),
}


@pytest.mark.parametrize("look", LOOKS)
def test_looking_changes_nothing(look: str, tmp_path: Path) -> None:
    it = Looked()
    before, gradients = it.state(), [p.grad for p in it.tensors]
    LOOKS[look](it, tmp_path)
    assert it.state() == before
    assert all(p.grad is g for p, g in zip(it.tensors, gradients, strict=True))


def test_a_record_leaves_the_gradients_of_a_pass_as_they_are() -> None:
    found = []
    for recorded in (False, True):
        it = Looked()
        with cs.record(it.net) if recorded else cs.no_grad(False):
            cs.SpikeMaxLoss(cs.SRM())(it.net(X), LABELS).backward()
        found.append(it.state())
    assert found[0] == found[1]


def test_an_explanation_that_fails_changes_nothing() -> None:
    cs.seed(6)
    net = cs.Sequential(cs.Dense(6, 8, bias=True), cs.Decimate(2), cs.Dense(8, 3, bias=True), cs.SRM(theta=2.0, dt=2.0))
    for p in net.parameters():
        p.grad, p.requires_grad = np.ones_like(p.data), False
    gradients = [p.grad for p in net.parameters()]
    with pytest.raises(ValueError, match="must have its steps"):
        cs.explain(net, X, 3, 0, 3)
    assert all(p.grad is g and not p.requires_grad for p, g in zip(net.parameters(), gradients, strict=True))
