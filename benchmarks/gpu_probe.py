"""Stage 1 of benchmarks/gpu.py: whether the GPU computes at all, and the CPU's bits over a long silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gpu_stages import Run

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels import cpu, gpu

# The columns of the silence, and the steps with input before it.
COLUMNS, BUSY = 512, 50


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of some work, and its seconds on the host."""
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def probe(run: Run) -> None:
    """Compile a kernel, multiply two matrices, and compare a neuron's potentials and spikes with the CPU's."""
    x, srm = silence(run.sizes.silence), cs.SRM()
    there = backend.to_device(x)
    numbers = np.arange(64 * 64).reshape(64, 64) % 7
    matrix = backend.to_device(numbers.astype(np.float32))
    product, seconds = _timed(lambda: backend.to_numpy(matrix @ matrix))
    run.note(product_seconds=seconds)
    run.check("a product of matrices", np.array_equal(product, numbers @ numbers))
    _, seconds = _timed(lambda: gpu.srm.neuron(there[:1], srm.filter, srm.spiking))
    run.note(compile_seconds=seconds)
    there_u, there_s = (backend.to_numpy(y) for y in gpu.srm.neuron(there, srm.filter, srm.spiking))
    u, s = cpu.srm.neuron(x, srm.filter, srm.spiking)
    run.note(steps=len(x), columns=COLUMNS, spikes=int(s.sum()))
    for name, ours, theirs in (("potentials", there_u.view(np.int32), u.view(np.int32)), ("spikes", there_s, s)):
        different = int(np.count_nonzero(ours != theirs))
        what = f"{name} over {len(x):,} steps of silence have the CPU's bits"
        run.check(what, not different, f"{different:,} of {ours.size:,} differ")


def silence(steps: int) -> Any:
    """Return input for some steps, then none: (steps, COLUMNS) float32, over 30 orders of magnitude."""
    x = np.zeros((steps, COLUMNS), np.float32)
    drawn = np.random.default_rng(0).normal(100, 200, (min(BUSY, steps), COLUMNS))
    x[:BUSY] = drawn * np.logspace(0, -30, COLUMNS)
    return x
