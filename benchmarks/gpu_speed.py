"""Stage 3 of benchmarks/gpu.py: what memory, launches and the kernel of neurons cost on the GPU."""

from __future__ import annotations

import math

import numpy as np
import traffic
from card import Cuda
from gpu_stages import Run

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels import gpu

NOTHING = 'extern "C" __global__ void nothing(const real *x) { }'
# The launches of the longer of two graphs.
LAUNCHES = 20


def large(run: Run) -> int:
    """Return the columns of arrays of at least twice the L2 cache."""
    return run.sizes.large or 128 * math.ceil(2 * run.card.l2 / (4 * run.sizes.steps * 128))


def copy(card: Cuda, steps: int, columns: int) -> float:
    """Return the bytes a second that a copy of (steps, columns) float32 moves, reading and writing."""
    x = backend.to_device(np.zeros((steps, columns), np.float32))
    y = backend.cupy().zeros_like(x)
    return 2 * x.nbytes / card.seconds(lambda: backend.cupy().copyto(y, x))


def speed(run: Run) -> None:
    """Time a copy, empty launches, launches of graphs, and `neuron` for some numbers of columns."""
    steps = run.sizes.steps
    reached = copy(run.card, steps, large(run))
    run.note(copy_bytes_per_second=reached, data_sheet=traffic.BANDWIDTH)
    launches(run)
    srm = cs.SRM()
    for columns in run.sizes.columns:
        drawn = np.random.default_rng(0).standard_normal((steps, columns), np.float32)
        x = backend.to_device(drawn * np.float32(srm.theta))
        seconds = run.card.seconds(lambda x=x: gpu.srm.neuron(x, srm.filter, srm.spiking))  # type: ignore[misc]
        moved = traffic.bytes_per_element("neuron", "float32") * x.size
        row = {
            "columns": columns,
            "microseconds": 1e6 * seconds,
            "bytes": moved,
            "of_a_copy": moved / seconds / reached,
        }
        run.add("neuron", row)


def launches(run: Run) -> None:
    """Time a launch of a kernel that does nothing, by itself and within a graph, and a launch of a graph."""
    x, nothing = backend.to_device(np.zeros(1, np.float32)), cs.kernel(NOTHING, "nothing")

    def some(count: int) -> None:
        for _ in range(count):
            nothing(1, x=x)

    alone = run.card.seconds(lambda: some(1))
    one, many = (run.card.seconds(run.card.graph(lambda count=count: some(count))) for count in (1, LAUNCHES))  # type: ignore[misc]
    run.note(launch_microseconds=1e6 * alone, graph_microseconds=1e6 * one)
    run.note(launch_in_graph_microseconds=1e6 * (many - one) / (LAUNCHES - 1))
