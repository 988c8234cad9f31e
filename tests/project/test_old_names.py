"""Names of version 0.2 stay for one version, with a warning that names the new one at the user's line."""

import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._base import instead
from cuslayer.data.formats import SpikeCounts

NET, X = cs.Network("4-3", cs.SRM()), np.ones((20, 2, 4), bool)
OUT = np.ones((20, 2, 3), bool)
CALLS = {
    "SpikeCountLoss: region= is window=": lambda: cs.SpikeCountLoss(cs.SRM(), true=5, false=1, region=(0, 10)).window,
    "CrossEntropyLoss: region= is window=": lambda: cs.CrossEntropyLoss("mean", region=(0, 10)).window,
    "ProbabilityWindowLoss: window= is width=": lambda: cs.ProbabilityWindowLoss(cs.SRM(), window=4.0).width,
    "Config: region= is window=": lambda: cs.training.Config(region=(0.0, 20.0)).window,
    "running_decision: window= is width=": lambda: cs.loss.running_decision(OUT, window=3.0),
    "explain: neuron= is index=": lambda: cs.explain(NET, X, layer=1, neuron=0, time=3),
    "reassign: neuron= is index=": lambda: cs.reassign(NET, X, [0, 1], layer=1, neuron=0),
    "Explanation: neuron is index": lambda: cs.explain(NET, X, 1, 0, 3).neuron,
    "Spike: neuron is sender": lambda: cs.explain(NET, X, 1, 0, 3).spikes[0].neuron,
    "SpikeCounts: neuron= is index=": lambda: SpikeCounts(neuron=[1], start=[0.0], end=[1.0], count=[1]),
    "SpikeCountLoss: region is window": lambda: cs.SpikeCountLoss(cs.SRM(), true=5, false=1, window=(0, 10)).region,
    "cuslayer: Pool is cs.SumPool": lambda: cs.Pool(2, gain=1.0),
    "cuslayer.layers: Affine is ReadOut": lambda: cs.layers.Affine(2, 3),
}


@pytest.mark.parametrize("said", CALLS)
def test_an_old_name_warns(said):
    with pytest.warns(DeprecationWarning, match=f"^{said} since version 0.3; version 0.4 has no ") as seen:
        CALLS[said]()
    assert [each.filename for each in seen] == [__file__]


@pytest.mark.parametrize("name", instead.RENAMED)
def test_an_old_name_of_the_package(name):
    with pytest.warns(DeprecationWarning, match=f"^cuslayer: {name} is cs.{instead.RENAMED[name]} since") as seen:
        found = getattr(cs, name)
    assert len(seen) == 1
    assert name not in {*cs.__all__, *dir(cs)}
    assert callable(found)


def test_new_names_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cs.ProbabilityWindowLoss(cs.SRM(), width=4.0, window=(0, 10)).width == 4
        assert cs.explain(NET, X, layer=1, index=0, time=3).index == (0,)


def test_the_names_of_the_package():
    assert len(cs.__all__) <= 95
    assert not {"check", "archive", "extras", "tape", "jit", "files", "instead"} & set(dir(cs))
    assert not any(hasattr(cs, name) for name in ("check", "archive", "extras", "hdf5_files", "tape", "jit", "files"))
