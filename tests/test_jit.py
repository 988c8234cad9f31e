"""Compiled loops: the cache on disk, and the parts in which loops run on every core."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._base import jit, parallel
from tests.test_kernel_cache import SOURCE

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[1]
LOOP = """
from typing import NamedTuple
from cuslayer._base.jit import compiled

class {name}(NamedTuple):
    gain: float

@compiled
def scaled(x, constants):
    return constants.gain * x

print(scaled(3.0, {name}(2.0)), len(scaled.stats.cache_hits))
"""


def run(folder, name):
    (folder / "loop.py").write_text(LOOP.format(name=name))
    os.utime(folder / "loop.py", (1e9, 1e9))  # as an installer may set it, so that the file seems the same
    command = [sys.executable, "-B", "-c", "import loop"]
    path = os.pathsep.join([str(ROOT), str(folder)])
    found = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    return found.stdout.split(), found.stderr[-500:]


def test_a_kernel_is_compiled_anew_when_any_source_has_changed(tmp_path):
    """A kernel has inlined the functions of other files, whose changes Numba does not see."""
    found = []
    for stamp in ("a", "a", "b"):
        (tmp_path / "inlined.py").write_text(SOURCE.replace('"a"', f'"{stamp}"'))
        os.utime(tmp_path / "inlined.py", (1e9, 1e9))
        path = os.pathsep.join([str(ROOT), str(tmp_path)])
        command = [sys.executable, "-B", "-c", "import inlined"]
        run = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        found.append(run.stdout.split())
    assert found == [["6.0", "0"], ["6.0", "1"], ["6.0", "0"]]


def test_the_stamp_covers_each_file_with_compiled_functions(monkeypatch, tmp_path):
    package = Path(jit.__file__).parents[1]
    compiles = re.compile(r"@compiled|@inlined|[^_](compiled|inlined)\(|address_of|n?jit\(")
    files = [file for file in package.rglob("*.py") if compiles.search(file.read_text())]
    assert len(files) > 30
    assert set(files) <= set(jit._sources())
    (tmp_path / "cpu.py").write_text("a")
    monkeypatch.setattr(jit, "_sources", lambda: [tmp_path / "cpu.py"])
    before = jit._stamp.__wrapped__()
    (tmp_path / "cpu.py").write_text("b")  # of the same size
    assert jit._stamp.__wrapped__() != before


def test_a_cache_of_another_version_is_compiled_anew(tmp_path):
    """Numba's index names the classes of arguments: where one is gone, the kept code is of no use."""
    assert run(tmp_path, "First") == (["6.0", "0"], "")
    assert run(tmp_path, "First") == (["6.0", "1"], "")
    assert run(tmp_path, "Other") == (["6.0", "0"], "")
    assert run(tmp_path, "Other") == (["6.0", "1"], "")


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
@pytest.mark.parametrize(("size", "grain"), [(0, 4), (1, 4), (4, 4), (5, 1), (1000, 7), (129, 128)])
def test_parts_cover_the_range_once_in_whole_grains(cores, size, grain):
    cs.threads(cores)
    counts, parts = np.zeros(size, int), []

    def kernel(first, last):
        counts[first:last] += 1
        parts.append((first, last))

    parallel.parallel_for(kernel, size, grain=grain)
    assert (counts == 1).all()
    assert all(first % grain == 0 and (last % grain == 0 or last == size) for first, last in parts)


def test_the_last_parts_are_small():
    """All threads end at about the same time, and small parts are few."""
    for grains, threads in [(16, 2), (128, 2), (2550, 2), (2550, 64), (3, 8)]:
        sizes = [last - first for first, last in parallel._shares(grains, 1, threads)]
        assert sum(sizes) == grains
        assert sizes == sorted(sizes, reverse=True) or sizes[:-1] == sorted(sizes[:-1], reverse=True)
        assert sizes[-1] <= max(1, grains / (6 * threads))
        assert sizes[0] <= max(1, 2 * grains / (3 * threads))
        assert len(sizes) <= 7 * threads


def test_each_thread_has_memory_of_its_own():
    for cores in (1, 3):
        cs.threads(cores)
        begun, used = [], []

        def memory(begun=begun):
            begun.append(object())
            return (begun[-1],)

        def kernel(first, last, own, used=used):
            used.append((own, threading.get_ident()))

        parallel.parallel_for(kernel, 64, grain=1, memory=memory)
        assert len(begun) == cores
        assert len(set(used)) == len({own for own, _ in used}) == len({thread for _, thread in used})


def test_an_error_of_any_part_is_raised():
    cs.threads(2)

    def kernel(first, last):
        if last == 64:
            raise ValueError("the last part")

    with pytest.raises(ValueError, match="the last part"):
        parallel.parallel_for(kernel, 64, grain=1)


def test_a_thread_without_work_keeps_no_array():
    cs.threads(2)
    x = np.zeros(1000)
    ended = weakref.ref(x)
    parallel.parallel_for(lambda first, last, x: None, 64, x, grain=1)
    del x
    assert ended() is None


def test_callers_in_several_threads():
    """Each waits for its own parts, also where the threads serve the parts of another."""
    cs.threads(2)
    sums = np.zeros((4, 200))

    def call(row):
        def kernel(first, last):
            time.sleep(0.0001 * (last % 3))
            sums[row, first:last] += row

        for _ in range(5):
            parallel.parallel_for(kernel, 200, grain=50)
        return sums[row].copy()

    with ThreadPoolExecutor(4) as callers:
        for row, total in enumerate(callers.map(call, range(4))):
            assert (total == 5 * row).all()
