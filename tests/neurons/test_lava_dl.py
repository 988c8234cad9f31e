"""CUBA, AdaptiveLIF and SigmaDelta against lava-dl, whose figures are in tests/support/files/lava_dl.json."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from tests.support.refused import refuses

pytestmark = pytest.mark.all

FIGURES = json.loads((Path(__file__).parents[1] / "support" / "files" / "lava_dl.json").read_text(encoding="utf-8"))
X = np.array(FIGURES["input"])[:, None] / 64
NEURONS = {"cuba": cs.CUBA.of_decays, "alif": cs.AdaptiveLIF.of_decays}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", [case for case in FIGURES if case.split()[0] in NEURONS])
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_the_spikes_are_those_of_lava_dl(case, dtype, dt):
    """The constants of the cases "rounded" are no multiples of 1/64 and 1/4096, and each moves spikes as it is given.

    "At its threshold" a voltage is the threshold, where lava-dl's CUBA does not fire.
    """
    found = NEURONS[case.split()[0]](**FIGURES[case]["parameters"], dt=dt)(X.astype(dtype)).data
    assert np.argwhere(found[:, 0]).tolist() == FIGURES[case]["spikes"]
    assert len(FIGURES[case]["spikes"]) > 100


def test_constants_are_rounded_as_lava_dl_rounds_them():
    """By hand: 64ths drop what is over, 4096ths are the nearest."""
    neuron = cs.AdaptiveLIF.of_decays(0.71, 0.2, 0.1, 0.25, 0.9998, 0.5)
    assert (neuron.theta, neuron.rise) == (45 / 64, 12 / 64)
    found = [1 - np.exp(-1 / getattr(neuron, name)) for name in neuron.time_constants]
    assert np.allclose(4096 * np.array(found), [410, 1024, 4095, 2048], rtol=1e-12)
    assert cs.AdaptiveLIF.of_decays(1.0, 0.01, *[0.5] * 4).rise == 0
    assert 1.25 < cs.CUBA.of_decays(1.26, 0.5, 0.5).theta < 1.25 + 1e-6


@pytest.mark.parametrize("kind", sorted(NEURONS))
def test_constants_of_which_nothing_is_left(kind):
    name, given = ("CUBA" if kind == "cuba" else "AdaptiveLIF"), FIGURES[kind]["parameters"]
    for threshold in (0.0, 0.015):
        with pytest.raises(ValueError, match=rf"^{name}: threshold must be at least 1/64, .* got {threshold:g}$"):
            NEURONS[kind](**given | {"threshold": threshold})
    with pytest.raises(ValueError, match=rf"^{name}: threshold must not be negative"):
        NEURONS[kind](**given | {"threshold": -1.0})
    with refuses("AdaptiveLIF: threshold_step must not be negative"):
        cs.AdaptiveLIF.of_decays(**FIGURES["alif"]["parameters"] | {"threshold_step": -0.01})


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
@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, np.nan, 1e-4, 1 - 1e-4])
def test_a_decay_is_between_0_and_1(kind, decay):
    message = f"{'CUBA' if kind == 'cuba' else 'AdaptiveLIF'}: voltage_decay must be between 0 and 1, got "
    with pytest.raises(ValueError, match=re.escape(message)):
        NEURONS[kind](**FIGURES[kind]["parameters"] | {"voltage_decay": decay})


def test_decays_by_channel_and_other_options():
    neuron = cs.CUBA.of_decays(1.0, 0.5, np.array([0.5, 0.25]), reset="subtract", gradient="exact")
    assert np.allclose(neuron.tau_v, -1 / np.log([0.5, 0.75]))
    assert (neuron.reset, neuron.gradient) == ("subtract", "exact")
