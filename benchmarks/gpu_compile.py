"""Stage 1 of benchmarks/gpu.py: every kernel is compiled into CuPy's cache, in several processes.

One after another, at their first use, they would take minutes of the stages that follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import numpy as np
from gpu_stages import Run, one_line

from cuslayer import backend
from cuslayer.kernels.cuda import compile as source

DTYPES = ("float32", "float64")
# Each process has a context of CUDA, which takes some memory of the GPU.
MOST = 8


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
