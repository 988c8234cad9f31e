"""What a launch costs: the calls of Python until a kernel runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuslayer.kernels import TOPICS, gpu
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.cuda import launch
from cuslayer.kernels.sampled_srm.constants import SampledSpiking
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.neurons.adaptive_lif import AdaptiveLIF
from cuslayer.neurons.lif import LIF
from cuslayer.neurons.loihi import Loihi
from cuslayer.neurons.resonate_and_fire import ResonateAndFire
from cuslayer.neurons.sigma_delta import SigmaDelta
from tests.kernels.test_launch import SINGLE
from tests.support.counted import calls
from tests.support.recorder import Recorder


def launches(monkeypatch: pytest.MonkeyPatch, rate: float) -> dict[str, dict[str, Any]]:
    """Return the arguments that each launcher of `kernels.gpu` passes, by the kernel's name."""
    passed: dict[str, dict[str, Any]] = {}

    class Kept:
        def __init__(self, name: str, dtype: Any) -> None:
            self.name = name

        def __call__(self, threads: int, /, **arguments: Any) -> None:
            passed[self.name] = arguments

        def launch(self, grid: Any, block: Any, shared: int = 0, /, **arguments: Any) -> None:
            passed[self.name] = arguments

    for module in (launch, *(getattr(gpu, topic) for topic in TOPICS)):
        monkeypatch.setattr(module, "kernel", Kept, raising=False)
    monkeypatch.setattr(source, "library", source.Library(Recorder()))
    x, s = np.zeros((300, 4), np.float32), np.zeros((300, 4), bool)
    response, spiking = Alpha(1, 10, 1, 0.01), Spiking(10.0, Alpha(-20, 1, 1, 0.01), 10.0, 0.1)
    for run in (gpu.response.psp, gpu.response.psp_adjoint):
        run(x, response)
    for run in (gpu.response.fir, gpu.response.fir_adjoint):
        run(x, np.ones(5))
    for run, given in ((gpu.response.shift, x), (gpu.response.shift_spikes, s)):
        run(given, np.zeros(4, np.int64))
    gpu.srm.spike(x, spiking)
    gpu.srm.neuron(x, response, spiking)
    gpu.loihi.forward(x, Loihi().constants)
    sampled = SampledSpiking(10.0, np.array([0.0, -20.0, -5.0]), 10.0, 0.1)
    gpu.sampled_srm.sampled_spike(x, sampled)
    gpu.sampled_srm.sampled_spike_adjoint_exact(x, x, sampled)
    for run in (gpu.srm.spike_adjoint, gpu.srm.spike_adjoint_exact):
        run(x, x, spiking)
    for run in (gpu.srm.neuron_adjoint, gpu.srm.neuron_adjoint_exact):
        run(x, x, response, spiking)
    for run in (gpu.surrogate.adjoint, gpu.surrogate.adjoint_exact):
        run(x, x, spiking)
    lif, keep = LIF(trained=True).spiking, np.ones(1, np.float32)
    alif, shares = AdaptiveLIF().spiking, (keep, keep, keep, keep)
    gpu.adaptive.adjoint(x, *gpu.adaptive.forward(x, shares, alif, None, True)[::2], x, shares, alif)
    resonant = ResonateAndFire().spiking
    gpu.resonate.adjoint(x, *gpu.resonate.forward(x, keep, keep, resonant, None, True)[::2], keep, keep, resonant)
    sender = SigmaDelta().spiking
    gpu.sigma_delta.adjoint(x, *gpu.sigma_delta.forward(x, sender)[::2], sender)
    gpu.leaky.forward(x, keep, keep, lif)
    gpu.leaky.adjoint(x, x, keep, keep, lif)
    gpu.leaky.keep_adjoint(x, x, keep, keep, lif)
    delay, w = np.zeros(4, np.int64), np.ones((2, 5), np.float32)
    gpu.delay.delay_steps(x[0], (4,), 1.0, 301)
    gpu.delay.shift_linear(x, delay, x[0], x[1])
    gpu.delay.shift_delay_adjoint(x, x, delay)
    gpu.filter_bank.forward(x, w)
    gpu.filter_bank.adjoint(x, w)
    gpu.filter_bank.weight_adjoint(x[:, :2], x, w.shape)
    counted = x.reshape(300, 2, 2)
    with np.errstate(all="ignore"):  # no kernel has written what is summed
        for form in (counted, counted > 0, PackedSpikes(np.zeros((600, 1, 1), np.uint32), counted.shape, 2)):
            gpu.spike_count.error(form, DESIRED, (5, 200), response, 1.0, False)
        gpu.score.add(TOTALS, form, np.zeros(2, np.int64), SCALAR, 1.0)
    gpu.score.add_squares(TOTALS, [x, x])
    gpu.optim.sgd_all(
        [x, x], [x, x], [x, x], DESIRED, x[:4].reshape(2, 2, 4), np.zeros(2, np.int64), np.zeros((2, 2), np.int64)
    )
    gpu.optim.adam_all(
        [x], [x], [x], [x], [x], DESIRED, x[:4].reshape(2, 2, 4), np.zeros(2, np.int64), np.zeros((2, 2), np.int64)
    )
    gpu.spike_count.error_adjoint(counted, SCALAR, response)
    gpu.optim.sgd(x, x, x, rate, MOMENTUM, 0.0)
    gpu.optim.adam(x, x, x, x, x, betas=BETAS, rate_m=rate, rate_g=0.0, scale_v=1 + rate, eps=EPS, decay=0.0)
    return passed


MOMENTUM, BETAS, EPS = 0.9, (0.9, 0.999), 1e-8
# The topics whose launchers run above; all kernels bind their arguments alike.
OVER_TIME = ("response", "srm", "loihi", "sampled_srm", "delay", "filter_bank", "optim")
TOTALS = np.zeros(7)
DESIRED, SCALAR = np.ones((2, 2), np.float32), np.array(1, np.float32)


@pytest.mark.parametrize(
    "name", [name for name, topic in source.kernel_names().items() if topic in OVER_TIME and not name.endswith("_all")]
)
def test_a_launch_costs_few_calls(
    name: str, monkeypatch: pytest.MonkeyPatch, library: source.Library, driver: Recorder
) -> None:
    """Finding the kernel and binding its arguments, as they come from a launcher at one step and at the next.

    Twelve calls for the launch, four for each array (its type, and its device, which takes three), one for each number,
    and two more for each that is not what it was. Numbers that come again are not made again.
    """
    first, then = (launches(monkeypatch, rate)[name] for rate in (0.01, 0.02))
    kernel = library.kernel(name, SINGLE)
    for arguments in (first, then, first):
        kernel(1, **arguments)
    found = calls(lambda: library.kernel(name, SINGLE)(1, **then))
    arrays = [parameter.array for parameter in kernel.parameters]
    numbers = [parameter.name for parameter in kernel.parameters if not parameter.array]
    same = [first[number] is then[number] or first[number] == then[number] for number in numbers]
    assert found <= 12 + 4 * sum(arrays) + len(same) + 2 * same.count(False)
    library.kernel(name, SINGLE)(1, **then)
    bound = [[x for x, array in zip(launch[3], arrays, strict=True) if not array] for launch in driver.launches[-2:]]
    assert all(a is b for a, b in zip(*bound, strict=True))
