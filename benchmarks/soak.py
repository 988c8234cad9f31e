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
import reliability  # noqa: E402
from faults import campaigns, interrupts, memory  # noqa: E402
from faults.runs import Runs  # noqa: E402
from faults.tally import Tally  # noqa: E402

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
        words = reliability.FAULTS[name]
        parser.add_argument(f"--{name.replace(' ', '-')}", type=int, metavar="N", help=f"{words}; {times}")
    parser.add_argument("--memory", action="store_true", help="also measure the resident memory of many steps")
    parser.add_argument("--memory-steps", type=int, default=MEMORY_STEPS, metavar="N")
    parser.add_argument("--only", action="store_true", help="leave out the faults that are not named")
    parser.add_argument("--minutes", type=float, metavar="M", help="try all faults in turn for so long")
    parser.add_argument("--no-figures", action="store_true", help="draw no figures, which takes most of the time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=reliability.SOAK)
    options = parser.parse_args(arguments)
    counts = {name: getattr(options, option(name)) for name in FAULTS}
    if not options.only and not any(v is not None for v in counts.values()):
        counts = {name: each[1] for name, each in FAULTS.items()}
        options.memory = options.memory or not options.minutes
    found = {"faults": {}, "memory": {}}
    if options.out.exists():
        found |= json.loads(options.out.read_text())
    command = machine.command("soak.py", sys.argv[1:] if arguments is None else arguments)
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
    bad = failures(found)
    print("\n".join([*reliability.soaked(found), *bad]))
    if options.out == reliability.SOAK:
        reliability.fill()
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
