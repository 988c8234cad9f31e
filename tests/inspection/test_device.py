"""What inspection finds on a device, on emulated CUDA, is what it finds on the CPU."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.report.contents import contents
from tests.inspection.test_calibrate import NETWORKS, calibrated
from tests.inspection.test_compare_gradients import case
from tests.inspection.test_health import batch, net_of
from tests.inspection.test_page_files import small
from tests.inspection.test_record import ERRORS, FORWARD, spikes_for, step
from tools.emulator.driver import emulation
from tools.fake_cupy import strict

pytestmark = pytest.mark.all


def cnn():
    return cs.Network("6x6x2-3c3-2a-6", cs.SRM()), spikes_for((25, 2, 6, 6, 2))


def recorded(**asked):
    _, _, seen = step(*cnn(), **asked)
    return [getattr(record, name) for record in seen for name in FORWARD + ERRORS]


def explained():
    return [cs.explain(*cnn(), 3, (1, 2, 0), 20).contributions]


def compared():
    srm = cs.SRM(tau_sr=4.0)
    layers = (cs.Conv(2, 3, 3), srm, cs.SumPool(2, gain=11.0), srm, cs.Delay(3, dt=1.0), cs.Dense((2, 2, 3), 2), srm)
    _, found = case(*layers, srm=srm, x=(6, 5, 2), outputs=2, steps=30, perturbations=4)
    return [getattr(row, name) for row in found.rows for name in ("measured", "slayer", "exact")]


def healthy(neurons):
    net = net_of(30.0, 0.1, srm=neurons)
    found = cs.diagnose(net, [batch(net)])
    settings = [each.layer for each in found.advice]
    return [*(layer.rates for layer in found.layers), *(layer.error for layer in found.layers), settings]


def scaled(name):
    make, x = NETWORKS[name]
    net = make()
    found = calibrated(net, x[:40, :2])
    return [[row.factor for row in found.layers], *net.state().values()]


def page():
    net, x = small()
    found = contents(net, cs.Tensor(x).data, [1, 2], None)
    layers = [{name: value for name, value in layer.items() if name != "errors"} for layer in found["layers"]]
    back = cs.Recurrent(cs.Dense(4, 4), cs.LIF(tau=[3.0, 4.0, 5.0, 6.0]))
    runs = cs.Sequential(cs.Dense(60, 4), cs.BatchNorm(4), back, cs.ReadOut(4, 3, bias=True))
    with tempfile.TemporaryDirectory() as folder:
        live = [
            cs.write_demo(each, f"{folder}/a.html", recordings=(x, [1, 2])).read_text("utf-8") for each in (net, runs)
        ]
    return found["loss"], str((found["nodes"], layers, live))


LOOKS = {
    "record": lambda: recorded(layers=3),
    "record some": lambda: recorded(neurons=[0, 5], window=(5, 20)),
    "explain": explained,
    "compare": compared,
    "health": lambda: healthy(cs.SRM()),
    "health, Loihi": lambda: healthy(cs.Loihi()),
    "calibrate": lambda: scaled("skip"),
    "calibrate, Loihi": lambda: scaled("chip"),
    "page": page,
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_device_has_what_the_cpu_has(look):
    def looked(device):
        cs.use(device)
        cs.seed(1)
        return LOOKS[look]()

    here = looked("cpu")
    # The stand-in for CuPy has no indexing by arrays on both sides, which a selection needs.
    with emulation() if look == "record some" else strict():
        there = looked("cpu" if look == "record some" else "cuda")
    for a, b in zip(here, there, strict=True):
        if isinstance(a, str):
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * (1 + np.abs(a).max(initial=0)))
