"""Compare cuslayer with other libraries: lava-dl, SpikingJelly, snnTorch, Norse, sinabs, Spyx, brainevent.

    python benchmarks/peers.py --data NMNISTsmall                     # all works: 25 minutes on two cores
    python benchmarks/peers.py --data NMNISTsmall --works mlp8 cnn8   # some of them
    python benchmarks/peers.py --only snntorch spyx --works mlp8      # the embedded digits, two of the peers

`--data` is a folder of .bs2 recordings with a training and a test list; by default some of the embedded digits are
written to one. The peers are installed from PyPI into a separate environment at the first run (`--env`). Each library
runs in its own process; cuslayer and a peer take steps in turn. The peers' weights are scaled layer by layer until
their neurons fire as often as cuslayer's; the learning rate is tiny. Prints tables and writes them with versions,
machine and command to `--out`, a chart beside it, and all to `--docs`. A work that is measured again replaces its
earlier results in the file, so that a run may be made in parts. Works over activities take the fastest form of each
library in `mlp8` and `cnn8`, which therefore are first.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import machine
import page
from comparison import environment, recordings, report, works
from comparison.environment import NotRun, Process
from comparison.works import NAMES, TRAINING, Work

ROOT = Path(__file__).parents[1]
CAPTION = "Time of a training step against activity, of each library"
PARTS = ("forward", "backward", "optimizer")
RECORDINGS, STREAMS = 200, 5
# Samples on which the peers' weights are scaled where the input is random.
FEW = 2
# Seconds of a step that is measured only once.
LONG = 10.0


class Comparison:
    """The measurements of one run of the script."""

    def __init__(self, options: argparse.Namespace, scratch: Path, found: dict) -> None:
        self.options, self.scratch, self.found = options, scratch, found
        self.folder = recordings.folder_of(options.data, scratch)
        self.versions: dict[str, str] = {}
        wanted = [name for name in NAMES if name != "ours" and name in options.only]
        self.problems = environment.install(options.env, wanted) if set(options.works) & set(TRAINING) else {}

    def start(self, peer: str) -> Process:
        """Start the process of a library.

        Raises:
            NotRun: the library is not installed, or cannot be imported.
        """
        if peer in self.problems:
            raise NotRun(peer, self.problems[peer])
        python = Path(sys.executable) if peer == "ours" else environment.python_of(self.options.env)
        process = Process(python, peer, self.options.threads, self.scratch / f"{peer}.log")
        try:
            self.versions |= process.ask("hello")["versions"]
        except NotRun:
            process.__exit__()
            raise
        return process

    def build(self, process: Process, work: Work, form: str, rates: list[float] | None = None) -> dict:
        steps = work.steps or self.options.steps
        batch = self.scratch / f"batch{work.batch}-{work.activity}-{steps}-{len(work.sensor)}.npz"
        if not batch.exists():
            recordings.save_batch(batch, self.folder, work, steps)
        description = {"layers": work.layers, "batch": work.batch, "threads": self.options.threads}
        return process.ask(
            "build", batch=str(batch), work=description | {"initial": work.initial}, form=form, rates=rates
        )

    def peers(self, work: Work) -> list[tuple[str, str]]:
        """Return the pairs of library and form that are compared."""
        wanted = [(peer, form) for peer, form in work.peers if peer in {"ours", *self.options.only}]
        if work.like is None:
            return wanted
        fastest: dict[str, str] = {}
        rows = [
            row
            for row in self.found.get("works", {}).get(work.like, {}).get("rows", ())[1:]
            if {"step", "key"} <= set(row)
        ]
        for row in sorted(rows, key=lambda row: row["step"]):
            fastest.setdefault(row["peer"], row["key"])
        return [(peer, form) for peer, form in wanted if peer == "ours" or form == fastest.get(peer, form)]

    def training(self, name: str) -> dict:
        """Check cuslayer's gradients, then time steps of cuslayer and each peer in turn."""
        work, rows = TRAINING[name], []
        repeats, all_ours = self.options.repeats or work.repeats, []
        with self.start("ours") as ours:
            self.build(ours, work, "default")
            gradients = ours.ask("check")
        print(f"{name}: gradients off by {gradients['error']:.1e} ({gradients['dtype']})", flush=True)
        if gradients["error"] > recordings.GRADIENT_TOLERANCE:
            raise SystemExit(f"peers: {name}: cuslayer's gradients differ from the plain matrix path's")
        with self.start("ours") as ours:
            mine = {"peer": "ours", "key": "default", **self.build(ours, work, "default")}
            ours.ask("step")
            for peer, form in self.peers(work):
                row: dict[str, Any] = {"peer": peer, "key": form, "form": form}
                try:
                    with self.start(peer) as other:
                        row |= self.build(other, work, form, None if peer == "ours" else mine["rates"])
                        steps, theirs = in_turn([ours, other], repeats)
                        row |= medians(theirs) | other.ask("peak")
                    row["times"] = row["step"] / medians(steps)["step"]
                    all_ours += steps
                    print(f"  {NAMES[peer]} ({row['form']}): {row['times']:.1f} times", flush=True)
                except NotRun as problem:
                    note(row, problem)
                rows.append(row)
            if not all_ours:
                all_ours = in_turn([ours], repeats)[0]
            mine |= medians(all_ours) | ours.ask("peak")
        return {"rows": [mine, *rows], "gradients": gradients}

    def ours_alone(self, name: str) -> dict:
        """Measure inference, of recordings one by one, or a step of a stream."""
        with self.start("ours") as ours:
            rates = self.build(ours, TRAINING[works.ALONE], "default")["rates"]
            if name == "stream":
                return ours.ask(name, steps=self.options.steps, repeats=self.options.repeats or STREAMS)
            found = ours.ask(name, data=self.folder, steps=self.options.steps, count=RECORDINGS)
            return {**found, "rates": rates, "batch": TRAINING[works.ALONE].batch}

    def source(self, name: str) -> str:
        """Return whose spikes a work has."""
        if name == "stream" or (name in TRAINING and TRAINING[name].activity is not None):
            return "random spikes"
        return "recordings from `--data`" if self.options.data else "the embedded digits"

    def measure(self, name: str, command: str) -> dict:
        print(f"{name}:", flush=True)
        self.versions = {}
        if name in TRAINING:
            found = self.training(name)
        else:
            found = self.ours_alone(name)
        found["run"] = {
            "date": datetime.date.today().isoformat(),
            "command": command,
            "recordings": self.source(name),
            "steps": (TRAINING[name].steps if name in TRAINING else None) or self.options.steps,
            "threads": self.options.threads,
            "machine": machine.describe(),
            "versions": {"Python": machine.describe()["python"], **self.versions},
        }
        return found


