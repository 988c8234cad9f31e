"""Stage 2 of benchmarks/gpu.py: the tests that run on a GPU, and drawn networks on it and on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
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
# Seconds that the process of the tests may need after its last test.
ENDING = 5.0
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
    """Run `pytest -m gpu`, the fastest tests first, as long as there is time."""
    needs_tests()
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "gpu_pytest", "-p", "no:cacheprovider"]
    paths = [str(ROOT), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Options of the tests around, such as processes, would change the order.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": ""}
    with tempfile.TemporaryDirectory() as folder:
        results, log = Path(folder) / "tests.jsonl", Path(folder) / "log"
        limit = [f"--gpu-results={results}", f"--gpu-seconds={max(run.left() - ENDING, 0.0)}"]
        with (
            log.open("w") as said,
            subprocess.Popen(
                [*command, *limit, *with_gpu_tests(ROOT / "tests")], cwd=ROOT, env=environment, stdout=said, stderr=said
            ) as process,
        ):
            while process.poll() is None and run.left() > 0:
                time.sleep(0.5)
                run.note(**summary(results))
            process.kill()
        run.note(**summary(results))
        if not run.found.get("collected"):
            lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
            raise RuntimeError(f"pytest ran no test: {lines[-1] if lines else f'ended with {process.returncode}'}")
    run.check("every test that ran has passed", not run.found["failed"], f"{run.found['failed']} failed")


def summary(results: Path) -> dict[str, Any]:
    """Return the counts of tests in the file of the plugin gpu_pytest, and the names of the first that failed."""
    lines = results.read_text("utf-8").splitlines() if results.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    outcomes: dict[str, str] = {}
    for row in rows:
        if "test" in row and outcomes.get(row["test"]) != "failed":
            outcomes[row["test"]] = row["outcome"]
    counts = {outcome: list(outcomes.values()).count(outcome) for outcome in ("passed", "failed", "skipped")}
    collected = next((row["collected"] for row in rows if "collected" in row), 0)
    failing = [name for name, outcome in outcomes.items() if outcome == "failed"]
    return {"collected": collected, "not_run": collected - len(outcomes), **counts, "failing": failing[:NAMED]}


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
