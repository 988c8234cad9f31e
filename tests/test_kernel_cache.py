"""Damaged files of compiled kernels: the kernel is compiled anew, and the file is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuslayer._base import jit
from cuslayer._base.kernel_cache import CheckedCacheFile

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[1]
SOURCE = """
from cuslayer._base import jit

jit._stamp = lambda: "a"

@jit.compiled
def doubled(x):
    return 2.0 * x

print(doubled(3.0), sum(doubled.stats.cache_hits.values()))
"""


@pytest.fixture
def run(tmp_path):
    """Run a module with one kernel in a new process; return what the kernel gives, and the hits of the cache."""
    (tmp_path / "doubled.py").write_text(SOURCE)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])

    def run():
        environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, "-c", "import doubled"], env=environment, capture_output=True, text=True)
        return done.stdout.split(), done.stderr[-300:]

    return run


def files(folder, suffix):
    return [path for path in folder.rglob(f"*{suffix}") if path.name.startswith("doubled")]


def test_a_truncated_or_changed_file_is_replaced(run, tmp_path):
    assert run() == (["6.0", "0"], "")
    for suffix, change in ((".nbi", changed), (".nbc", lambda raw: raw[: len(raw) // 2])):
        (file,) = files(tmp_path / "cache", suffix)
        file.write_bytes(change(file.read_bytes()))
        assert run() == (["6.0", "0"], ""), suffix
    assert run() == (["6.0", "1"], "")


def changed(raw):
    """Return raw with one bit flipped in its middle."""
    place = len(raw) // 2
    return raw[:place] + bytes([raw[place] ^ 16]) + raw[place + 1 :]


def cache_of(tmp_path):
    """Return the cache of a kernel in an empty folder."""

    @jit.compiled
    def halved(x):
        return x / 2

    own = halved._cache._cache_file
    own._cache_path, own._index_path = str(tmp_path), str(tmp_path / "halved.nbi")
    return own


def test_any_changed_byte_is_noticed(tmp_path):
    own = cache_of(tmp_path)
    assert isinstance(own, CheckedCacheFile)
    own.save("key", [1, 2, 3])
    assert own.load("key") == [1, 2, 3]
    assert own.load("other") is None
    for path in tmp_path.iterdir():
        raw = path.read_bytes()
        for place in range(0, len(raw), 5):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ 16]) + raw[place + 1 :])
            assert own.load("key") is None
            path.write_bytes(raw[:place])
            assert own.load("key") is None
        path.write_bytes(raw)
    assert own.load("key") == [1, 2, 3]


def test_the_file_of_another_kernel_is_not_used(tmp_path):
    """Two processes that compile at the same time may choose the same name."""
    own = cache_of(tmp_path)
    own.save("one", 1)
    own.save("two", 2)
    one, two = sorted(tmp_path.glob("*.nbc"))
    one.write_bytes(two.read_bytes())
    assert (own.load("one"), own.load("two")) == (None, 2)


def test_without_room_a_kernel_runs_and_is_not_kept(tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    @jit.compiled
    def halved(x):
        return x / 2

    monkeypatch.setattr(halved._cache._impl.locator, "ensure_cache_path", full)
    assert halved(3.0) == 1.5
