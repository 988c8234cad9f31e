"""Give mutated files to every reader: events, networks, checkpoints, runs, configurations, lists of labels.

    python benchmarks/fuzz.py                              # 200,000 files over all readers
    python benchmarks/fuzz.py --count 20000 --jobs 1
    python benchmarks/fuzz.py --only "events .h5" import_hdf5

Valid files of each format are changed by structure: bytes, words of a text, values of a JSON document, headers and
members of archives; some files are built to do harm. Each is read in a process with limits: two seconds of computing,
and 64 MB of memory, or eight times the file, above what the process had. A reader must return, or raise a ValueError,
a TypeError or an ImportError of one line. Everything else is counted, and the file is kept in `--keep`. The same seed
gives the same files. Prints what it found, and writes it to docs/reliability.md. The exit code is 1 if a reader
failed. Linux only.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import common
from fuzz_readers import Reader, readers

COUNT = 200_000
KINDS = ("crash", "hang", "memory", "error")
# A process reads so many files; the parent looks so often whether one has ended, in seconds.
PART, POLL = 50, 0.02
# Seconds of computing in a case, and seconds in which a case may wait, on a machine that has much to do.
HANG, WAIT = 2.0, 120.0
# Resident memory above that before, in bytes, or this many times the size of the file.
MEMORY, TIMES = 64 << 20, 8
# Address space above that of an idle process: a reader must not take all memory of the machine.
SPACE = 4 << 30
ERRORS = (ValueError, TypeError, ImportError)


class Problem(NamedTuple):
    """A case that is not as it should be."""

    reader: str
    number: int
    kind: str
    what: str


def judged(reader: Reader, path: Path) -> str | None:
    """Read a file; return what is wrong with the error that it raises, "" for an error as it should be, else None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except ERRORS as problem:
        text = str(problem)
        if not text.strip() or len(text.splitlines()) > 1:
            return f"{type(problem).__name__}, not of one line: {text[:200]!r}"
        return ""
    except BaseException as problem:
        return f"{type(problem).__name__}: {str(problem)[:200]}"
    return None


def write_case(reader: Reader, folder: Path, content: bytes) -> Path:
    """Write a file for a reader."""
    path = folder / f"case{reader.suffix}"
    path.write_bytes(content)
    return path


class Task(NamedTuple):
    """Cases of a reader, which one process reads: from the first up to another."""

    reader: str
    first: int
    until: int


