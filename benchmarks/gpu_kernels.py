"""Stages of gpu.py: the card computes, kernels compile, tests and drawn networks run; costs of memory and kernels.

Every launch of a training step is recorded with its arguments, and then repeated by itself: arrays of that size may
stay in the L2 cache, which in a step they do only in part.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any
from unittest import mock

import numpy as np
from card import Run, Skipped, one_line
from common import ROOT
from example_networks import BANDWIDTH, NETWORKS, STEPS, UPDATED, prepared

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.step.print_cuda import header
from cuslayer.training.steps import PlainStep

# The silence: its steps and columns, and the steps with input before it.
SILENCE, COLUMNS, BUSY = 2000, 512, 50
DTYPES = ("float32", "float64")
# Each process that compiles has a context of CUDA, which takes some memory of the GPU.
PROCESSES = 8
NOTHING = 'extern "C" __global__ void nothing(const real *x) { }'
# The launches of the longer of two graphs.
LAUNCHES = 20
# Drawn networks, the most; names of failing tests, and seeds of networks, that are saved.
DRAWN, NAMED = 200, 20
# Of the largest gradient, in a type of numbers: the tolerance of tests/device/test_drawn_networks.py.
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}


def _none(x: Any) -> Any:
    """Return the constants that differ between spike response neurons."""
    return backend.namespace(x).empty((0, 1), x.dtype)


def probe(run: Run) -> None:
    """Compile a kernel, multiply two matrices, and compare a neuron's potentials and spikes with the CPU's."""
    # Input for some steps, then none, over 30 orders of magnitude.
    x, srm = np.zeros((SILENCE, COLUMNS), np.float32), cs.SRM()
    x[:BUSY] = np.random.default_rng(0).normal(100, 200, (BUSY, COLUMNS)) * np.logspace(0, -30, COLUMNS)
    numbers = np.arange(64 * 64).reshape(64, 64) % 7
    matrix = backend.to_device(numbers.astype(np.float32))
    run.check("a product of matrices", np.array_equal(backend.to_numpy(matrix @ matrix), numbers @ numbers))
    there_u, there_s = map(backend.to_numpy, srm.spiking.fire(gpu, backend.to_device(x), _none(backend.to_device(x))))
    u, s = srm.spiking.fire(cpu, x.copy(), _none(x))
    run.note(steps=len(x), columns=COLUMNS, spikes=int(s.sum()))
    for name, ours, theirs in (("potentials", there_u.view(np.int32), u.view(np.int32)), ("spikes", there_s, s)):
        different = int(np.count_nonzero(ours != theirs))
        what = f"{name} over {len(x):,} steps of silence have the CPU's bits"
        run.check(what, not different, f"{different:,} of {ours.size:,} differ")


def compiled(topic: str, dtype: str) -> None:
    """Compile a source for a number type, or load it from CuPy's cache."""
    text = source.text(topic, np.dtype(dtype), header(cs.SRM().spiking.kind, cs.surrogates.Exponential().shape.curve))
    source.Cuda().build(text, source.signatures(text))


def compile_all(run: Run) -> None:
    """Compile all sources in both number types, in processes without this one's context, as long as there is time."""
    problems, done = list[str](), 0
    with ProcessPoolExecutor(min(cs.threads(), PROCESSES), mp_context=get_context("spawn")) as pool:
        each = [(topic, dtype) for topic in source.topics() for dtype in DTYPES]
        jobs = {pool.submit(compiled, *one): ", ".join(one) for one in each}
        for job in as_completed(jobs):
            try:
                job.result()
            except Exception as problem:  # of the compiler, or of a process that ended
                problems.append(f"{jobs[job]}: {one_line(problem)}")
            done += 1
            run.note(compiled=done - len(problems), of=len(jobs))
            if run.left() < 0:
                pool.shutdown(wait=False, cancel_futures=True)
                run.note(stopped="out of time")
                break
    late = [f"{done} of {len(jobs)} in time"] if done < len(jobs) else []
    run.check("every source compiles", not problems + late, "; ".join(problems + late))


