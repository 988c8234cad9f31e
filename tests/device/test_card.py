"""`pytest -m gpu`: the tests of twins, operations and training, as they stand, on a CUDA device.

Their functions are collected here a second time. They ask of the device what they ask of the emulator: forward the bits
of the CPU, backward the rounding of exp. Where there is no device, CUSLAYER_STAND_IN=1 has them run on the stand-in
of tools/fake_cupy/.
"""

import os
import re
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from cuslayer import backend
from cuslayer.kernels import gpu
from cuslayer.kernels.cuda import compile as source
from tests.device import test_emulated_networks
from tests.layers import (
    test_conv,
    test_delay,
    test_dense,
    test_filter_bank,
    test_fused,
    test_layers,
    test_linear,
    test_pool,
)
from tests.loss import test_losses
from tests.neurons import test_response, test_srm
from tests.optim import test_optimizers
from tests.support.device_bridge import Bridge, Topic, bridged, watched
from tests.training import test_trainer
from tools.fake_cupy import strict

STAND_IN = os.environ.get("CUSLAYER_STAND_IN") == "1"
if backend._driver_problem() and not STAND_IN:
    pytest.skip(f"no CUDA device: {backend._driver_problem()}", allow_module_level=True)

# Every file of tests of twins.
KERNELS = Path(__file__).parents[1] / "kernels"
TWINS = [import_module(f"tests.kernels.{path.stem}") for path in sorted(KERNELS.glob("test_twins*.py"))]
MODULES = (
    *TWINS,
    *(test_response, test_srm, test_dense, test_conv, test_fused, test_linear, test_pool),
    *(test_delay, test_filter_bank),
    *(test_layers, test_losses, test_optimizers, test_emulated_networks, test_trainer),
)

# Tests of the host: of arguments and modules that are returned or refused as they are, which the bridge copies, and of
# what a block has with an H100's shared memory.
OF_THE_HOST = (
    *("test_synapse_input", "test_with_neurons_fills_what_is_missing"),
    "test_an_array_that_does_not_fit_is_refused_by_its_name",
)
# Modules of functions that launch kernels.
LAUNCHERS = re.compile(r"cuslayer\.kernels\.\w+\.(gpu\w*|tap_sums)")

pytestmark = pytest.mark.gpu


def _of_the_cpu(test):
    return any(mark.name == "cpu_only" for mark in getattr(test, "pytestmark", ()))


for _module in MODULES:
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and _name not in OF_THE_HOST and not _of_the_cpu(_test):
            globals()[f"{_module.__name__.split('.')[-1]}_{_name.removeprefix('test_')}"] = _test


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    """NumPy arrays go through the device, wherever the test sends them through the emulator or the CPU."""
    for module in TWINS:
        if hasattr(module, "emulation"):
            monkeypatch.setattr(module, "emulation", lambda *_, **__: nullcontext())
        for name, launchers in list(vars(module).items()):
            if launchers is gpu:
                monkeypatch.setattr(module, name, Bridge())
            elif isinstance(launchers, ModuleType) and LAUNCHERS.fullmatch(launchers.__name__):
                monkeypatch.setattr(module, name, Topic(launchers))
    # As in test_twins: two blocks at most, so that larger arrays take several passes of the grid.
    monkeypatch.setattr(source, "_MOST_BLOCKS", 2)
    with strict() if STAND_IN else nullcontext(), watched() as running, bridged():
        yield running


@pytest.fixture
def emulator(driver):
    return driver


@pytest.fixture
def emulated(driver):
    return driver
