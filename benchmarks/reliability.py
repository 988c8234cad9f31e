"""Write the tables of docs/reliability.md from the results of soak.py and fuzz.py.

python benchmarks/reliability.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import machine
import page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results"
SOAK, FUZZ = RESULTS / "soak.json", RESULTS / "fuzz.json"
KINDS = ("crash", "hang", "memory", "error")
BAD = ("differences", "left_over", "dead_ends", "wrong_exits", "hangs")


class Promise(NamedTuple):
    """What the library promises.

    Attributes:
        text: the promise.
        fault: what was tried.
        source: where it was counted: faults of soak.py, readers of fuzz.py by the start of their names, or "tests".
        tests: the files of the tests that hold it.
    """

    text: str
    fault: str
    source: tuple[str, ...]
    tests: tuple[str, ...]


PROMISES = [
    Promise(
        "A training that was killed is resumed, and ends as if nothing had happened, to the bit. At most five minutes "
        "are lost.",
        "SIGKILL at random moments",
        ("soak", "kills"),
        ("tests/training/test_run_stopped.py", "benchmarks/soak.py"),
    ),
    Promise(
        "Whenever it dies, the folder can be resumed, or begun anew where there is no checkpoint yet.",
        "death before, in and after writes, renames and removals of files",
        ("soak", "deaths"),
        ("tests/training/test_run_deaths.py",),
    ),
    Promise(
        "A full disk ends a training by one line; the last checkpoint stays, and the training goes on when there is "
        "room.",
        "disk full from a write, a rename or a new file on",
        ("soak", "full disks"),
        ("tests/training/test_run_deaths.py", "tests/cli/test_errors.py"),
    ),
    Promise(
        "SIGINT and SIGTERM let the step end and save; the exit code is 130 or 143.",
        "a signal at random moments",
        ("soak", "signals"),
        ("tests/training/test_run_stopped.py", "tests/cli/test_signals.py"),
    ),
    Promise(
        "So it is in the first second, while modules are imported.",
        "SIGINT from the first lines of the command on",
        ("soak", "interrupts"),
        ("tests/cli/test_signals.py",),
    ),
    Promise(
        "One training at a time in a folder: the other is refused, and told which process has it.",
        "two trainings started in one folder",
        ("soak", "contenders"),
        ("tests/training/test_lock.py",),
    ),
    Promise(
        "A training whose folder or lock is removed, moved or replaced ends by one line, and writes nothing more.",
        "each way to lose them, before and in each write",
        ("tests",),
        ("tests/training/test_lost_lock.py",),
    ),
    Promise(
        "A training replaces no file that is not of its run.",
        "files and links of each name that a run writes; death at every change of the disk",
        ("tests",),
        ("tests/training/test_run_folders.py", "tests/training/test_run_deaths.py"),
    ),
    Promise(
        "A training goes on with its own recordings alone, wherever their folder is.",
        "recordings and lists replaced, exchanged, reversed, moved",
        ("tests",),
        ("tests/training/test_other_recordings.py",),
    ),
    Promise(
        "A recording that is missing or damaged is named, and the training goes on once it is repaired.",
        "recordings removed, cut, lengthened, replaced by a folder or a pipe during a training",
        ("soak", "recordings"),
        ("tests/training/test_run_errors.py", "tests/data/test_event_files.py"),
    ),
    Promise(
        "The date and the time do not matter.",
        "clock set forward and back by years, half of the trainings killed",
        ("soak", "clocks"),
        ("benchmarks/soak.py",),
    ),
    Promise(
        "The memory of a training does not grow.",
        "resident memory over many steps, of an MLP and a CNN",
        ("memory",),
        ("benchmarks/soak.py",),
    ),
    Promise(
        "A damaged or hostile recording is read or refused by one line: within two seconds, and with 64 MB or eight "
        "times its size of memory.",
        "mutated files of each format, bombs, links",
        ("fuzz", "events", "counts", "read_sounds", "read_wave"),
        ("tests/data/test_event_fuzz.py", "tests/project/test_fuzz.py"),
    ),
    Promise(
        "So is a network, a checkpoint or the folder of a run.",
        "mutated archives, descriptions, arrays and tables",
        ("fuzz", "cs.load", "load_checkpoint", "load_run", "load_stats", "GradientFlow", "import_hdf5"),
        ("tests/training/test_refused_checkpoints.py", "tests/project/test_fuzz.py"),
    ),
    Promise(
        "So is a configuration or a list of labels.",
        "mutated YAML and lists: nesting, aliases, numbers at their limits",
        ("fuzz", "load_config", "Params", "label list"),
        ("tests/training/test_config_hostile.py", "tests/project/test_fuzz.py"),
    ),
    Promise(
        "Training stops where a number is not finite, and says where.",
        "loss, gradient, weight, potential or input that is NaN or infinite",
        ("tests",),
        ("tests/training/test_not_finite.py",),
    ),
    Promise(
        "The command line shows one line and no traceback, whatever its user did.",
        "no memory, no room, closed pipes, huge numbers, names that are not UTF-8",
        ("tests",),
        ("tests/cli/test_errors.py",),
    ),
    Promise(
        "The same seed gives the same bits: in another process, on any number of cores, with any seed of hashes.",
        "processes with 1, 2 and 5 threads",
        ("tests",),
        ("tests/training/test_determinism.py",),
    ),
    Promise(
        "A GPU gives the spikes of the CPU to the bit, its own bits each time, and gradients that differ by rounding.",
        "drawn networks on emulated CUDA",
        ("tests",),
        ("tests/device/test_drawn_networks.py", "tests/device/test_emulated_networks.py"),
    ),
    Promise(
        "No file that is read is run: no pickle, no tags of YAML, no other file.",
        "objects in arrays, tags, external and linked data",
        ("tests",),
        ("tests/training/test_config_hostile.py", "tests/project/test_fuzz.py"),
    ),
    Promise(
        "Nothing is sent: no socket is opened by importing, training, testing, predicting or reporting.",
        "every call of Python that opens one is watched",
        ("tests",),
        ("tests/project/test_supply.py",),
    ),
    Promise(
        "The lowest versions that are declared work; a wheel has the package and nothing else; a build repeats to the "
        "byte.",
        "an installation of the lowest versions; two builds",
        ("tests",),
        ("tests/project/test_supply.py",),
    ),
]


def counted(promise: Promise, soak: dict[str, Any], fuzz: dict[str, Any]) -> str:
    """Return how often a fault was tried, and how often the promise was broken."""
    source, *names = promise.source
    if source == "soak":
        row = soak["faults"].get(names[0])
        return f"{row['times']:,} times, {sum(row[each] for each in BAD):,} failures" if row else "-"
    if source == "fuzz":
        rows = [row for name, row in fuzz["readers"].items() if name.startswith(tuple(names))]
        bad = sum(row[kind] for row in rows for kind in KINDS)
        return f"{sum(row['files'] for row in rows):,} files, {bad:,} failures" if rows else "-"
    if source == "memory":
        found = soak["memory"].values()
        return ", ".join(f"{each['growth']:+.1%} in {each['steps']:,} steps" for each in found) or "-"
    return "each run of the tests"


def promises(soak: dict[str, Any], fuzz: dict[str, Any]) -> list[str]:
    """Return the lines of the table of promises."""
    rows = [[p.text, p.fault, counted(p, soak, fuzz), ", ".join(f"`{test}`" for test in p.tests)] for p in PROMISES]
    return page.table(["promise", "what was tried", "how often", "tests"], rows, 4)


# What the rows of soak.py are called.
FAULTS = {
    "kills": "killed at a random moment",
    "deaths": "dead before, in or after a write, rename or removal",
    "full disks": "disk full from a chosen write or rename on",
    "recordings": "recording missing, cut, or of another kind",
    "clocks": "clock set forward and back, half of them killed",
    "contenders": "two trainings in one folder",
    "signals": "SIGINT or SIGTERM at a random moment",
    "interrupts": "SIGINT in the first seconds of the command",
}


def soaked(found: dict[str, Any]) -> list[str]:
    """Return the lines of the tables of soak.py."""
    lines: list[str] = []
    if found["faults"]:
        names = ("times", "runs", *BAD)
        heads = ["fault", "times", "trainings", *(name.replace("_", " ") for name in BAD), "lost"]
        rows = [
            [FAULTS[name], *(f"{each[n]:,}" for n in names), f"{each['lost_seconds']:.0f} s"]
            for name, each in found["faults"].items()
        ]
        lines += page.table(heads, rows, 1)
    if found["memory"]:
        heads = ["resident memory of", "steps", "first", "last", "most", "growth"]
        rows = []
        for name, m in found["memory"].items():
            sizes = [f"{m[f'{n}_mb']:.1f} MB" for n in ("first", "last", "most")]
            rows.append([name, f"{m['steps']:,}", *sizes, f"{m['growth']:.1%}"])
        lines += [""] * bool(lines) + page.table(heads, rows, 1)
    return [*lines, "", machine.said(found["machine"], found["command"])]


def fuzzed(found: dict[str, Any]) -> list[str]:
    """Return the lines of the table of fuzz.py."""
    names = ("files", "refused", *KINDS)
    heads = ["reader", "files", "refused", "crashes", "hangs", "too much memory", "other errors", "slowest", "memory"]
    rows = [
        [name, *(f"{row[each]:,}" for each in names), f"{row['slowest_ms']:.0f} ms", f"{row['most_mb']:.0f} MB"]
        for name, row in found["readers"].items()
    ]
    sums = [f"{sum(row[name] for row in found['readers'].values()):,}" for name in names]
    lines = page.table(heads, [*rows, ["all", *sums, "", ""]], 1)
    return [*lines, "", machine.said(found["machine"], found["command"])]


def fill(path: Path = PAGE) -> None:
    """Write the tables of the results into a page, once both scripts have some."""
    if not (SOAK.exists() and FUZZ.exists()):
        return
    soak, fuzz = (json.loads(file.read_text(encoding="utf-8")) for file in (SOAK, FUZZ))
    for name, lines in (("promises", promises(soak, fuzz)), ("soak", soaked(soak)), ("fuzz", fuzzed(fuzz))):
        page.fill(path, name, lines, None, "")


if __name__ == "__main__":
    sys.exit(fill())
