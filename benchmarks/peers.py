"""Compare cuslayer with other libraries: lava-dl, SpikingJelly, snnTorch, Norse, sinabs, Spyx, brainevent.

    python benchmarks/peers.py --data NMNISTsmall                     # all works: 30 minutes on two cores
    python benchmarks/peers.py --data NMNISTsmall --works mlp8 cnn8   # some of them
    python benchmarks/peers.py --only snntorch spyx --works mlp8      # the embedded digits, two of the peers
    python benchmarks/peers.py --works                                # none: the pictures and the page once more

`--data` is a folder of .bs2 recordings with a training and a test list; by default the embedded digits are used. The
peers are installed from PyPI into a separate environment at the first run (`--env`). Each library runs in its own
process; cuslayer and a peer take steps in turn. The peers' weights are scaled layer by layer until their neurons fire
as often as cuslayer's; the learning rate is tiny. A peer whose layer is silent after its steps is not compared. Prints
tables and writes them with versions, machine and command to benchmarks/results/peers.json and docs/performance.md. A
work that is measured again replaces its earlier results in the file, so that a run may be made in parts. Works over
activities take the fastest form of each library in `mlp8` and `cnn8`, which therefore are first.
"""

from __future__ import annotations

import argparse
import datetime
import math
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import common
import numpy as np
from comparison import charts, process, report, works
from comparison.process import NotRun, Worker
from comparison.works import NAMES, TRAINING, Work

from cuslayer.data import Digits, Loader, open_folder

PARTS = ("forward", "backward", "optimizer")
RECORDINGS, STREAMS = 200, 5
# Seconds of a step that is measured only once.
LONG = 10.0
# How far gradients may be from the plain matrix path's, relative to their norm.
GRADIENT_TOLERANCE = 1e-5


class Comparison:
    """The measurements of one run of the script."""

    def __init__(self, options: argparse.Namespace, scratch: Path, found: dict) -> None:
        self.options, self.scratch, self.found = options, scratch, found
        self.machine = common.describe()
        self.folder = str(Path(options.data).resolve()) if options.data else None
        self.versions: dict[str, str] = {}
        wanted = {peer for name in set(options.works) & set(TRAINING) for peer, _ in TRAINING[name].peers}
        self.problems = process.install(options.env, sorted(wanted & set(options.only) - {"ours"}))

    def start(self, peer: str) -> Worker:
        """Start the process of a library.

        Raises:
            NotRun: the library is not installed, or cannot be imported.
        """
        if peer in self.problems:
            raise NotRun(peer, self.problems[peer])
        python = Path(sys.executable) if peer == "ours" else process.python_of(self.options.env)
        worker = Worker(python, peer, self.machine["cores"], self.scratch)
        try:
            self.versions |= worker.ask("hello")["versions"]
        except NotRun:
            worker.__exit__()
            raise
        return worker

    def build(self, worker: Worker, work: Work, form: str, rates: list[float] | None = None) -> dict:
        """Build a network on a batch: of recordings, or random images, or inputs that fire in a share of the steps."""
        steps = min(work.steps, self.options.steps)
        batch = self.scratch / f"batch{work.batch}-{work.activity}-{steps}-{math.prod(work.sensor)}.npz"
        if not batch.exists():
            if work.images:
                spikes = np.random.default_rng(0).random((1, work.batch, *work.sensor), np.float32)
                labels = np.arange(work.batch) % 10
            elif work.activity is None:
                dataset = open_folder(self.folder)[0] if self.folder else Digits("train")
                count = min(work.batch, len(dataset))
                spikes, labels = next(iter(Loader(dataset, count, steps=steps, shuffle=True, seed=0)))
            else:
                drawn = np.random.default_rng(0).random((steps, work.batch, *work.sensor), np.float32)
                spikes, labels = drawn < work.activity, np.arange(work.batch) % 10
            np.savez(batch, spikes=spikes, labels=labels)
        given = asdict(work) | {"steps": steps, "threads": self.machine["cores"]}
        return worker.ask("build", batch=str(batch), work=given, form=form, rates=rates)

    def peers(self, work: Work) -> list[tuple[str, str]]:
        """Return the pairs of library and form that are compared."""
        rows = self.found["works"].get(work.like, {}).get("rows", ())[1:]
        fastest: dict[str, str] = {}
        for row in sorted((row for row in rows if {"step", "key"} <= set(row)), key=lambda row: row["step"]):
            fastest.setdefault(row["peer"], row["key"])
        wanted = [(peer, form) for peer, form in work.peers if peer in {"ours", *self.options.only}]
        return [(peer, form) for peer, form in wanted if peer == "ours" or form == fastest.get(peer, form)]

    def training(self, name: str) -> dict:
        """Check cuslayer's gradients, then time steps of cuslayer and each peer in turn."""
        work, rows, all_ours = TRAINING[name], [], []
        repeats = self.options.repeats or work.repeats
        with self.start("ours") as ours:
            self.build(ours, work, work.ours)
            gradients = ours.ask("check", tolerance=GRADIENT_TOLERANCE)
        print(f"{name}: gradients off by {gradients['error']:.1e} ({gradients['dtype']})", flush=True)
        if not gradients["error"] <= GRADIENT_TOLERANCE:
            raise SystemExit(f"peers: {name}: cuslayer's gradients differ from the plain matrix path's")
        with self.start("ours") as ours:
            mine = {"peer": "ours", "key": work.ours, **self.build(ours, work, work.ours)}
            ours.ask("step")
            for peer, form in self.peers(work):
                row: dict[str, Any] = {"peer": peer, "key": form, "form": form}
                try:
                    with self.start(peer) as other:
                        row |= self.build(other, work, form, None if peer == "ours" else mine["rates"])
                        steps, theirs = in_turn([ours, other], repeats)
                        after = other.ask("peak")
                    if any(own and not rate for rate, own in zip(after["rates"], mine["rates"], strict=True)):
                        raise NotRun(peer, "a layer is silent after its steps, which the times would not show")
                    row |= medians(theirs) | after
                    row["times"] = row["step"] / medians(steps)["step"]
                    all_ours += steps
                    print(f"  {NAMES[peer]} ({row['form']}): {row['times']:.1f} times", flush=True)
                except NotRun as problem:
                    if problem.model == "ours":
                        raise
                    row["problem"] = str(problem)
                    print(f"  {NAMES[peer]} ({row['form']}): not run: {problem}", flush=True)
                rows.append(row)
            mine |= medians(all_ours or in_turn([ours], repeats)[0]) | ours.ask("peak")
        return {"rows": [mine, *rows], "gradients": gradients}

    def ours_alone(self, name: str) -> dict:
        """Measure inference, of recordings one by one, or a step of a stream."""
        work = TRAINING[works.ALONE]
        steps = min(work.steps, self.options.steps)
        with self.start("ours") as ours:
            self.build(ours, work, "default")
            if name == "stream":
                return ours.ask(name, steps=steps, repeats=self.options.repeats or STREAMS)
            return ours.ask(name, data=self.folder, steps=steps, count=RECORDINGS)

    def measure(self, name: str, command: str) -> dict:
        print(f"{name}:", flush=True)
        self.versions = {"Python": self.machine["python"]}
        found = self.training(name) if name in TRAINING else self.ours_alone(name)
        recordings = "recordings from `--data`" if self.options.data else "the embedded digits"
        if name == "stream" or (name in TRAINING and TRAINING[name].activity is not None):
            recordings = "random spikes"
        elif name in TRAINING and TRAINING[name].images:
            recordings = "random images"
        found["run"] = {
            "date": datetime.date.today().isoformat(),
            "command": command,
            "recordings": recordings,
            "steps": min(TRAINING.get(name, TRAINING[works.ALONE]).steps, self.options.steps),
            "threads": self.machine["cores"],
            "machine": self.machine,
            "versions": self.versions,
        }
        return found


