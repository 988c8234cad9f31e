"""Measure cuslayer on the GPU of this machine: one command, ten minutes, one file, a verdict a line.

    python benchmarks/gpu.py                              # all stages, into benchmarks/results/gpu-CARD.json
    python benchmarks/gpu.py --stages probe steps peers   # some of them; the others' results stay in the file

It runs from a checkout, installed or not. Commit the file: the table of docs/kernels.md is made of it. The kernels of
the CPU are compiled first. Then each stage runs in a process of its own with a limit of time, and its results are saved
as they are found. A stage that fails, takes too long or has found nothing is noted, with the reason, and the next one
runs; so is one that lacks something, such as torch for the other libraries. docs/kernels.md says what each stage does.

Exits with 2 where there is no GPU or it gives no answer, with 1 where a stage failed or something is not as demanded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import common
import gpu_kernels
import gpu_steps
from card import Cuda, Run, Skipped, one_line

import cuslayer as cs


class Stage(NamedTuple):
    """A stage: its limit of time in seconds, its function, and names in its results without which it did nothing."""

    limit: int
    work: Callable[[Run], None]
    needs: tuple[str, ...]


STAGES = {
    "probe": Stage(30, gpu_kernels.probe, ("spikes",)),
    "compile": Stage(45, gpu_kernels.compile_all, ("compiled",)),
    "tests": Stage(90, gpu_kernels.tests, ("passed",)),
    "networks": Stage(35, gpu_kernels.networks, ("compared", "fired")),
    "speed": Stage(25, gpu_kernels.speed, ("copy_bytes_per_second", "step_nanoseconds")),
    "steps": Stage(50, gpu_steps.steps, ("rows",)),
    "peers": Stage(90, gpu_steps.peers, ("timed",)),
    "bits": Stage(25, gpu_steps.bits, ("rows",)),
    "epoch": Stage(40, gpu_steps.epoch, ("epoch_seconds",)),
    "kernels": Stage(40, gpu_kernels.kernels, ("step",)),
}
# Seconds in which a card must say what it is, and in which the CPU's kernels must be compiled.
ANSWER, COMPILED = 60, 300


def main(arguments: list[str] | None = None) -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--child", choices=["card", "cpu", *STAGES], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return child(options.child, options.out)
    # This process does not use the GPU, so that a stage has all of it.
    entry = in_process("card", ANSWER)
    about = entry.get("where", {})
    if "card" not in about:
        hangs = entry["status"] == "stopped"
        print(f"gpu: the GPU gave no answer in {ANSWER} s: its driver may hang" if hangs else f"gpu: {entry['reason']}")
        return 2
    card = about["card"]
    name = f"gpu-{re.sub('[^a-z0-9]+', '-', card.lower()).strip('-')}"
    found: dict[str, Any] = {"card": card, "stages": common.load(name, options.out).get("stages", {})}
    stages = [stage for stage in STAGES if stage in options.stages]
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(f"at most {sum(STAGES[stage].limit for stage in stages)} s; results in {options.out}/{name}.json", flush=True)
    compiling = in_process("cpu", COMPILED)
    print(f"the CPU's kernels: {compiling['reason'] or 'compiled'}, {compiling['seconds']:.0f} s")
    for stage in stages:
        print(f"\n{stage}: at most {STAGES[stage].limit} s", flush=True)
        found["stages"][stage] = in_process(stage, STAGES[stage].limit)
        common.save(name, found, options.out)
        print(json.dumps(found["stages"][stage], indent=1), flush=True)
    print("", *(verdict(stage, found["stages"][stage]) for stage in stages), sep="\n")
    return 1 if any(unmet(found["stages"][stage]) for stage in stages) else 0


def command(stage: str, folder: str) -> list[str]:
    """Return the command of the process of a stage, or of the description of the card."""
    return [sys.executable, str(Path(__file__).resolve()), f"--child={stage}", f"--out={folder}"]


def child(stage: str, folder: Path) -> int:
    """Run a stage in this process, or describe the card, or compile the CPU's kernels; save what is found at once."""

    def save(entry: dict[str, Any]) -> None:
        common.save("entry", entry, folder)

    began = time.monotonic()
    limit, work, needs = STAGES.get(stage, Stage(ANSWER, lambda run: None, ()))
    try:
        if stage == "cpu":
            gpu_kernels.compile_for_cpu()
            save({"status": "done", "reason": None})
            return 0
        cs.use("cuda")
        run = Run(Cuda(), limit, began, save)
    except Exception as problem:  # without a card no stage runs
        save({"status": "failed", "reason": one_line(problem)})
        return 2
    try:
        work(run)
        missing = [name for name in needs if not run.found.get(name)]
        run.end("failed" if missing else "done", f"it found nothing: no {', no '.join(missing)}" if missing else None)
    except Skipped as reason:
        run.end("skipped", str(reason))
    except Exception as problem:  # whatever it is: the other stages run
        run.end("failed", one_line(problem))
    return 0


def in_process(stage: str, limit: int) -> dict[str, Any]:
    """Run a stage in a process of its own, at most for its limit of time, and return its entry of the results."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command(stage, folder), start_new_session=True)
        try:
            ended: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            # Also what the process has started, and where this one is interrupted.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            # A process that waits for a driver that hangs does not end.
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        entry = {"status": "running", "limit": limit, "found": {}} | common.load("entry", Path(folder))
    if entry["status"] == "running":
        entry |= {"status": "stopped", "reason": f"the limit of {limit} s"}
        if ended is not None:
            entry |= {"status": "failed", "reason": f"the process ended with {ended}"}
    return entry | {"seconds": time.monotonic() - began}


def unmet(entry: dict[str, Any]) -> list[str]:
    """Return what failed in a stage and what is not as demanded, as lines."""
    failed = [entry["reason"]] if entry["status"] in ("failed", "stopped") else []
    return failed + [f"{each['what']}: {each['found']}" for each in entry["found"].get("checks", []) if not each["met"]]


def verdict(stage: str, entry: dict[str, Any]) -> str:
    """Return how a stage ended, in one line."""
    checks, problems = len(entry["found"].get("checks", [])), unmet(entry)
    if entry["status"] == "skipped":
        return f"{stage}: skipped: {entry['reason']}"
    return f"{stage}: {'NOT MET: ' + '; '.join(problems) if problems else f'{checks} of {checks} demands met'}"


if __name__ == "__main__":
    sys.exit(main())
