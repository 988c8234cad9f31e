"""Processes that compile kernels for another: the list of kernels, who compiles what, and what they run."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from threading import Event, Thread

import pytest

from cuslayer._base.compiling import compilers
from cuslayer._base.compiling import notice as notice_module
from cuslayer._base.compiling.needed_kernels import content_of, networks_of, usual_networks

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[1]
# A network learns a batch; the process says how many kernels it compiled, and how many others did.
PROGRAM = """
import numpy as np
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__module__)
    def on_end(self, event):
        pass
event.register("numba:compile", Listener())
import cuslayer as cs
cs.seed(0)
net = cs.Network("6-5-2", cs.SRM())
trainer = cs.Trainer(net, cs.SpikeCountLoss(net[-1], true=9, false=2), cs.SGD(net.parameters(), lr=0.1))
x = np.random.default_rng(0).random((40, 4, 6)) < 0.3
trainer.train([(x, np.arange(4) % 2)] * 2)
own = sum(module.startswith("cuslayer.kernels") for module in compiled)
from cuslayer._base.compiling import compilers
print(own, len(compilers._team().ended), float(net[0].weight.data.sum()).hex())
"""


def run(program, cache, **variables):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(cache), "CUSLAYER_DEVICE": "cpu"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)


def test_another_process_compiles_a_part_and_bits_stay(tmp_path):
    ended = run(PROGRAM, tmp_path / "two", CUSLAYER_COMPILERS="1")
    own, expected, bits = ended.stdout.split()
    assert "compiling CPU kernels (once)\n" in ended.stderr
    again = run(PROGRAM, tmp_path / "two", CUSLAYER_COMPILERS="0")
    assert again.stdout.split() == ["0", "0", bits]
    assert "compiling" not in again.stderr
    alone = run(PROGRAM, tmp_path / "one", CUSLAYER_COMPILERS="0").stdout.split()
    assert (alone[1], alone[2]) == ("0", bits)
    assert int(expected) > 8
    assert int(own) <= int(alone[0]) - 5


def test_a_compiler_runs_no_file_of_the_callers_folder(tmp_path, monkeypatch):
    (tmp_path / "numba.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with compilers._Compiler() as compiler:
        assert compiler.ready
    assert os.listdir(tmp_path) == ["numba.py"]


def test_the_list_has_kernels_of_today():
    """Each exists, takes as many arguments, and its named tuples have as many fields."""
    networks = usual_networks()
    kernels = {kernel for network in networks for kernel in network.kernels}
    assert len(networks) > 8
    assert len(kernels) > 30
    for kernel in kernels:
        module, name = kernel.kernel.split(":")
        function = getattr(import_module(module), name).py_func
        assert len(inspect.signature(function).parameters) == len(kernel.arguments), kernel.kernel
        waiting = list(kernel.arguments)
        while waiting:
            kind = waiting.pop()
            waiting += list(getattr(kind, "types", ()))
            if hasattr(kind, "instance_class"):
                assert len(kind.instance_class._fields) == len(kind.types), kind
    assert networks_of(json.loads(json.dumps(content_of(networks)))) == networks


@pytest.mark.parametrize("name", ["dense SRM", "recurrent read-out", "normalized"])
def test_the_list_has_what_a_network_calls(name):
    """When it fails: python -m tools.needed_kernels."""
    command = [sys.executable, "-m", "tools.needed_kernels", "--record", name]
    text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    network = networks_of(json.loads(text))[0]
    listed = next(listed for listed in usual_networks() if listed.steps == network.steps)
    assert network.kernels.keys() <= listed.kernels.keys()
    assert len(network.kernels) > 10


class Idle:
    """A compiler that compiles when it is told to."""

    def __init__(self, ready=True, error=None):
        self.ready, self.error = ready, error
        self.began, self.may_end = Event(), Event()
        self.kernels = []

    def __call__(self):
        return self

    def __enter__(self):
        if self.error:
            raise self.error
        return self

    def __exit__(self, *_):
        pass

    def compile(self, kernel):
        self.kernels.append(kernel)
        self.began.set()
        assert self.may_end.wait(60)


class Kernel(str):
    """A kernel that notes who compiled it."""

    compiled = False

    def compile(self):
        self.compiled = True


@pytest.fixture
def kernels(monkeypatch):
    """Three kernels of which the second takes longest; one process."""
    kernels = [Kernel(name) for name in ("first", "long", "short")]
    seconds = dict(zip(kernels, (2.0, 9.0, 1.0), strict=True))
    monkeypatch.setattr(compilers, "kernels_for", lambda steps: seconds)
    return kernels


def test_a_process_that_waits_compiles_another_kernel(kernels, monkeypatch):
    first, long, short = kernels
    compiler = Idle()
    monkeypatch.setattr(compilers, "_Compiler", compiler)
    team = compilers._Team()
    team.wait_for(first, 1)
    assert compiler.began.wait(60)
    assert compiler.kernels == [long]
    waiting = Thread(target=team.wait_for, args=(long, 1))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert short.compiled
    compiler.may_end.set()
    waiting.join(60)
    assert not waiting.is_alive()
    assert not first.compiled
    assert not long.compiled


@pytest.mark.parametrize("compiler", [Idle(ready=False), Idle(error=OSError("no processes"))])
def test_without_a_process_nobody_waits(kernels, monkeypatch, compiler):
    monkeypatch.setattr(compilers, "_Compiler", compiler)
    team = compilers._Team()
    for kernel in kernels:
        team.wait_for(kernel, 1)
    assert not compiler.kernels


def test_a_process_that_ends_leaves_its_kernel(monkeypatch, kernels):
    program = "import sys; print('ready', flush=True); sys.stdin.readline()"
    monkeypatch.setattr(compilers, "_PROGRAM", program)
    monkeypatch.setattr(compilers, "_request", lambda kernel: "any\n")
    team = compilers._Team()
    for kernel in kernels:
        team.wait_for(kernel, 1)


def test_the_notice_comes_once_and_after_a_while(capsys, monkeypatch):
    notice = notice_module._Notice()
    for _ in range(3):  # too short for a word
        notice.begin()
        notice.end()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(notice_module, "_QUIET", 0.0)
    for _ in range(2):
        notice.begin()
        notice.timer.join()
        notice.end()
    assert capsys.readouterr().err == "compiling CPU kernels (once)\n"
    assert notice.count == 5


def test_the_notice_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(notice_module, "_QUIET", 0.0)
    monkeypatch.setattr(notice_module, "_IDLE", 0.0)
    monkeypatch.setattr(notice_module, "kernels_left", lambda: 3)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    notice = notice_module._Notice()
    notice.count = 2
    notice.begin()
    notice.timer.join()
    assert notice.bar is not None
    text = capsys.readouterr().err
    assert "compiling CPU kernels (once)" in text
    assert "2/6" in text
    notice.end()
    notice.timer.join()
    assert notice.bar is None