def in_turn(workers: list[Worker], repeats: int) -> list[list[dict]]:
    """Return the seconds of each process's steps, taken in turn, without those of the first round.

    Where a step of the first round takes long, that round is the only one.
    """
    first = [[worker.ask("step")] for worker in workers]
    if any(sum(steps[0].values()) > LONG for steps in first):
        return first
    rounds = [[worker.ask("step") for worker in workers] for _ in range(repeats)]
    return [list(steps) for steps in zip(*rounds, strict=True)]


def medians(steps: list[dict]) -> dict[str, Any]:
    """Return the seconds of whole steps, their median, and the median of each part."""
    seconds = [sum(step.values()) for step in steps]
    return {"seconds": seconds, "step": median(seconds), **{part: median(s[part] for s in steps) for part in PARTS}}


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", help="a folder of .bs2 recordings")
    parser.add_argument("--works", nargs="*", choices=works.WORKS, default=list(works.WORKS), metavar="WORK")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES), help="the libraries beside cuslayer")
    parser.add_argument("--repeats", type=int, help="steps that are timed; by default 7, 5 or 3, by work")
    parser.add_argument("--steps", type=int, default=max(work.steps for work in TRAINING.values()), help="at most")
    parser.add_argument("--env", type=Path, default=process.FOLDER, help="the peers' environment")
    options = parser.parse_args(arguments)
    command = common.command("peers", arguments)
    found = {"works": {}} | common.load("peers", options.out)
    found["works"] = {name: work for name, work in found["works"].items() if name in works.WORKS}
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(options, Path(scratch), found)
        # In the order of the works, since some depend on others.
        for name in (name for name in works.WORKS if name in options.works):
            found["works"][name] = comparison.measure(name, command)
            common.save("peers", found, options.out)
    charts.activities(options.out / "peers_activity.png", found)
    charts.overview(options.out / "peers.png", found)
    caption = "Time of a training step of each library, and on a card"
    common.show(options.out, "performance", "peers", report.text(found), "peers", caption)


if __name__ == "__main__":
    main()
