"""Train under faults, and compare each training with one that nothing disturbed.

    python benchmarks/soak.py                                       # all faults, as often as docs/reliability.md says
    python benchmarks/soak.py --minutes 60                          # all faults in turn, for an hour
    python benchmarks/soak.py --kills 300 --deaths 100 --interrupts 200 --only
    python benchmarks/soak.py --memory --only                       # resident memory over 2,000 steps

A training has 4 epochs of 10 steps on drawn recordings. By the clocks of its process, which the script moves, a step
takes 45 seconds, so that an epoch takes longer than the five minutes between two checkpoints. A disturbed training is
resumed, or begun again where there is no checkpoint, until it is done; then weights, the state of the optimizer and of
the generator, metrics (without seconds), gradients and figures must equal those of the undisturbed training to the bit,
and no other file may be left. Prints a table, and writes it to `--out` and to docs/reliability.md; a fault that is
tried again replaces its earlier row. The exit code is 1 if anything differs. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

# Before the import of the package, whose modules may keep the functions of the clock.
from faults import clock

clock.install()

import faults.runs  # noqa: E402
import machine  # noqa: E402
import page  # noqa: E402
from faults import campaigns, interrupts, memory  # noqa: E402
from faults.runs import Runs  # noqa: E402
from faults.tally import Tally  # noqa: E402

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "results" / "soak.json"
PAGE = ROOT / "docs" / "reliability.md"
# Each fault: its function, how often it is tried, and how often in each turn of --minutes.
FAULTS = {
    "kills": (campaigns.kills, 300, 30),
    "deaths": (campaigns.deaths, 100, 10),
    "full disks": (campaigns.full_disks, 60, 6),
    "recordings": (campaigns.recordings, 60, 6),
    "clocks": (campaigns.clocks, 40, 4),
    "contenders": (campaigns.contenders, 40, 4),
    "signals": (campaigns.signals, 60, 6),
    "interrupts": (interrupts.interrupts, 200, 4),
}
WORDS = {
    "kills": "killed at a random moment",
    "deaths": "dead before, in or after a write, rename or removal",
    "full disks": "disk full from a chosen write or rename on",
    "recordings": "recording missing, cut, or of another kind",
    "clocks": "clock set forward and back, half of them killed",
    "contenders": "two trainings in one folder",
    "signals": "SIGINT or SIGTERM at a random moment",
    "interrupts": "SIGINT in the first seconds of the command",
}
# The most training that a fault may cost, in seconds by the clocks of the run; the others may cost what a kill does.
LOST = {"signals": 0.0}
MEMORY_STEPS, MEMORY_SHARE = 2000, 0.03


def option(name: str) -> str:
    return name.replace(" ", "_")


def disturb(runs: Runs, name: str, r: random.Random, count: int) -> Tally:
    """Try a fault so often, and count what it cost."""
    tally = FAULTS[name][0](runs, r, count)
    limit = LOST.get(name, campaigns.lost_at_most())
    if tally.lost_seconds > limit:
        tally.add("wrong_exits", f"{tally.lost_seconds:g} s of training were lost, at most {limit:g} s may be")
    campaigns.clear(runs)
    return tally


def joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of two campaigns together."""
    join = {"lost_seconds": max}
    return {name: join.get(name, lambda a, b: a + b)(one[name], other[name]) for name in one}


def in_a_child(work) -> Any:
    """Return what a function returns in a child process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        found = file.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"soak: a child ended with {os.waitstatus_to_exitcode(status)}")
    return json.loads(found)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table of faults."""
    names = ("times", "runs", "differences", "left_over", "dead_ends", "wrong_exits", "hangs")
    return [
        [WORDS[name], *(f"{each[n]:,}" for n in names), f"{each['lost_seconds']:.0f} s"]
        for name, each in found["faults"].items()
    ]