def start(reader: Reader, task: Task, seed: int, folder: Path) -> int:
    """Start a process that reads the cases of a task, and notes each before and after in a file; return its number."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        notes = os.open(folder.with_suffix(".notes"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)

        def note(*what: Any) -> None:
            os.write(notes, (json.dumps(what) + "\n").encode())

        space, largest = common.memory("VmSize") + SPACE, 0
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        reader.prepare(folder)
        gc.collect()
        gc.disable()
        # The most resident memory so far is forgotten.
        Path("/proc/self/clear_refs").write_text("5")
        before = common.memory("VmRSS")
        for number in range(task.first, task.until):
            note(number)
            path = write_case(reader, folder, content := reader.content(seed, number))
            largest, begun = max(largest, len(content)), time.process_time()
            # The signals end the process.
            signal.setitimer(signal.ITIMER_PROF, HANG)
            signal.setitimer(signal.ITIMER_REAL, WAIT)
            wrong = judged(reader, path)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            note(number, time.process_time() - begun, wrong)
        note(task.until, common.memory("VmHWM") - before, largest, "memory")
        code = 0
    finally:
        os._exit(code)


class Results:
    """What the readers did with their files."""

    def __init__(self, names: list[str]) -> None:
        empty = {"files": 0, "refused": 0, "slowest_ms": 0.0, "most_mb": 0.0, **dict.fromkeys(KINDS, 0)}
        self.rows: dict[str, dict[str, Any]] = {name: dict(empty) for name in names}
        self.problems: list[Problem] = []

    def _add(self, task: Task, number: int, kind: str, what: str) -> None:
        self.rows[task.reader][kind] += 1
        self.problems.append(Problem(task.reader, number, kind, what))

    def add(self, task: Task, code: int, notes: list[list[Any]]) -> list[Task]:
        """Add what a process has noted that ended with a code; return what is still to be read."""
        row, rest = self.rows[task.reader], []
        memory = notes.pop() if notes and len(notes[-1]) == 4 else None
        if memory and memory[1] > MEMORY and task.until > task.first + 1:
            # Which of its files took so much is found by halves.
            half = (task.first + task.until) // 2
            return [task._replace(until=half), task._replace(first=half)]
        for number, seconds, wrong in (note for note in notes if len(note) == 3):
            row["files"] += 1
            row["refused"] += wrong is not None
            row["slowest_ms"] = max(row["slowest_ms"], round(1e3 * seconds, 1))
            if wrong:
                self._add(task, number, "error", wrong)
        if memory:
            taken, largest = memory[1:3]
            row["most_mb"] = max(row["most_mb"], round(taken / 1e6, 1))
            if taken > max(MEMORY, TIMES * largest):
                self._add(task, task.first, "memory", f"{taken / 1e6:.0f} MB for a file of {largest:,} bytes")
        elif code:
            number = notes[-1][0] if notes else task.first
            row["files"] += 1
            self._add(task, number, "hang" if -code in (signal.SIGPROF, signal.SIGALRM) else "crash", f"exit {code}")
            rest = [task._replace(first=number + 1)] if number + 1 < task.until else []
        return rest


def fuzz(every: dict[str, Reader], seed: int, count: int, jobs: int, scratch: Path) -> Results:
    """Give `count` files to the readers, in `jobs` processes at once."""
    results, share = Results(list(every)), -(-count // len(every))
    tasks = [Task(name, n, min(n + PART, share)) for name in every for n in range(0, share, PART)][::-1]
    for reader in every.values():  # what the first file imports and compiles, the processes have
        folder = Path(tempfile.mkdtemp(dir=scratch))
        reader.prepare(folder)
        for content in reader.valid:
            judged(reader, write_case(reader, folder, content))
    running: dict[int, tuple[int, Task]] = {}
    while tasks or running:
        for place in range(jobs):
            if place not in running and tasks:
                task = tasks.pop()
                running[place] = start(every[task.reader], task, seed, scratch / f"worker{place}"), task
        for place, (pid, task) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[place]
                text = (scratch / f"worker{place}.notes").read_text()
                notes = [json.loads(line) for line in text.splitlines()]
                tasks += results.add(task, os.waitstatus_to_exitcode(status), notes)
        time.sleep(POLL)
    return results


def lines(found: dict[str, Any]) -> list[str]:
    """Return the lines of the page; benchmarks/results/fuzz.json has each reader."""
    rows = found["readers"]
    files, refused, *problems = (sum(row[name] for row in rows.values()) for name in ("files", "refused", *KINDS))
    slowest = max(rows, key=lambda name: rows[name]["slowest_ms"])
    largest = max(rows, key=lambda name: rows[name]["most_mb"])
    kinds = ("crashes", "hangs", "files that took too much memory", "other errors")
    failed = ", ".join(f"{count:,} {kind}" for count, kind in zip(problems, kinds, strict=True))
    text = [
        f"{len(rows)} readers took {files:,} files: they refused {refused:,} in one line and read the others. There "
        f"were {failed}. The slowest file took {rows[slowest]['slowest_ms']:.0f} ms ({slowest}); the most memory was "
        f"{rows[largest]['most_mb']:.0f} MB ({largest}).",
    ]
    return [*text, "", common.said(found["machine"], found["command"])]


def main(arguments: list[str] | None = None) -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="files over all readers")
    parser.add_argument("--only", nargs="+", metavar="READER", help="the readers; all by default")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "cuslayer-fuzz"), metavar="DIR")
    options = parser.parse_args(arguments)
    every = readers()
    unknown = set(options.only or ()) - every.keys()
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))}: none of {', '.join(every)}")
    every = {name: reader for name, reader in every.items() if not options.only or name in options.only}
    with tempfile.TemporaryDirectory(prefix="cuslayer-fuzz") as scratch:
        results = fuzz(every, options.seed, options.count, options.jobs, Path(scratch))
    for name, number, kind, _ in results.problems:
        options.keep.mkdir(parents=True, exist_ok=True)
        file = options.keep / f"{name.replace(' ', '_')}-{number}-{kind}{every[name].suffix}"
        file.write_bytes(every[name].content(options.seed, number))
    found = {"command": common.command("fuzz", arguments), "machine": common.describe("h5py", "pyyaml")}
    found |= {"seed": options.seed, "readers": results.rows, "problems": results.problems[:100]}
    common.save("fuzz", found, options.out)
    common.show(options.out, "reliability", "fuzz", lines(found))
    for problem in results.problems[:100]:
        print(f"{problem.reader} {problem.number}: {problem.kind}: {problem.what}")
    if results.problems:
        print(f"{len(results.problems)} files are in {options.keep}")
    return int(bool(results.problems))


if __name__ == "__main__":
    sys.exit(main())
