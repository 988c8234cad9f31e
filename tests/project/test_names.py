"""Names that users of PyTorch type say what stands here, and what is made shows its settings."""

from __future__ import annotations

import operator
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import instead
from cuslayer.data import Arrays, Loader

NET = cs.Network("20-8-3", cs.SRM())

OWNERS = {
    "layer": lambda: NET,
    "tensor": lambda: cs.Tensor([1.0]),
    "optimizer": lambda: cs.SGD(NET.parameters()),
    "package": lambda: cs,
}


@pytest.mark.parametrize("kind", OWNERS)
def test_each_name_of_pytorch_says_what_stands_here(kind):
    owner = OWNERS[kind]()
    for name, meant in instead.ATTRIBUTES[kind].items():
        assert not hasattr(owner, name)
        with pytest.raises(AttributeError, match=f"{name} is .*; {re.escape(meant)}$"):
            getattr(owner, name)
        for here in re.findall(r"cs\.(?:functions\.|data\.)?\w+", meant):
            assert operator.attrgetter(here[3:])(cs)


def test_a_layer_of_ones_own_may_have_such_a_name():
    class Own(cs.Layer):
        def eval(self):
            return 3

    own = Own()
    own.modules = 4
    assert (own.eval(), own.modules) == (3, 4)


def test_settings_are_shown():
    net, srm = cs.Network("4-3", cs.SRM()), cs.SRM(dt=0.5)
    for made, text in (
        (
            cs.SGD(net.parameters(), cs.step_decay(0.1, every=2), momentum=0.9),
            "SGD(parameters=1, lr=0.1, momentum=0.9, ",
        ),
        (cs.Adam(net.parameters(), warmup=5), "Adam(parameters=1, lr=0.001, betas=(0.9, 0.999), eps=1e-08, "),
        (cs.NAdam(net.parameters(), clip_norm=2), "NAdam(parameters=1, "),
        (
            cs.SpikeCountLoss(srm, 20, region=(5, 30)),
            f"SpikeCountLoss(neuron={srm}, true=20, false=10, region=(5.0, 30.0), ",
        ),
        (cs.SpikeRateLoss(srm), f"SpikeRateLoss(neuron={srm}, true=200, false=30)"),
        (cs.SpikeMaxLoss(srm), f"SpikeMaxLoss(neuron={srm}, probability='softmax')"),
        (
            cs.ProbabilityWindowLoss(srm, window=5),
            f"ProbabilityWindowLoss(neuron={srm}, window=5, probability='softmax')",
        ),
        (cs.SpikeTimeLoss(srm), f"SpikeTimeLoss(neuron={srm})"),
        (cs.CrossEntropyLoss("mean", region=(1, 2)), "CrossEntropyLoss(over='mean', region=(1.0, 2.0), dt=1)"),
        (cs.BinaryCrossEntropyLoss(slope=2), "BinaryCrossEntropyLoss(over='mean', slope=2, offset=0, dt=1)"),
        (cs.RateRegularizer(5, 50), "RateRegularizer(low=5, high=50, weight=1, dt=1)"),
        (
            cs.SparsityLoss(cs.CrossEntropyLoss(), weight=1e-3),
            "SparsityLoss(loss=CrossEntropyLoss(over='max', dt=1), weight=0.001, ",
        ),
        (
            Loader(Arrays(np.ones((4, 5, 3), bool), [0, 1, 0, 1]), 2, shuffle=True, seed=3),
            "Loader(dataset=Arrays(4 samples of spikes, 5 steps, shape (3,), 2 classes), batch=2, steps=5, dt=1, "
            "shuffle=True, seed=3, ",
        ),
    ):
        assert repr(made).startswith(text)
        assert repr(made).endswith(")")
        assert "\n" not in repr(made)
    assert "clip_norm=2" in repr(cs.NAdam(net.parameters(), clip_norm=2))
