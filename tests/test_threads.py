"""The number of threads: what a caller sets, then the environment, then the machine and its containers."""

import os
import subprocess
import sys
from threading import Barrier

import pytest

import cuslayer as cs
from cuslayer._base import parallel, threads

NAMES = threads.VARIABLES


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Eight cores, no variable, and nothing cached before or after a test."""

    def forget():
        threads._of_environment.cache_clear()
        threads._quota.cache_clear()

    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_PROCESS_GROUPS", threads._PROCESS_GROUPS.with_name("no such file"))
    monkeypatch.setattr(threads._Numbers, "sharing", 1)
    forget()
    yield
    forget()


def test_each_source_comes_before_the_next(monkeypatch):
    assert (cs.threads(), threads.thread_source()) == (8, "cores of this process")
    for number, name in enumerate(reversed(NAMES), start=3):
        monkeypatch.setenv(name, str(number))
        threads._of_environment.cache_clear()
        assert (cs.threads(), threads.thread_source()) == (number, name)
    with cs.threads(2):
        assert (cs.threads(), threads.thread_source()) == (2, "cs.threads")
        with cs.threads(12):  # more than there are cores
            assert cs.threads() == 12
        cs.threads("auto")
        assert cs.threads() == 5
    assert cs.threads() == 5


@pytest.mark.parametrize(
    ("name", "text", "number", "ignored"),
    [
        *(("OMP_NUM_THREADS", text, number, False) for text, number in (("3,2", 3), (" 2 ", 2), ("", 8))),
        *(("OMP_NUM_THREADS", text, 8, True) for text in ("0", "-1", "many", "2.5", "٣", "1" * 30, ",2")),
        ("NUMBA_NUM_THREADS", "3,2", 8, True),
        *(("PYTHON_CPU_COUNT", text, number, False) for text, number in (("default", 8), ("6", 6))),
    ],
)
def test_what_is_no_number_is_ignored_and_named(name, text, number, ignored, monkeypatch):
    monkeypatch.setenv(name, text)
    assert cs.threads() == number
    assert (f"; {name} ignored: no number from 1 to 4096" in threads.thread_source()) is ignored


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "1000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "9000000 100000"}, 8),
        ("0::/", {"cpu.max": "what 100000"}, 8),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/c", {"cpu,cpuacct/c/cpu.cfs_quota_us": "5", "cpu,cpuacct/c/cpu.cfs_period_us": "1"}, 5),
        ("4:cpuacct,cpu:/c", {"cpu/cpu.cfs_quota_us": "5\n", "cpu/cpu.cfs_period_us": "2\n"}, 3),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("9:cpuset:/", {"cpuset/cpu.cfs_quota_us": "1", "cpuset/cpu.cfs_period_us": "1"}, 8),
    ],
)
def test_the_quota_of_a_container(line, files, expected, tmp_path, monkeypatch):
    groups = tmp_path / "cgroup"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    (tmp_path / "own").write_bytes(f"no group\n12:pids:/\xff\n{line}\n".encode("latin-1"))
    monkeypatch.setattr(threads, "_PROCESS_GROUPS", tmp_path / "own")
    monkeypatch.setattr(threads, "_GROUPS", groups)
    assert cs.threads() == expected
    assert threads.thread_source().startswith("CPU quota of the container" if expected < 8 else "cores of this process")
    threads.share_quota(4)
    assert cs.threads() == max(1, -(-expected // 4)) if expected < 8 else 8


def test_what_is_refused():
    for number, error, message in [
        (0, ValueError, "threads: number must be at least 1, got 0"),
        (4097, ValueError, "threads: number must be at most 4096, got 4097"),
        ("all", ValueError, "threads: number must be one of auto, got 'all'"),
        (2.5, TypeError, "threads: number must be an integer, got float"),
    ]:
        with pytest.raises(error) as caught:
            cs.threads(number)
        assert str(caught.value) == message
    assert cs.threads() == 8


def test_kernels_run_in_as_many_threads():
    for number in (1, 3):
        with cs.threads(number):
            barrier = Barrier(number, timeout=20)
            parallel.parallel_for(lambda first, last, barrier=barrier: barrier.wait(), number, grain=1)


def run(program, **variables):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout


def test_a_process_without_numbas_compiler_has_the_same_bits():
    """NUMBA_DISABLE_JIT turns off the compiler for Numba's decorators, not for the kernels here."""
    program = """
import numpy as np, cuslayer as cs
cs.seed(0)
net = cs.Network("12-5-3", cs.LIF())
x = np.random.default_rng(0).random((20, 4, 12)) < 0.3
cs.SpikeCountLoss(net[1], true=5, false=1)(net(x), np.arange(4) % 3).backward()
print(cs.threads(), *(p.grad.tobytes().hex() for p in net.parameters()))
"""
    one, *first = run(program, OMP_NUM_THREADS="1").split()
    three, *second = run(program, OMP_NUM_THREADS="3", NUMBA_DISABLE_JIT="1").split()
    assert (one, three) == ("1", "3")
    assert first == second


def test_a_kernel_compiles_without_numbas_compiler(tmp_path):
    """No kernel is in the cache yet; its type inference decorates functions of Numba."""
    program = """
import numpy as np, cuslayer as cs
print(cs.functions.shift(np.ones((5, 1, 2), np.float32), delay=[0.5, 1.0]).data.sum())
"""
    assert run(program, NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(tmp_path)) == "9.0\n"
