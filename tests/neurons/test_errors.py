"""What neurons refuse: one line with the kind, the argument, the rule and what came."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions as f
from cuslayer.kernels.step.filters import Sampled
from tests.support.refused import refused

X, FLAT, SPIKES = np.ones((5, 2, 4)), np.ones(3), np.ones((5, 2, 4), bool)

REFUSED = {
    "neuron: x must be (T, N, ...)": lambda: cs.SRM()(FLAT),
    "spike: a must be (T, N, ...)": lambda: cs.SRM().spike(FLAT),
    "psp: x must be (T, N, ...)": lambda: cs.SRM().psp(FLAT),
    "psp: response must be samples (K,), got shape (1, 2)": lambda: f.psp(X, response=np.ones((1, 2))),
    "psp: response must be samples (K,), got shape (2, 2)": lambda: f.psp(X, response=Sampled(np.ones((2, 2)), 1.0)),
    "SampledSRM: response must be samples (K,)": lambda: cs.neurons.SampledSRM([]),
    "SampledSRM: response must be finite": lambda: cs.neurons.SampledSRM([0.0, np.nan]),
    "SampledSRM: refractory must be samples (K,)": lambda: cs.neurons.SampledSRM([1.0], 3.0),
    "SampledSRM: refractory must begin with 0, at lag 0": lambda: cs.neurons.SampledSRM([1.0], [-1.0, 0.5]),
    "sampled_spike: a must be (T, N, ...)": lambda: f.sampled_spike(FLAT, spiking=cs.neurons.SampledSRM([1.0]).spiking),
    "LIF: tau must be positive and finite, got 0": lambda: cs.LIF(0),
    "LIF: tau must be positive and finite, got nan": lambda: cs.LIF([1.0, np.nan]),
    "LIF: reset must be one of zero, subtract, none": lambda: cs.LIF(reset="half"),
    "Bounded: least must not be above most": lambda: cs.LIF(trained=True, bounds=(2, 1)),
    "LIF: bounds must be positive": lambda: cs.LIF(trained=True, bounds=(0, 1)),
    "LIF: tau must broadcast to the neurons (4,)": lambda: cs.LIF([1.0, 2.0, 3.0])(X),
    "ResonateAndFire: reset must be one of": lambda: cs.neurons.ResonateAndFire(reset="half"),
    "ResonateAndFire: tau and frequency must broadcast to the neurons (4,)": lambda: cs.neurons.ResonateAndFire(
        [1.0, 2.0, 3.0]
    )(X),
    "SigmaDelta: activation must be": lambda: cs.neurons.SigmaDelta(activation="tanh"),
    "SigmaDelta: graded must be True": lambda: cs.neurons.SigmaDelta(graded=False),
    "SigmaDelta: trained must be False": lambda: cs.neurons.SigmaDelta(trained=True),
    "SigmaDelta: x must be": lambda: cs.neurons.SigmaDelta()(FLAT),
    "loihi: x must be (T, N, ...)": lambda: cs.Loihi()(FLAT),
    "neuron: x must be the weighted input of a layer": lambda: cs.SRM()(SPIKES),
    "spike: a must be the weighted input of a layer": lambda: cs.SRM().spike(SPIKES),
    "SampledSRM: response must hold numbers": lambda: cs.neurons.SampledSRM(["a"]),
    "SampledSRM: x must be the weighted input of a layer": lambda: cs.neurons.SampledSRM([1.0])(SPIKES),
    "LIF: tau must be a number or an array of numbers": lambda: cs.LIF("long"),
    "LIF: bounds must be least and most": lambda: cs.LIF(trained=True, bounds=3),
    "loihi: x must be the weighted input of a layer": lambda: cs.Loihi()(SPIKES),
}


@pytest.mark.parametrize("message", REFUSED)
def test_error(message):
    refused(message, REFUSED[message])


def test_the_registers_of_a_chip():
    limits = {"vth_mant": (1, 131071), "v_decay": (1, 4095), "i_decay": (1, 4095), "ref_delay": (1, 64)}
    for name, (least, most) in (limits | {"wgt_exp": (-7, 7)}).items():
        with pytest.raises(ValueError, match=f"^Loihi: {name} must be at least {least}, got {least - 1}$"):
            cs.Loihi(**{name: least - 1})
        with pytest.raises(ValueError, match=f"^Loihi: {name} must be at most {most}, got {most + 1}$"):
            cs.Loihi(**{name: most + 1})
        with pytest.raises(TypeError, match=f"^Loihi: {name} must be an integer, got float"):
            cs.Loihi(**{name: 1.0})
        assert getattr(cs.Loihi(**{name: np.int64(most)}), name) == most


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cs.LIF(beta=0.9), r"^LIF: .* 'beta'; tau=9.49122 is the same, -dt / ln\(beta\) ms$"),
        (lambda: cs.LIF(beta=0.9, dt=0.5), r"; tau=4.74561 is the same"),
        (lambda: cs.LIF(beta=cs.Tensor(0.9)), r"; tau is the time constant here, -dt / ln\(beta\) ms$"),
        (lambda: cs.CUBA(alpha=0.5, beta=0.9), r"^CUBA: .* 'alpha'; tau_i=1.4427 is the same"),
        (lambda: cs.LIF(learn_beta=True), r"^LIF: .* 'learn_beta'; it is trained here$"),
        (lambda: cs.SRM(thetta=2.0), r"^SRM: .* 'thetta'; did you mean theta\?$"),
        (
            lambda: cs.Network("24-64-3"),
            r"^Network: missing .* 'neuron'; write Network\(notation, neuron, ",
        ),
        (lambda: cs.MaxPool(2, cs.LIF()), r"^MaxPool: too many .*; write MaxPool\(kernel_size, stride=, padding=, dil"),
    ],
)
def test_a_wrong_argument_has_its_cure(make, message):
    with pytest.raises(TypeError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)
    assert cs.LIF(-1.0 / np.log(0.9)).keep("tau") == pytest.approx(0.9)