def needs_tests() -> None:
    """Raise Skipped if the tests or pytest are missing."""
    if not (ROOT / "tests" / "device").is_dir() or find_spec("pytest") is None:
        raise Skipped("the tests need a checkout and pytest: pip install '.[test]'")


def tests(run: Run) -> None:
    """Run `pytest -m gpu`, the tests of kernels first, as long as there is time."""
    needs_tests()
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-vv", "-p", "no:cacheprovider", "-p", "no:xdist"]
    paths = [str(path) for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text("utf-8")]
    paths.sort(key=lambda path: (f"{os.sep}kernels{os.sep}" not in path, path))
    with tempfile.TemporaryFile("w+") as log:
        environment = os.environ | {"PYTEST_ADDOPTS": ""}
        process = subprocess.Popen([*command, *paths], cwd=ROOT, env=environment, stdout=log, stderr=log)
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(run.left(), 0.0))
        process.kill()
        process.wait()
        log.seek(0)
        words = log.read()
    outcomes = dict(re.findall(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)", words, re.MULTILINE))
    if not outcomes:
        raise RuntimeError(f"pytest ran no test: {(words.strip().splitlines() or [process.returncode])[-1]}")
    failing = [name for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    run.note(passed=list(outcomes.values()).count("PASSED"), failed=len(failing), failing=failing[:NAMED])
    run.check("every test that ran has passed", not failing, f"{len(failing)} failed")


def compile_for_cpu() -> None:
    """Compile the kernels that stages use on the CPU, into the cache on disk."""
    cs.use("cpu")
    srm = cs.SRM()
    x = np.zeros((SILENCE, COLUMNS), np.float32)
    srm.spiking.fire(cpu, x, _none(x))
    with suppress(Skipped):
        needs_tests()
        from tests.device.test_drawn_networks import drawn, run

        for seed in range(DRAWN):
            run(*drawn(seed)[:2])


def networks(run: Run) -> None:
    """Compare drawn networks on the GPU and the CPU: equal spikes, and gradients to rounding."""
    needs_tests()
    from tests.device.test_drawn_networks import drawn
    from tests.device.test_drawn_networks import run as passes

    fired, differing = 0, list[int]()
    for seed in range(DRAWN):
        if run.left() < 0:
            break
        cs.use("cpu")
        net, x, dtype = drawn(seed)
        spikes, gradients = passes(net, x)
        cs.use("cuda")
        for p in net.parameters():
            p.data = backend.to_device(p.data)
        there, there_gradients = passes(net, x)
        pooled = any(isinstance(layer, cs.SumPool) for layer in net.layers)
        least = TOLERANCE["float32" if pooled else dtype.name]
        close = all(_close(a, b, least) for a, b in zip(there_gradients, gradients, strict=True))
        differing += [] if close and there.tobytes() == spikes.tobytes() else [seed]
        fired += int(spikes.any())
        run.note(compared=seed + 1, fired=fired, differing=differing[:NAMED])
    what = "drawn networks have the CPU's spikes, and its gradients to rounding"
    run.check(what, not differing, f"{len(differing)} differ")


def _close(ours: Any, theirs: Any, least: float) -> bool:
    """Return whether a gradient differs from another by little of that one's largest element."""
    if ours is None or theirs is None:
        return ours is theirs
    ours = backend.to_numpy(ours)
    return bool((np.abs(ours - theirs) <= least * max(np.abs(theirs).max(), 1e-30)).all()) if theirs.size else True


def copied(run: Run) -> float:
    """Return the bytes a second that a copy moves, reading and writing, of arrays of at least twice the L2 cache."""
    columns = 128 * math.ceil(2 * run.card.l2 / (4 * STEPS * 128))
    x = backend.to_device(np.zeros((STEPS, columns), np.float32))
    y = backend.cupy().zeros_like(x)
    found = 2 * x.nbytes / run.card.seconds(lambda: backend.cupy().copyto(y, x))
    run.note(copy_bytes_per_second=found, data_sheet=BANDWIDTH)
    return found


def speed(run: Run) -> None:
    """Time a copy, a launch by itself and within a graph, a launch of a graph, and a step of a narrow neuron kernel."""
    copied(run)
    x, nothing = backend.to_device(np.zeros(1, np.float32)), cs.kernel(NOTHING, "nothing")

    def some(count: int) -> None:
        for _ in range(count):
            nothing(1, x=x)

    alone = run.card.seconds(lambda: some(1))
    one, many = (run.card.seconds(run.card.graph(lambda count=count: some(count))) for count in (1, LAUNCHES))  # type: ignore[misc]
    run.note(launch_microseconds=1e6 * alone, graph_microseconds=1e6 * one)
    run.note(launch_in_graph_microseconds=1e6 * (many - one) / (LAUNCHES - 1))
    srm, few, many_steps = cs.SRM(), *(backend.to_device(np.zeros((t, 80), np.float32)) for t in (STEPS, 10 * STEPS))
    short, long = (run.card.seconds(lambda x=x: srm.spiking.fire(gpu, x, _none(x))) for x in (few, many_steps))  # type: ignore[misc]
    run.note(step_nanoseconds=1e9 * (long - short) / (9 * STEPS))


class Recorder(source.Cuda):
    """CUDA; while `on`, `launches` lists each launch: the kernel, the bytes that it moves, a call that repeats it."""

    def __init__(self) -> None:
        self.launches: list[tuple[str, int, Any]] = []
        self.on = False

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        signatures = source.signatures(text)
        return {name: _Noted(self, name, signatures[name], run) for name, run in super().build(text, names).items()}


class _Noted:
    """A compiled kernel, each launch of which is listed."""

    def __init__(self, recorder: Recorder, name: str, parameters: list[source.Parameter], launch: source.Launch):
        self.__dict__.update(recorder=recorder, name=name, parameters=parameters, launch=launch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.launch, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.launch, name, value)

    def __call__(self, grid: Any, block: Any, arguments: tuple[Any, ...], *, shared_mem: int = 0) -> None:
        def again() -> None:
            self.launch(grid, block, arguments, shared_mem=shared_mem)

        if self.recorder.on:
            self.recorder.launches.append((self.name, self.bytes(arguments), again))
        again()

    def bytes(self, arguments: tuple[Any, ...]) -> int:
        """Return the bytes that a launch must move: an array that is read and written counts twice."""
        arrays = [(p.name, x) for p, x in zip(self.parameters, arguments, strict=True) if p.array]
        updated = UPDATED.get(self.name, ())
        return sum(x.nbytes * (2 if name in updated else 1) for name, x in arrays)


def kernels(run: Run) -> None:
    """Time the launches of a step of each network: of each kernel its launches, bytes, time, and the model's."""
    reached = copied(run)
    for name, network in NETWORKS.items():
        recorder = Recorder()
        with mock.patch.object(source, "library", source.Library(recorder)):
            trainer, loader = prepared(network, 1, resident="cuda", graph=False)
            trainer.train(loader)
            take_step = PlainStep.take

            def recorded_step(*arguments: Any, recorder: Recorder = recorder, take_step: Any = take_step) -> None:
                recorder.on = True
                take_step(*arguments)
                recorder.on = False

            # An epoch has launches before its first step and after the last.
            with mock.patch.object(PlainStep, "take", recorded_step):
                trainer.train(loader, steps=1)
            rows: dict[str, list[float]] = {}
            for kernel, moved, again in recorder.launches:
                row = rows.setdefault(kernel, [0, 0, 0.0])
                rows[kernel] = [row[0] + 1, row[1] + moved, row[2] + run.card.seconds(again)]
        for kernel, (count, moved, seconds) in rows.items():
            row = {"network": name, "kernel": kernel, "launches": count, "bytes": moved, "microseconds": 1e6 * seconds}
            row["model_microseconds"] = 1e6 * moved / BANDWIDTH
            run.add("step", row | {"of_a_copy": moved / seconds / reached})
