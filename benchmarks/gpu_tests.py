"""Stages of benchmarks/gpu.py: the tests that run on a GPU, and drawn networks on it and on the CPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gpu_stages import Run, Skipped

import cuslayer as cs
from cuslayer import backend

ROOT = Path(__file__).parents[1]
# Names of failing tests, and seeds of networks, that are saved.
NAMED = 20
# Of the largest gradient, in a type of numbers: the tolerance of tests/device/test_drawn_networks.py.
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}


def needs_tests() -> None:
    """Raise Skipped if the tests or pytest are missing."""
    if not (ROOT / "tests" / "device").is_dir():
        raise Skipped(f"no tests in {ROOT}")
    if find_spec("pytest") is None:
        raise Skipped("pytest is not installed: pip install '.[test]'")


def with_gpu_tests(folder: Path) -> list[str]:
    """Return the files in a folder that have tests for a GPU."""
    return [str(path) for path in sorted(folder.rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]


def tests(run: Run) -> None:
    """Run `pytest -m gpu`, the tests of kernels first, as long as there is time."""
    needs_tests()
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-vv", "-p", "no:cacheprovider", "-p", "no:xdist"]
    paths = sorted(with_gpu_tests(ROOT / "tests"), key=lambda path: f"{os.sep}kernels{os.sep}" not in path)
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, *paths], cwd=ROOT, env=os.environ | {"PYTEST_ADDOPTS": ""}, stdout=log, stderr=log
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(run.left(), 0.0))
        process.kill()
        process.wait()
        log.seek(0)
        said = log.read()
    outcomes = dict(re.findall(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)", said, re.MULTILINE))
    if not outcomes:
        raise RuntimeError(f"pytest ran no test: {(said.strip().splitlines() or [process.returncode])[-1]}")
    failing = [name for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    run.note(passed=list(outcomes.values()).count("PASSED"), failed=len(failing), failing=failing[:NAMED])
    run.check("every test that ran has passed", not failing, f"{len(failing)} failed")


def networks(run: Run) -> None:
    """Compare drawn networks on the GPU and the CPU: equal spikes, and gradients to rounding."""
    needs_tests()
    sys.path.append(str(ROOT))
    from tests.device.test_drawn_networks import drawn

    counts = {"compared": 0, "fired": 0, "equal_spikes": 0, "close_gradients": 0}
    differing: list[int] = []
    for seed in range(run.sizes.drawn):
        if run.left() < 0:
            break
        cs.use("cpu")
        net, x, dtype = drawn(seed)
        spikes, gradients = passes(net, x)
        cs.use("cuda")
        for p in net.parameters():
            p.data = backend.to_device(p.data)
        there, there_gradients = passes(net, x)
        pooled = any(isinstance(layer, cs.Pool) for layer in net.layers)
        least = TOLERANCE["float32" if pooled else dtype.name]
        equal = there.tobytes() == spikes.tobytes()
        close = all(_close(a, b, least) for a, b in zip(there_gradients, gradients, strict=True))
        new = {"compared": 1, "fired": spikes.any(), "equal_spikes": equal, "close_gradients": close}
        counts = {name: count + int(new[name]) for name, count in counts.items()}
        differing += [] if equal and close else [seed]
        run.note(**counts, differing=differing[:NAMED])
    cs.use("cuda")
    run.check("drawn networks have the CPU's spikes", counts["equal_spikes"] == counts["compared"])
    run.check("drawn networks have the CPU's gradients", counts["close_gradients"] == counts["compared"])


def passes(net: cs.Sequential, x: Any) -> tuple[Any, list[Any]]:
    """Return the spikes of a network and its gradients, after a forward and a backward pass, as NumPy arrays."""
    for p in net.parameters():
        p.grad = None
    spikes = net(x)
    drawn = np.random.default_rng(1).standard_normal(spikes.shape).astype(np.float32)
    spikes.backward(backend.to_device(drawn))
    return spikes.numpy(), [None if p.grad is None else backend.to_numpy(p.grad) for p in net.parameters()]


def _close(ours: Any, theirs: Any, least: float) -> bool:
    """Return whether a gradient differs from another by little of that one's largest element."""
    if ours is None or theirs is None:
        return ours is theirs
    return bool((np.abs(ours - theirs) <= least * max(np.abs(theirs).max(), 1e-30)).all()) if theirs.size else True
