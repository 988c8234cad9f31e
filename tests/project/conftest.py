"""What these tests share: a folder with a run and recordings, the scripts of benchmarks/, and the distributions."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cuslayer as cs
from cuslayer.data import Digits, write_events
from cuslayer.training import Config, Stats
from cuslayer.training.checkpoint import Checkpoint
from cuslayer.training.run_folder import FIGURES
from cuslayer.training.stats import EpochStats
from tests.support.tiny import write_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with runs/1, whose network is not trained, and with recordings."""
    monkeypatch.chdir(tmp_path)
    config = Config(epochs=1, seed=1)
    cs.seed(1)
    net = config.network()
    run = tmp_path / "runs" / "1"
    run.mkdir(parents=True)
    for name in ("checkpoint.npz", "best.npz"):
        Checkpoint.of(1, net, config.make_optimizer(net.parameters())).save(run / name)
    (run / "config.yaml").write_text(config.to_yaml())
    Stats([EpochStats(1, 2.0, 0.5, 1.5, 0.75, 3.0)]).save(run / "metrics.csv")
    for name in FIGURES:
        (run / name).touch()
    write_folder(tmp_path / "recordings", duration=300.0)
    write_events(tmp_path / "recordings" / "1.bs2", Digits("test")[0][0])
    return tmp_path


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(ROOT / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="session")
def builds(tmp_path_factory):
    """Build the distributions twice, in two folders, from copies whose files have other times and rights."""
    found = []
    for number, mask in enumerate((0o022, 0o077)):
        folder = tmp_path_factory.mktemp(f"build{number}")
        source = folder / "source"
        for part in ("cuslayer", "tests/support", "tools", "docs", "examples", ".ci", ".github"):
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        for path in ROOT.iterdir():
            if path.is_file() and path.name != ".git":
                shutil.copy(path, source)
        for path in source.rglob("*"):
            os.utime(path, (1e9 + number, 1e9 + number))
            path.chmod(path.stat().st_mode & ~mask)
        (source / "cuslayer" / "__pycache__").mkdir()
        (source / "cuslayer" / "__pycache__" / f"{number}.pyc").touch()
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True)
        (wheel,), (sources,) = ((folder / "dist").glob(f"*{end}") for end in (".whl", ".tar.gz"))
        found.append({"folder": source, "wheel": wheel, "sources": sources})
    return found
