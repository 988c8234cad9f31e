"""Give mutated files to every reader: events, networks, checkpoints, runs, configurations, lists of labels.

    python benchmarks/fuzz.py                              # 200,000 files over all readers
    python benchmarks/fuzz.py --count 20000 --jobs 1
    python benchmarks/fuzz.py --only "events .h5" import_hdf5
    python benchmarks/fuzz.py --again FOLDER/cs.load-17-error.npz --only cs.load

Valid files of each format are changed by structure: bytes, words of a text, values of a JSON document, headers and
members of archives; some files are built to do harm. Each is read in a process with limits: two seconds of computing,
and 64 MB of memory, or eight times the file, above what the process had. A reader must return, or raise a ValueError,
a TypeError or an ImportError of one line. Everything else is counted, and the file is kept in `--keep`. The same seed
gives the same files. Prints a table, and writes it to `--out` and to docs/reliability.md. The exit code is 1 if a
reader failed. Linux only.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import page
from fuzzing.readers import Reader, readers
from fuzzing.worker import Problem, Worker, judged, write_case

OUT, PAGE = Path(__file__).parent / "results" / "fuzz.json", Path(__file__).parents[1] / "docs" / "reliability.md"
COUNT = 200_000
KINDS = ("crash", "hang", "memory", "error")
# A process reads so many files.
_PART = 1000
_POLL = 0.02


class Results:
    """What the readers did with their files."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.problems: list[Problem] = []

    def add(self, worker: Worker, until: int, problems: list[Problem]) -> None:
        """Add the cases of a process, up to a number."""
        _, refused, peak, slowest = worker.progress()
        empty = {"files": 0, "refused": 0, "slowest_ms": 0.0, "most_mb": 0.0, **dict.fromkeys(KINDS, 0)}
        row = self.rows.setdefault(worker.name, empty)
        row["files"] += until - worker.first
        row["refused"] += refused
        row["slowest_ms"] = max(row["slowest_ms"], round(1e3 * slowest, 1))
        row["most_mb"] = max(row["most_mb"], round(peak / 1e6, 1))
        # A process that ends while it reads cases again has noted the ones after it already.
        new = [problem for problem in problems if problem not in self.problems]
        for problem in new:
            row[problem.kind] += 1
        self.problems += new


def fuzz(every: dict[str, Reader], seed: int, count: int, jobs: int, scratch: Path) -> Results:
    """Give `count` files to the readers, in `jobs` processes at once."""
    results = Results()
    share = -(-count // len(every))
    tasks = [(name, first, min(first + _PART, share)) for name in every for first in range(0, share, _PART)][::-1]
    running: dict[int, Worker] = {}
    while tasks or running:
        for place in range(jobs):
            if place not in running and tasks:
                name, first, until = tasks.pop()
                running[place] = Worker(name, every[name], seed, first, until, scratch / f"worker{place}")
        time.sleep(_POLL)
        for place, worker in list(running.items()):
            code, kind = worker.ended(), ""
            if code is None and worker.waits():
                worker.kill()
                kind, code = "hang", -signal.SIGKILL
            elif code:
                kind = "hang" if code == -signal.SIGPROF else "crash"
            if code is None:
                continue
            del running[place]
            number = worker.progress()[0]
            problems, until = worker.problems(), worker.until
            if kind:
                # The process that ended had read the case, or was about to: the next one begins after it.
                until = min(number + 1, worker.until)
                problems.append(Problem(worker.name, number, kind, f"exit {code}"))
                if until < worker.until:
                    tasks.append((worker.name, until, worker.until))
            results.add(worker, until, problems)
    return results


def keep(every: dict[str, Reader], seed: int, problems: list[Problem], folder: Path) -> None:
    """Write the files that made a reader fail."""
    for problem in problems:
        folder.mkdir(parents=True, exist_ok=True)
        reader = every[problem.reader]
        name = f"{problem.reader.replace(' ', '_')}-{problem.number}-{problem.kind}{reader.suffix}"
        (folder / name).write_bytes(reader.content(seed, problem.number))


def again(reader: Reader, path: Path) -> int:
    """Read a kept file once more, and print what happens."""
    with tempfile.TemporaryDirectory() as folder:
        reader.prepare(Path(folder))
        wrong = judged(reader, write_case(reader, Path(folder), path.read_bytes()))
    print({None: "read", "": "refused in one line"}.get(wrong, wrong))
    return int(bool(wrong))


def lines(found: dict[str, Any]) -> list[str]:
    """Return the table of the page."""
    names = ("files", "refused", *KINDS)
    heads = ["reader", "files", "refused", "crashes", "hangs", "too much memory", "other errors", "slowest", "memory"]
    rows = [
        [name, *(f"{row[each]:,}" for each in names), f"{row['slowest_ms']:.0f} ms", f"{row['most_mb']:.0f} MB"]
        for name, row in found["readers"].items()
    ]
    sums = [f"{sum(row[name] for row in found['readers'].values()):,}" for name in names]
    text = page.table(heads, [*rows, ["all", *sums, "", ""]], 1)
    return [*text, "", machine.said(found["machine"], found["command"])]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="files over all readers")
    parser.add_argument("--only", nargs="+", metavar="READER", help="the readers; all by default")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "cuslayer-fuzz"), metavar="DIR")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--docs", type=Path, default=PAGE)
    parser.add_argument("--again", type=Path, metavar="FILE", help="read a kept file by the reader of --only")
    options = parser.parse_args(arguments)
    every = readers()
    unknown = set(options.only or ()) - every.keys()
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))}: none of {', '.join(every)}")
    every = {name: reader for name, reader in every.items() if not options.only or name in options.only}
    if options.again:
        return max(again(reader, options.again) for reader in every.values())
    with tempfile.TemporaryDirectory(prefix="cuslayer-fuzz") as scratch:
        results = fuzz(every, options.seed, options.count, options.jobs, Path(scratch))
    keep(every, options.seed, results.problems, options.keep)
    command = machine.command("fuzz.py", sys.argv[1:] if arguments is None else arguments)
    found = {"command": command, "machine": machine.describe("h5py", "pyyaml"), "seed": options.seed}
    found["readers"] = {name: results.rows[name] for name in every}
    found["problems"] = [[p.reader, p.number, p.kind, p.what] for p in results.problems[:100]]
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    page.fill(options.docs, "fuzz", lines(found), None, "")
    print("\n".join(lines(found)))
    for problem in results.problems[:100]:
        print(f"{problem.reader} {problem.number}: {problem.kind}: {problem.what}")
    if results.problems:
        print(f"{len(results.problems)} files are in {options.keep}")
    return int(bool(results.problems))


if __name__ == "__main__":
    sys.exit(main())
