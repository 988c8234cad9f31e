"""The runs of a sweep: each in a process of its own, on this machine or on a cluster of Dask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cuslayer import backend, check
from cuslayer.extras import optional
from cuslayer.files import write_whole
from cuslayer.plot import sweep_results
from cuslayer.training.figures import save_figure
from cuslayer.training.folder import CHECKPOINT
from cuslayer.training.lock import locked
from cuslayer.training.sweep.search import Sweep
from cuslayer.training.sweep.table import DONE, FAILED, Result, read_result, shown, table_csv

POINTS, TABLE, FIGURE = "points.csv", "results.csv", "results.png"
# Of the first argument, the cores, none for all.
_PROGRAM = (
    "import os, sys\n"
    "if sys.argv[1]: os.sched_setaffinity(0, map(int, sys.argv[1].split(',')))\n"
    "from cuslayer.cli import main\n"
    "sys.exit(main(['train', *sys.argv[2:]]))"
)
_LAST = 2000


def sweep(given: Sweep, *, jobs: int = 1, dask: str | None = None, log: Callable[[str], None]) -> list[Result]:
    """Train all runs of a sweep that are not complete, and write a table and a plot of all into its folder.

    A run is a process with a folder of its own: what ends it does not end the others. A sweep that is interrupted goes
    on by the same call: complete runs are kept, others resumed from their checkpoints, failed ones tried again.

    Args:
        given: the sweep.
        jobs: the number of runs at a time on this machine, which divide its cores.
        dask: the address of a Dask scheduler, whose workers train in its place; they need the same folders.
        log: called with a line for each run that ends.

    Returns:
        The results by number.

    Raises:
        ValueError: jobs is under 1, the folder has another sweep or is in use, or no scheduler answers at the address.
        ImportError: dask is given and not installed.
    """
    jobs = check.integer("sweep", "jobs", jobs, least=1)
    given.out.mkdir(parents=True, exist_ok=True)
    with locked(given.out):
        _check_points(given)
        errors: dict[int, str] = {}
        open_runs = [i for i in range(len(given.points)) if _result(given, i, errors).status != DONE]
        with _executor(jobs, dask) as submit:
            futures = {submit(_command(given, i)): i for i in open_runs}
            for future in as_completed(futures) if dask is None else _of_dask(futures):
                i = futures[future]
                problem = _problem(future)
                if problem is not None:
                    errors[i] = problem
                result = _result(given, i, errors)
                if result.status != DONE and problem is None:
                    errors[i] = "the run ended before its last epoch"
                    result = _result(given, i, errors)
                log(_line(given, result))
                _write(given, errors)
        return _write(given, errors)


def _check_points(given: Sweep) -> None:
    """Write the points of a new sweep; raise ValueError if the folder has another one, or files of no sweep."""
    rows = [Result(n, point, "") for n, point in enumerate(given.points, start=1)]
    path, text = given.out / POINTS, table_csv(given.keys, rows)
    if path.exists():
        # More runs of the same sweep may be added.
        before = path.read_bytes()
        if not before or not text.startswith(before):
            raise ValueError(f"sweep: {given.out} holds another sweep; name another folder")
    else:
        # A sweep writes its points before all else.
        for name in (TABLE, FIGURE, *(_source(i) for i in range(len(given.points)))):
            if os.path.lexists(given.out / name):
                rule = "is of no sweep, this one would replace it; move it, or name another folder"
                raise ValueError(f"sweep: {given.out / name} {rule}")
    _write_file(path, text)


def _write_file(path: Path, content: bytes) -> None:
    write_whole(path, lambda file: file.write(content), op="sweep")


def _source(i: int) -> str:
    """Return the name of the configuration of a run."""
    return f"{i + 1:03d}.yaml"


def _folder(given: Sweep, i: int) -> Path:
    return given.out / f"{i + 1:03d}"


def _result(given: Sweep, i: int, errors: dict[int, str]) -> Result:
    return read_result(i + 1, given.points[i], _folder(given, i), given.configs[i].epochs, errors.get(i))


def _command(given: Sweep, i: int) -> list[str]:
    """Write the configuration of a run that is new, and return the arguments of `cuslayer train`."""
    folder = _folder(given, i).absolute()
    if (folder / CHECKPOINT).is_file():
        return ["--resume", "--out", str(folder)]
    source = given.out / _source(i)
    _write_file(source, given.configs[i].to_yaml().encode())
    return [str(source.absolute()), "--out", str(folder)]


def train_run(arguments: list[str], cores: list[int] | None = None) -> str | None:
    """Run `cuslayer train` in a process; return the last line of its errors if it fails, else None."""
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM, ",".join(map(str, cores or [])), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if found.returncode == 0:
        return None
    lines = found.stderr[-_LAST:].strip().splitlines() or ["it said nothing"]
    died = f" (signal {-found.returncode})" if found.returncode < 0 else ""
    return f"{lines[-1].removeprefix('cuslayer: ')}{died}"


@contextmanager
def _executor(jobs: int, dask: str | None) -> Iterator[Callable[[list[str]], Any]]:
    """Yield a function that begins a run and returns its future."""
    if dask is not None:
        module = optional("sweep", "distributed", "dask")
        try:
            client = module.Client(dask)
        except (OSError, ValueError) as problem:
            raise ValueError(f"sweep: no scheduler of Dask at {dask}: {' '.join(str(problem).split())}") from None
        try:
            yield lambda arguments: client.submit(train_run, arguments, pure=False)
        finally:
            client.close()
        return
    parts: SimpleQueue[list[int] | None] = SimpleQueue()
    for place in range(jobs):
        parts.put(_part(place, jobs))

    def run(arguments: list[str]) -> str | None:
        cores = parts.get()
        try:
            return train_run(arguments, cores)
        finally:
            parts.put(cores)

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="cuslayer-sweep")
    try:
        yield lambda arguments: pool.submit(run, arguments)
    finally:
        pool.shutdown(cancel_futures=True)


def _part(place: int, jobs: int) -> list[int] | None:
    """Return the cores of one of several runs; None for all."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return backend.part_of_cores(cores, place, jobs)


def _of_dask(futures: dict[Any, int]) -> Any:
    return optional("sweep", "distributed", "dask").as_completed(list(futures))


def _problem(future: Future[str | None]) -> str | None:
    """Return what a run said if it has failed; of Dask also why it could not be run."""
    try:
        return future.result()
    except Exception as problem:  # of a worker or of the system
        return " ".join(f"{type(problem).__name__}: {problem}".split())


def _line(given: Sweep, result: Result) -> str:
    point = ", ".join(f"{key} {shown(value)}" for key, value in zip(given.keys, result.point, strict=True))
    if result.status == FAILED:
        return f"run {result.number} ({point}) failed: {result.error}"
    return f"run {result.number} ({point}): {result.best}"


def _write(given: Sweep, errors: dict[int, str]) -> list[Result]:
    """Write the table and the plot of all runs, and return their results."""
    results = [_result(given, i, errors) for i in range(len(given.points))]
    _write_file(given.out / TABLE, table_csv(given.keys, results))
    value = "accuracy" if any(r.accuracy is not None for r in results) else "loss"
    rows = [(r.point, float(x)) for r in results if (x := getattr(r, value)) is not None]
    if rows:
        size = (3.2 * max(len(given.keys), 1), 3.0)
        save_figure(given.out / FIGURE, lambda figure: sweep_results(given.keys, rows, value, figure=figure), size=size)
    return results