def table(found: dict[str, Any]) -> list[str]:
    """Return the lines of the tables of a file of results."""
    lines: list[str] = []
    if found["faults"]:
        heads = [
            "fault",
            "times",
            "trainings",
            "differences",
            "left over",
            "dead ends",
            "wrong exits",
            "hangs",
            "most lost",
        ]
        lines += page.table(heads, rows(found), 1)
    if found["memory"]:
        heads = ["resident memory of", "steps", "first", "last", "most", "growth"]
        memories = []
        for name, m in found["memory"].items():
            sizes = [f"{m[f'{n}_mb']:.1f} MB" for n in ("first", "last", "most")]
            memories.append([name, f"{m['steps']:,}", *sizes, f"{m['growth']:.1%}"])
        lines += [""] * bool(lines) + page.table(heads, memories, 1)
    where = found["machine"]
    return [*lines, "", machine.said(where, found["command"])]


def failures(found: dict[str, Any]) -> list[str]:
    """Return what was not as it should be."""
    bad = [f"{name}: {problem}" for name, each in found["faults"].items() for problem in each["failures"]]
    for name, each in found["memory"].items():
        if abs(each["growth"]) > MEMORY_SHARE:
            bad.append(f"{name}: resident memory grew by {each['growth']:.1%}, at most {MEMORY_SHARE:.0%} is allowed")
    return bad


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (_, times, _) in FAULTS.items():
        parser.add_argument(f"--{name.replace(' ', '-')}", type=int, metavar="N", help=f"{WORDS[name]}; {times}")
    parser.add_argument("--memory", action="store_true", help="also measure the resident memory of many steps")
    parser.add_argument("--memory-steps", type=int, default=MEMORY_STEPS, metavar="N")
    parser.add_argument("--only", action="store_true", help="leave out the faults that are not named")
    parser.add_argument("--minutes", type=float, metavar="M", help="try all faults in turn for so long")
    parser.add_argument("--no-figures", action="store_true", help="draw no figures, which takes most of the time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--page", type=Path, help="the page with the table; by default docs/reliability.md for --out")
    options = parser.parse_args(arguments)
    counts = {name: getattr(options, option(name)) for name in FAULTS}
    if not options.only and not any(v is not None for v in counts.values()):
        counts = {name: each[1] for name, each in FAULTS.items()}
        options.memory = options.memory or not options.minutes
    found = {"faults": {}, "memory": {}}
    if options.out.exists():
        found |= json.loads(options.out.read_text())
    command = " ".join(["python benchmarks/soak.py", *(arguments if arguments is not None else sys.argv[1:])])
    found |= {"command": command, "machine": machine.describe(), "seed": options.seed}

    if options.no_figures:
        from matplotlib.figure import Figure

        faults.runs.figures = False
        Figure.savefig = lambda self, file, **_: file.write(b"figure")  # type: ignore[method-assign]
    if options.memory:
        for name in memory.NETWORKS:
            found["memory"][name] = in_a_child(lambda name=name: memory.growth(name, options.memory_steps))
    if options.minutes or any(counts.values()):
        with tempfile.TemporaryDirectory(prefix="cuslayer-soak") as folder:
            soak(Runs(Path(folder).resolve()), found, counts, options)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    lines, bad = table(found), failures(found)
    print("\n".join([*lines, *bad]))
    fill = options.page or (PAGE if options.out == OUT else None)
    if fill:
        page.fill(fill, "soak", lines, None, "")
    return int(bool(bad))


def soak(runs: Runs, found: dict[str, Any], counts: dict[str, int | None], options: argparse.Namespace) -> None:
    """Try the faults, and put what they came to into the results."""

    def tried(name: str, count: int, turn: int) -> dict[str, Any]:
        tally = disturb(runs, name, random.Random(f"{options.seed} {name} {turn}"), count)
        print(f"{name}: {tally.times} times, {tally.failed} failures", file=sys.stderr, flush=True)
        return tally.row()

    if not options.minutes:
        for name, count in counts.items():
            if count:
                found["faults"][name] = tried(name, count, 0)
        return
    until, turn = clock.now() + 60 * options.minutes, 0
    fresh: dict[str, Any] = {}
    while clock.now() < until:
        for name, (_, _, count) in FAULTS.items():
            if clock.now() < until:
                row = tried(name, count, turn)
                fresh[name] = joined(fresh[name], row) if name in fresh else row
        turn += 1
    found["faults"] |= fresh


if __name__ == "__main__":
    sys.exit(main())