def note(row: dict, problem: NotRun) -> None:
    """Note why a peer was not run; raise the problem if it is cuslayer's."""
    if problem.model == "ours":
        raise problem
    row["problem"] = str(problem)
    print(f"  {NAMES[row['peer']]} ({row['form']}): not run: {problem}", flush=True)


def in_turn(processes: list[Process], repeats: int) -> list[list[dict]]:
    """Return the seconds of each process's steps, taken in turn, without those of the first round.

    Where a step of the first round takes long, that round is the only one.
    """
    seconds: list[list[dict]] = [[] for _ in processes]
    for turn in range(repeats + 1):
        for process, kept in zip(processes, seconds, strict=True):
            kept.append(process.ask("step"))
        if not turn:
            if any(sum(kept[0].values()) > LONG for kept in seconds):
                break
            for kept in seconds:
                kept.clear()
    return seconds


def medians(steps: list[dict]) -> dict[str, float]:
    """Return the seconds of whole steps, their median, and the median of each part."""
    seconds = [sum(step.values()) for step in steps]
    return {"seconds": seconds, "step": median(seconds), **{part: median(s[part] for s in steps) for part in PARTS}}


def arguments_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", help="a folder of .bs2 recordings")
    add("--works", nargs="*", choices=works.WORKS, default=list(works.WORKS))
    add("--only", nargs="*", choices=list(NAMES), default=list(NAMES), help="the libraries beside cuslayer")
    add("--repeats", type=int, help="steps that are timed; by default 7, 5 or 3, by work")
    add("--steps", type=int, default=works.STEPS, help="of 1 ms")
    add("--threads", type=int, default=machine.describe()["cores"], help="for every library that can be told")
    add("--env", type=Path, default=environment.default_folder(), help="the peers' environment")
    add("--out", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    add("--docs", type=Path, default=page.PERFORMANCE, help="a page with the marks of this script")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else arguments
    options = arguments_of(given)
    command = shlex.join(["python", "benchmarks/peers.py", *_shown(given)])
    found = json.loads(options.out.read_text()) if options.out.exists() else {"works": {}}
    found["works"] = {name: work for name, work in found["works"].items() if name in works.WORKS}
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(options, Path(scratch), found)
        # In the order of the works, since some depend on others.
        for name in (name for name in works.WORKS if name in options.works):
            found["works"][name] = comparison.measure(name, command)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=2) + "\n")
    chart = report.chart(options.out.with_name(f"{options.out.stem}_activity.png"), found)
    page.fill(options.docs, "peers", lines := report.text(found), chart, CAPTION)
    print("\n".join(lines))


def _shown(arguments: list[str]) -> list[str]:
    """Return the arguments with folders by name, without the paths of this machine and of what is written."""
    written = {"--out", "--docs", "--env"}
    kept = [a for i, a in enumerate(arguments) if not written & {a, *arguments[max(i - 1, 0) : i]}]
    return [Path(a).name if Path(a).is_absolute() else a for a in kept]


if __name__ == "__main__":
    main()
