"""Local rules in `Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from cuslayer._base import check
from cuslayer.network.network import Where
from cuslayer.plasticity.rules import STDP
from cuslayer.training import Callback, Trainer


@check.named
class Learn(Callback):
    """Changes the weights of some layers by local rules in `Trainer`, in the place of the loss's gradient.

    Before each step the batch runs through ``net.stream(plasticity=rules)``. Then the loss takes its step for the other
    layers; if there are none, it is only a score. The weights of layers with a rule are frozen.

    Args:
        rules: the rule of each layer, by its address, its name, or the layer itself.
        reward: a function from the output (T, N, ...) and the target of a batch to a reward for each sample, (N,), or
            one number, for rules with an eligibility.

    Raises:
        TypeError: reward is no function, or rules are no mapping.
        ValueError: a layer cannot learn by a rule, when training begins.

    >>> import numpy as np
    >>> from cuslayer import LIF, SGD, Dense, Sequential, SpikeCountLoss, Trainer
    >>> from cuslayer.plasticity import STDP
    >>> neuron = LIF()
    >>> net = Sequential(Dense(4, 3), neuron, Dense(3, 2), neuron)
    >>> net[0].weight = np.random.default_rng(0).random((4, 3))
    >>> loss, optimizer = SpikeCountLoss(neuron, true=5, false=0), SGD(net.parameters())
    >>> trainer = Trainer(net, loss, optimizer, callbacks=[Learn({0: STDP()})])
    >>> score = trainer.train([(np.ones((20, 1, 4), bool), np.array([0]))])
    >>> float(net[0].weight.data.min()) >= 0.0
    True
    """

    def __init__(self, rules: Mapping[Where, STDP], *, reward: Callable[..., npt.ArrayLike] | None = None) -> None:
        if not isinstance(rules, Mapping):
            raise check.mistyped("rules", "must be a mapping from layers to rules", rules)
        if reward is not None and not callable(reward):
            raise check.mistyped("reward", "must be a function of output and target", reward)
        self.rules = rules
        self._reward = reward

    def before_step(self, trainer: Trainer, batch: Any) -> bool:
        if trainer.parallel is not None:
            raise ValueError("Trainer must not have parallel with rules, each process would learn other weights")
        x, target = batch
        stream = trainer.net.stream(plasticity=self.rules)
        for weight in stream.learned:
            weight.requires_grad = False
        output = stream(x)
        if self._reward is not None:
            stream.reward(self._reward(output, target))
        return any(p.requires_grad for p in trainer.optimizer.parameters)
