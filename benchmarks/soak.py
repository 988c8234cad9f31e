"""Train under faults, and compare each training with one that nothing disturbed.

    python benchmarks/soak.py                                       # all faults, as often as docs/reliability.md says
    python benchmarks/soak.py --kills 300 --deaths 100 --only
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
from statistics import median
from typing import Any

# Before the import of the package, whose modules may keep the functions of the clock.
from faults import clock

clock.install()

import faults.runs  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import page  # noqa: E402
from faults import campaigns  # noqa: E402
from faults.runs import Runs, Tally  # noqa: E402

import cuslayer as cs  # noqa: E402
from cuslayer.training import Trainer  # noqa: E402

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "soak.json", ROOT / "docs" / "reliability.md"
# Each fault: its function, how often it is tried, and what the table calls it.
FAULTS = {
    "kills": (campaigns.kills, 300, "killed at a random moment"),
    "deaths": (campaigns.deaths, 100, "dead before, in or after a write, rename or removal"),
    "full disks": (campaigns.full_disks, 60, "disk full from a chosen write or rename on"),
    "recordings": (campaigns.recordings, 60, "recording missing, cut, or of another kind"),
    "signals": (campaigns.signals, 60, "SIGINT or SIGTERM at a random moment"),
}
BAD = ("differences", "left_over", "dead_ends", "wrong_exits", "hangs")
# The most training that a fault may cost, in seconds by the clocks of the run; the others may cost what a kill does.
LOST, LOST_AT_MOST = {"signals": 0.0}, 300.0
MEMORY_STEPS, MEMORY_SHARE = 2000, 0.03
NETWORKS = {"MLP": ("34x34x2-256-10", 8, 100), "CNN": ("34x34x2-8c5-2a-16c3-2a-10", 2, 50)}
# The first steps compile kernels and fill the pool of memory.
WARM, SAMPLES = 0.1, 40


def growth(name: str, count: int) -> dict[str, float]:
    """Train so many steps; return the resident memory at the start and at the end in MB, and the growth as a share.

    The memory at an end is the median of a tenth of the samples after the first steps.
    """
    notation, batch, steps = NETWORKS[name]
    r, neuron = np.random.default_rng(0), cs.SRM()
    cs.seed(0)
    net = cs.Network(notation, neuron)
    loss = cs.SpikeCountLoss(neuron, true=20, false=2, region=(0, steps))
    trainer = Trainer(net, loss, cs.Adam(net.parameters(), lr=1e-3))
    found: list[int] = []
    every = max(1, round(count * (1 - WARM)) // SAMPLES)

    def sampled():
        for number in range(count):
            if number >= WARM * count and number % every == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                found.append(pages * os.sysconf("SC_PAGE_SIZE"))
            x = r.random((steps, batch, *net.input_shape), dtype=np.float32) < 0.01
            yield x, r.integers(10, size=batch)

    trainer.train(sampled())
    tenth = max(1, len(found) // 10)
    first, last = median(found[:tenth]), median(found[-tenth:])
    sizes = {"first_mb": first / 1e6, "last_mb": last / 1e6, "most_mb": max(found) / 1e6}
    return {"steps": count, **sizes, "growth": (last - first) / first}


def disturb(runs: Runs, name: str, r: random.Random, count: int) -> Tally:
    """Try a fault so often, and count what it cost."""
    tally = FAULTS[name][0](runs, r, count)
    limit = LOST.get(name, LOST_AT_MOST)
    if tally.lost_seconds > limit:
        tally.add("wrong_exits", f"{tally.lost_seconds:g} s of training were lost, at most {limit:g} s may be")
    campaigns.clear(runs)
    print(f"{name}: {tally.times} times, {tally.failed} failures", file=sys.stderr, flush=True)
    return tally


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


def lines(found: dict[str, Any]) -> list[str]:
    """Return the tables of the page."""
    text: list[str] = []
    if found["faults"]:
        names = ("times", "runs", *BAD)
        heads = ["fault", "times", "trainings", *(name.replace("_", " ") for name in BAD), "lost"]
        rows = [
            [FAULTS[name][2], *(f"{each[n]:,}" for n in names), f"{each['lost_seconds']:.0f} s"]
            for name, each in found["faults"].items()
        ]
        text += page.table(heads, rows, 1)
    if found["memory"]:
        heads = ["resident memory of", "steps", "first", "last", "most", "growth"]
        rows = []
        for name, m in found["memory"].items():
            sizes = [f"{m[f'{n}_mb']:.1f} MB" for n in ("first", "last", "most")]
            rows.append([name, f"{m['steps']:,}", *sizes, f"{m['growth']:.1%}"])
        text += [""] * bool(text) + page.table(heads, rows, 1)
    return [*text, "", machine.said(found["machine"], found["command"])]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (_, times, words) in FAULTS.items():
        parser.add_argument(f"--{name.replace(' ', '-')}", type=int, metavar="N", help=f"{words}; {times}")
    parser.add_argument("--memory", action="store_true", help="also measure the resident memory of many steps")
    parser.add_argument("--memory-steps", type=int, default=MEMORY_STEPS, metavar="N")
    parser.add_argument("--only", action="store_true", help="leave out the faults that are not named")
    parser.add_argument("--no-figures", action="store_true", help="draw no figures, which takes most of the time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    counts = {name: getattr(options, name.replace(" ", "_")) for name in FAULTS}
    if not options.only and not any(v is not None for v in counts.values()):
        counts, options.memory = {name: each[1] for name, each in FAULTS.items()}, True
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
        for name in NETWORKS:
            found["memory"][name] = in_a_child(lambda name=name: growth(name, options.memory_steps))
    if any(counts.values()):
        with tempfile.TemporaryDirectory(prefix="cuslayer-soak") as folder:
            runs = Runs(Path(folder).resolve())
            for name, count in counts.items():
                if count:
                    found["faults"][name] = disturb(runs, name, random.Random(f"{options.seed} {name} 0"), count).row()
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    page.fill(options.docs, "soak", lines(found), None, "")
    bad = failures(found)
    print("\n".join([*lines(found), *bad]))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
