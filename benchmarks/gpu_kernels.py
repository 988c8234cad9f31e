"""Stages of benchmarks/gpu.py: the card computes, every kernel is compiled, and what memory, launches and kernels cost.

Every launch of a training step is recorded with its arguments, and then repeated by itself: arrays of that size may
stay in the L2 cache, which in a step they do only in part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any
from unittest import mock

import numpy as np
import traffic
from card import Cuda
from example_networks import prepared
from gpu_stages import Run, one_line

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.cuda import compile as source
from cuslayer.training.steps import PlainStep

# The columns of the silence, and the steps with input before it.
COLUMNS, BUSY = 512, 50
DTYPES = ("float32", "float64")
# Each process has a context of CUDA, which takes some memory of the GPU.
MOST = 8
NOTHING = 'extern "C" __global__ void nothing(const real *x) { }'
# The launches of the longer of two graphs.
LAUNCHES = 20


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


def compiled(topic: str, dtype: str) -> float:
    """Compile a source for a number type, or load it from CuPy's cache, and return the seconds that it takes."""
    began = time.perf_counter()
    text = source.text(topic, np.dtype(dtype))
    source.Cuda().build(text, source.signatures(text))
    return time.perf_counter() - began


def processes() -> Executor:
    """Return an executor of processes, which do not share this one's context of CUDA."""
    return ProcessPoolExecutor(min(backend.cores(), MOST), mp_context=get_context("spawn"))


def compile_all(run: Run, executor: Callable[[], Executor] = processes) -> None:
    """Compile all sources in both number types, as long as there is time."""
    began, problems = time.perf_counter(), dict[str, str]()
    seconds: dict[str, float] = {}
    with executor() as pool:
        jobs = {
            pool.submit(compiled, topic, dtype): f"{topic}, {dtype}" for topic in source.topics() for dtype in DTYPES
        }
        for job in as_completed(jobs):
            try:
                seconds[jobs[job]] = job.result()
            except Exception as problem:  # of the compiler, or of a process that ended
                problems[jobs[job]] = one_line(problem)
            run.note(compiled=len(seconds), of=len(jobs), total_seconds=time.perf_counter() - began)
            if run.left() < 0:
                pool.shutdown(wait=False, cancel_futures=True)
                run.note(stopped="out of time")
                break
    slowest = sorted(seconds, key=lambda name: -seconds[name])[:5]
    run.note(slowest=[{"source": name, "seconds": seconds[name]} for name in slowest])
    failed = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    run.check("every source compiles", not problems, failed)


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


@dataclass
class Launched:
    """A launch.

    Attributes:
        kernel: the kernel's name.
        bytes: the bytes of the arrays that it reads and writes, each once.
        again: launches it again with the same arguments.
    """

    kernel: str
    bytes: int
    again: Any


class Recorder(source.Cuda):
    """CUDA; `launches` lists the launches of the library's kernels while `on`."""

    def __init__(self) -> None:
        self.launches: list[Launched] = []
        self.on = False

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        signatures = source.signatures(text)
        return {name: _Noted(self, name, signatures[name], run) for name, run in super().build(text, names).items()}


class _Noted:
    """A compiled kernel, each launch of which is listed."""

    def __init__(self, recorder: Recorder, name: str, parameters: list[source.Parameter], launch: source.Launch):
        self._recorder, self._name, self._parameters, self._launch = recorder, name, parameters, launch

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._launch.max_dynamic_shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self._launch.max_dynamic_shared_size_bytes = size

    def __call__(self, grid: Any, block: Any, arguments: tuple[Any, ...], *, shared_mem: int = 0) -> None:
        def again() -> None:
            self._launch(grid, block, arguments, shared_mem=shared_mem)

        if self._recorder.on:
            self._recorder.launches.append(Launched(self._name, self._bytes(arguments), again))
        again()

    def _bytes(self, arguments: tuple[Any, ...]) -> int:
        """Return the bytes that a launch must move: an array that is read and written counts twice."""
        ways = traffic.WAYS.get(self._name, {})
        places: dict[tuple[str, int], int] = {}
        for parameter, x in zip(self._parameters, arguments, strict=True):
            if parameter.array:
                way = ways.get(parameter.name, "r").lower() or "r"
                for each in way:
                    places[each, _address(x)] = x.nbytes
        return sum(places.values())


def _address(x: Any) -> int:
    """Return the place of an array in the device's memory."""
    place: int = x.__cuda_array_interface__["data"][0]
    return place


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Yield a recorder of all launches within the block."""
    recorder = Recorder()
    with mock.patch.object(source, "library", source.Library(recorder)):
        yield recorder


def kernels(run: Run) -> None:
    """Time the launches of a step of each network, then each kernel on large arrays."""
    reached = copy(run.card, run.sizes.steps, large(run))
    run.note(copy_bytes_per_second=reached)
    for name in run.sizes.networks:
        for row in of_step(run, name):
            run.add("step", row | {"of_a_copy": _share(row, reached)})


def _share(row: dict[str, Any], reached: float) -> float:
    """Return the bytes a second of a row as a share of those of a copy."""
    share: float = row["bytes"] / (1e-6 * row["microseconds"]) / reached
    return share


def of_step(run: Run, name: str) -> list[dict[str, Any]]:
    """Return a row for each kernel of a training step of a network: its launches, bytes, time, and the model's."""
    network = run.sizes.networks[name]
    with recorded() as recorder:
        trainer, loader = prepared(
            network.make, network.shape, run.sizes.steps, network.batch, 1, resident="cuda", graph=False
        )
        trainer.train(loader)
        take_step = PlainStep.take

        def recorded_step(*arguments: Any) -> None:
            recorder.on = True
            take_step(*arguments)
            recorder.on = False

        # An epoch has launches before its first step and after the last.
        with mock.patch.object(PlainStep, "take", recorded_step):
            trainer.train(loader, steps=1)
        rows: dict[str, dict[str, Any]] = {}
        for launched in recorder.launches:
            row = rows.setdefault(launched.kernel, {"network": name, "kernel": launched.kernel, "launches": 0})
            moved, seconds = row.get("bytes", 0), row.get("microseconds", 0.0)
            row["launches"] += 1
            row["bytes"] = moved + launched.bytes
            row["microseconds"] = seconds + 1e6 * run.card.seconds(launched.again)
            row["model_microseconds"] = row.get("model_microseconds", 0.0) + 1e6 * launched.bytes / traffic.BANDWIDTH
    return list(rows.values())
