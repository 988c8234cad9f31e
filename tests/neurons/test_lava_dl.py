"""CUBA, AdaptiveLIF and SigmaDelta against lava-dl, whose figures are in tests/support/files/lava_dl.json."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs

FIGURES = json.loads((Path(__file__).parents[1] / "support" / "files" / "lava_dl.json").read_text(encoding="utf-8"))
X = np.array(FIGURES["input"])[:, None] / 64
NEURONS = {"cuba": cs.CUBA.of_decays, "alif": cs.AdaptiveLIF.of_decays}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", sorted(NEURONS))
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_the_spikes_are_those_of_lava_dl(kind, dtype, dt):
    found = NEURONS[kind](**FIGURES[kind]["parameters"], dt=dt)(X.astype(dtype)).data
    assert np.argwhere(found[:, 0]).tolist() == FIGURES[kind]["spikes"]
    assert len(FIGURES[kind]["spikes"]) > 100


def test_the_voltage_is_that_of_lava_dl_but_for_its_rounding():
    """lava-dl drops what is under 1/4096 in each step from current and voltage: at most 1 / decay of them remain."""
    parameters = FIGURES["cuba"]["parameters"]
    net = cs.Sequential(cs.CUBA.of_decays(**parameters))
    with cs.record(net) as seen:
        net(X)
    most = (1 / parameters["current_decay"] + 1) / parameters["voltage_decay"]
    voltage = np.array(FIGURES["cuba"]["voltage"])
    apart = abs(seen[0].potential[:, 0] * 4096 - voltage)
    assert abs(voltage).max() > 4096
    assert apart.max() <= most


@pytest.mark.parametrize("kind", sorted(NEURONS))
@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, np.nan])
def test_a_decay_is_between_0_and_1(kind, decay):
    message = f"{'CUBA' if kind == 'cuba' else 'AdaptiveLIF'}: voltage_decay must be between 0 and 1, got "
    with pytest.raises(ValueError, match=re.escape(message)):
        NEURONS[kind](**FIGURES[kind]["parameters"] | {"voltage_decay": decay})


def test_decays_by_channel_and_other_options():
    neuron = cs.CUBA.of_decays(1.0, 0.5, np.array([0.5, 0.25]), reset="subtract", gradient="exact")
    assert np.allclose(neuron.tau_v, -1 / np.log([0.5, 0.75]))
    assert (neuron.reset, neuron.gradient) == ("subtract", "exact")
