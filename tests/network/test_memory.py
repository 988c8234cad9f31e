"""Errors of memory name the layer, what it needs, and a batch that would fit."""

import re
import subprocess
import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels.host import memory
from cuslayer.network import shapes
from cuslayer.network.shapes import LayerMemoryError
from cuslayer.training import Trainer
from tests.support.refused import raises
from tools import fake_cupy

pytestmark = pytest.mark.all

SRM = cs.SRM()
GIGABYTE = 10**9


class Full:
    """A stage without memory."""

    def __call__(self, x):
        raise MemoryError("Unable to allocate 9 TiB")


@pytest.fixture
def free(monkeypatch):
    """Return a function that sets the bytes that are free."""

    def setting(size):
        for module in (memory, shapes):
            monkeypatch.setattr(module, "available_memory", lambda: size)
        monkeypatch.setattr(shapes, "held_memory", lambda: 0)

    return setting


def test_a_layer_is_named_with_what_it_needs(free, monkeypatch):
    free(30_000_000)
    net = cs.Network("8x8x2-64c3-10", SRM)
    x = np.zeros((300, 8, 8, 8, 2), bool)
    monkeypatch.setattr(memory, "_LARGE", 1 << 20)
    monkeypatch.setattr(memory, "_pool", memory.MemoryPool())
    message = r"^network: layer 0, Conv\(2, 64, \(3, 3\).*\), needs 49\.2 MB for potentials and spikes; 30 MB are free"
    with pytest.raises(LayerMemoryError, match=message) as raised:
        net(x)
    assert re.search(r"30 MB are free: a batch of [12] would fit$", str(raised.value))


def test_a_stage_of_the_user_and_nested_networks(free):
    free(GIGABYTE)
    net = cs.Sequential(cs.Dense(3, 4), SRM, cs.Sequential(cs.Dense(4, 4), SRM, Full()))
    message = r"^network: layer 2\.2, Full, does not fit into memory; 1 GB are free: a batch"
    raises(message, lambda: net(np.zeros((20, 4, 3), bool)), LayerMemoryError)


def test_what_does_not_fit_at_all(free):
    net = cs.Sequential(cs.Dense(3, 4), SRM, Full())
    for size, advice in (
        (1000, r"1 kB are free: a batch of 1 needs about \S+ kB; take fewer steps or smaller layers$"),
        (None, r"; a smaller batch needs less$"),
    ):
        free(size)
        raises(advice, lambda: net(np.zeros((200, 4, 3), bool)), LayerMemoryError)


def test_without_gradients_a_larger_batch_would_fit(free):
    """Then only the largest output is held, not the outputs of all stages."""
    free(25_000)
    net, x = cs.Sequential(cs.Dense(3, 4), SRM, Full()), np.zeros((200, 4, 3), bool)
    raises("are free: a batch of 1 would fit$", lambda: net(x), LayerMemoryError)
    with cs.no_grad():
        raises("are free: a batch of 2 would fit$", lambda: net(x), LayerMemoryError)


def test_gradients_that_do_not_fit(free):
    free(100_000)
    net = cs.Sequential(cs.Dense(3, 4), SRM)

    class Loss(cs.Tensor):
        def backward(self, *arguments):
            raise MemoryError

    trainer = Trainer(net, lambda spikes, target: Loss(1.0), cs.SGD(net.parameters()), calibrate=None)
    message = r"^train: the gradients of a batch of 8 do not fit into memory; 100 kB are free: a batch of 3 would fit$"
    raises(message, lambda: trainer.train([(np.ones((400, 8, 3), bool), np.zeros(8, int))]), LayerMemoryError)


def test_a_block_that_cannot_be_had_is_not_in_use(free, monkeypatch):
    pool = memory.MemoryPool()
    monkeypatch.setattr(memory, "_LARGE", 1 << 20)
    free(1 << 21)
    raises(r"^an array needs 4\.19 MB, 2\.1 MB are free$", lambda: pool.take(1 << 22), MemoryError)
    assert (pool.in_use, pool.peak, pool.blocks) == (0, 0, [])
    free(None)
    for size in (1 << 62, 1 << 80):
        with pytest.raises(MemoryError, match=r"^an array needs \S+ PB, which the system does not have$"):
            pool.take(size)
    pool.take(1 << 20)
    assert pool.in_use == 1 << 20


def test_a_gpu_without_memory():
    with fake_cupy.in_use(memory=8_000_000):
        net = cs.Network("400-2000-10", SRM)
        with pytest.raises(LayerMemoryError, match=r"^network: layer 0, Dense\(400, 2000\), needs 20 MB .*batch of \d"):
            net(np.zeros((20, 100, 400), bool))


def test_the_least_limit_counts(tmp_path, monkeypatch):
    info, limit, used, details = (tmp_path / name for name in ("info", "limit", "used", "details"))
    info.write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\nSwapFree: 1000 kB\n")
    limit.write_text("max\n")
    monkeypatch.setattr(memory, "_MEMORY", info)
    monkeypatch.setattr(memory, "_GROUPS", ((limit, used, details),))
    monkeypatch.setattr(memory, "_of_process", lambda: None)
    assert memory.available_memory() == 3000 * 1024
    limit.write_text("1000000\n")
    used.write_text("700000\n")
    details.write_text("anon 5\ninactive_file 50000\n")
    assert memory.available_memory() == 350_000
    used.write_text("2000000\n")
    assert memory.available_memory() == 0
    info.write_text("nothing")
    limit.unlink()
    assert memory.available_memory() is None


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process as Linux has them")
def test_the_limit_of_a_process():
    code = """
import resource
import numpy as np
import cuslayer as cs
from cuslayer.kernels.host.memory import available_memory
net = cs.Network("100-4000-10", cs.SRM())
net(np.zeros((2, 1, 100), bool))
with open("/proc/self/statm") as file:
    own = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (own + (400 << 20), own + (400 << 20)))
print(available_memory() <= 400 << 20)
try:
    net(np.zeros((1000, 64, 100), bool))
except MemoryError as problem:
    print(problem)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = done.stdout.splitlines()
    assert found[0] == "True"
    assert re.match(
        r"network: layer 0, Dense\(100, 4000\), needs 1\.28 GB for .*MB are free: a batch of \d+ would fit", found[1]
    )
