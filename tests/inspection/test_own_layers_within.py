"""Networks within a layer of the user's own are not seen by inspection: errors say what to do."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs

X = np.ones((6, 1, 3), bool)
HINT = "build it of Sequential and Parallel, or as a subclass of Sequential"


class Within(cs.Layer):
    def __init__(self):
        self.parts = {"net": [cs.Sequential(cs.Dense(3, 2)), cs.SRM()]}

    def __call__(self, x):
        return self.parts["net"][1](self.parts["net"][0](x))


@pytest.mark.parametrize(
    "run", [cs.record, lambda net: cs.calibrate(net, [X]), lambda net: cs.explain(net, X, 0, 0, 0)]
)
def test_what_is_no_network(run):
    with pytest.raises(TypeError, match=f"net must be a Network or Sequential, got Within; {HINT}$"):
        run(Within())
    with pytest.raises(TypeError, match=r"got Parallel; write Sequential\(Parallel\(\.\.\.\)\)$"):
        run(cs.Parallel(cs.Dense(3, 2)))


@pytest.mark.parametrize("run", [lambda net: cs.calibrate(net, [X]), lambda net: cs.health(net, [(X, [0])])])
def test_neurons_that_are_not_seen(run):
    with pytest.raises(TypeError, match=rf"net has no neurons: those within layer 1 \(Within\) are not seen; {HINT}$"):
        run(cs.Sequential(cs.Dense(3, 3), Within()))
    with pytest.raises(TypeError, match=r"net has no neurons$"):
        run(cs.Sequential(cs.Dense(3, 2), cs.TemporalFilter(cs.SRM())))
