"""Constants with which float32 would overflow or divide by 0 are refused where they are given."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._parameter import Bounded
from tests.support.refused import refuses


def sampled(**constants: Any) -> cs.neurons.SampledSRM:
    return cs.neurons.SampledSRM([0.0, 1.0, 2.0], [0.0, -3.0], **constants)


KINDS = {
    "SRM": (cs.SRM, ("theta", "tau_sr", "tau_ref", "scale_ref", "tau_rho", "scale_rho", "dt")),
    "SampledSRM": (sampled, ("theta", "tau_rho", "scale_rho", "dt")),
    "Loihi": (cs.Loihi, ("tau_rho", "scale_rho", "dt")),
    "LIF": (cs.LIF, ("tau", "theta", "tau_rho", "scale_rho", "dt")),
    "CUBA": (cs.CUBA, ("tau_i", "tau_v", "theta", "tau_rho", "scale_rho", "dt")),
    "AdaptiveLIF": (
        cs.AdaptiveLIF,
        ("tau_i", "tau_v", "tau_theta", "tau_ref", "rise", "scale_ref", "theta", "tau_rho", "scale_rho", "dt"),
    ),
    "ResonateAndFire": (cs.neurons.ResonateAndFire, ("tau", "frequency", "theta", "tau_rho", "scale_rho", "dt")),
    "AdLIF": (cs.AdLIF, ("tau_u", "tau_w", "a", "b", "q", "theta", "tau_rho", "scale_rho", "dt")),
    "BalancedResonateAndFire": (
        cs.neurons.BalancedResonateAndFire,
        ("omega", "b_offset", "theta", "tau_rho", "scale_rho", "dt"),
    ),
    "NormalizedALIF": (
        cs.neurons.NormalizedALIF,
        ("tau_v", "tau_theta", "rise", "theta", "tau_rho", "scale_rho", "dt"),
    ),
    "SigmaDelta": (cs.neurons.SigmaDelta, ("theta", "tau_rho", "scale_rho", "dt")),
}
SIZES = (1e-320, 1e-45, 1e-37, 1e-30, 1e-20, 1e-10, 1e10, 1e18, 1e20, 1e30, 1e38, 1e39, 1e300)
X = np.random.default_rng(0).random((30, 4, 5)) < 0.3


def trained(neuron: Any, make: Any = cs.SGD) -> None:
    """Take four steps in a loop of one's own; the weights stay finite."""
    cs.seed(0)
    net = cs.Sequential(cs.Dense(5, 6), neuron, cs.Dense(6, 2), neuron)
    loss, optimizer = cs.SpikeCountLoss(cs.SRM(), true=5, false=1), make(net.parameters())
    with np.errstate(all="ignore"):
        for _ in range(4):
            value = loss(net(X), [0, 1, 0, 1])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    assert all(np.isfinite(p.data).all() for p in net.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_is_refused_or_leaves_weights_finite(kind: str) -> None:
    make, names = KINDS[kind]
    for name in names:
        refused = []
        for size in SIZES:
            try:
                neuron = make(**{name: size})
            except ValueError as problem:
                refused.append(str(problem))
            else:
                trained(neuron)
        assert refused, name
        assert all(re.match(rf"{kind}: .*must be .*, got ", message) for message in refused)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cs.SRM(theta=1e-45), "SRM: theta must be at least 1.18e-38, float32 has no less, got 1e-45"),
        (lambda: cs.CUBA(theta=1e38), "CUBA: theta must be at most 2.15e+09, since float32 overflows soon, got 1e+38"),
        (lambda: cs.LIF(scale_rho=1e30), "LIF: scale_rho must be at most 2.15e+09, since"),
        (lambda: cs.SRM(theta=1e-12), r"SRM: scale_rho / (tau_rho theta) must be at most 2.15e+09, since"),
        (lambda: cs.SRM(theta=1e6, scale_ref=1e6), "SRM: scale_ref theta must be at most 2.15e+09, since"),
        (lambda: cs.SRM(tau_ref=1e-30), "SRM: dt / tau_ref must be at most 2.15e+09, since"),
        (lambda: cs.LIF(tau=[1.0, 1e-40]), "LIF: tau must be at least 1.18e-38, float32 has no less, got 1e-40"),
        (lambda: cs.LIF(tau=1e20, trained=True), "LIF: tau must be at most 2.15e+09, since"),
        (lambda: cs.LIF(trained=True, bounds=(1.0, 1e39)), "LIF: bounds must be at most 2.15e+09, since"),
        (lambda: cs.neurons.SampledSRM([1e38]), "SampledSRM: the largest of response must be at most 2.15e+09, since"),
        (lambda: cs.surrogates.MultiGaussian(s=1e-40), "MultiGaussian: s must be at least 1.18e-38, float32"),
        (lambda: cs.Dense(2, 2, weight_scale=1e38), "Dense: weight_scale must be at most 2.15e+09, since"),
    ],
)
def test_messages(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()


def test_what_is_far_from_usual_and_fits_is_taken() -> None:
    assert cs.LIF(tau=1e20).keep("tau") == 1.0  # no leak
    for neuron in (cs.SRM(theta=1e-6), cs.SRM(scale_ref=0.0), cs.LIF(scale_rho=1e-30), cs.SRM(theta=1e6)):
        assert neuron.theta > 0
    assert float(cs.LIF(tau=Bounded(np.float32(3.0), least=1.0, most=9.0)).tau.data) == 3.0


@pytest.mark.parametrize("make", [cs.SGD, cs.Adam, cs.optim.NAdam])
@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay", "betas", "momentum", "clip_norm", "clip_value"])
def test_an_option_of_an_optimizer_is_refused_or_leaves_weights_finite(make: Any, name: str) -> None:
    if name not in (*make.rules, "lr", "clip_norm", "clip_value"):
        return
    refused = []
    for size in (*SIZES, 1 - 1e-9, 1 - 1e-17):
        value = (size, size) if name == "betas" else size
        parameter = cs.Tensor(np.ones(2, np.float32), requires_grad=True)
        try:
            make([parameter], **{name: value})
        except ValueError as problem:
            refused.append(str(problem))
        else:
            trained(cs.SRM(), lambda parameters, value=value: make(parameters, **{name: value}))
    assert refused
    assert all(re.match(rf"{make.__name__}: {name}.* must ", message) for message in refused)


def test_rates() -> None:
    """Those that are assigned, loaded or computed by a schedule; a rate may fall to 0."""
    parameter = cs.Tensor(np.ones(2, np.float32), requires_grad=True)
    optimizer = cs.Adam([parameter])
    with refuses("Adam: lr must be at most 2.15e+09, since float32 overflows soon"):
        optimizer.lr = 1e308
    with refuses("load_state: optimizer's lr must be at most 2.15e+09, since float32 overflows soon"):
        optimizer.load_state(optimizer.state() | {"lr": np.array(1e308)})
    with refuses("step_decay: factor must be at most 2.15e+09, since float32 overflows soon"):
        cs.optim.step_decay(0.1, every=1, factor=1e308)
    optimizer.lr = cs.optim.step_decay(0.1, every=1, factor=1e9)
    optimizer.epoch = 2
    parameter.grad = np.ones(2, np.float32)
    with refuses("Adam: lr must be at most 2.15e+09, since float32 overflows soon"):
        optimizer.step()
    optimizer.epoch = 40
    with refuses("Adam: lr must be finite"):
        optimizer.step()
    assert optimizer.steps == 0
    optimizer.lr, optimizer.epoch = cs.optim.step_decay(0.1, every=1, factor=1e-30), 40
    assert optimizer.lr == 0.0
