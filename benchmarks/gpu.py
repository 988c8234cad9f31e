"""Measure cuslayer on the GPU of this machine: one command, eight minutes, one file.

    python benchmarks/gpu.py                              # all stages, into benchmarks/results/gpu-CARD.json
    python benchmarks/gpu.py --stages probe steps peers   # some of them; the others' results stay in the file

Commit the file: the table of docs/kernels.md is made of it. Each stage runs in a process of its own with a limit of
time, and its results are saved as they are found. A stage that fails or takes too long is noted, with the reason, and
the next one runs; so is one that lacks something, such as torch for the other libraries. docs/kernels.md says what each
stage does.

Exits with 2 where there is no GPU, with 1 where a stage failed or something is not as demanded.
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
from typing import Any

import common
import gpu_kernels
import gpu_steps
from card import Cuda, Run, Skipped, one_line

import cuslayer as cs

# Of each stage the limit of time in seconds, and its function.
STAGES: dict[str, tuple[int, Callable[[Run], None]]] = {
    "probe": (30, gpu_kernels.probe),
    "compile": (45, gpu_kernels.compile_all),
    "tests": (90, gpu_kernels.tests),
    "networks": (35, gpu_kernels.networks),
    "speed": (25, gpu_kernels.speed),
    "steps": (50, gpu_steps.steps),
    "peers": (90, gpu_steps.peers),
    "bits": (25, gpu_steps.bits),
    "epoch": (40, gpu_steps.epoch),
    "kernels": (40, gpu_kernels.kernels),
}


def main(arguments: list[str] | None = None) -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--child", choices=["card", *STAGES], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return child(options.child, options.out)
    with tempfile.TemporaryDirectory() as folder:
        # This process does not use the GPU, so that a stage has all of it.
        subprocess.run(command("card", folder), check=False)
        card = common.load("entry", Path(folder)).get("where", {}).get("card")
    if card is None:
        return 2
    name = f"gpu-{re.sub('[^a-z0-9]+', '-', card.lower()).strip('-')}"
    found: dict[str, Any] = {"card": card, "stages": common.load(name, options.out).get("stages", {})}
    stages = [stage for stage in STAGES if stage in options.stages]
    print(f"{card}: at most {sum(STAGES[stage][0] for stage in stages)} s; results in {options.out}/{name}.json")
    for stage in stages:
        print(f"\n{stage}: at most {STAGES[stage][0]} s", flush=True)
        found["stages"][stage] = in_process(stage)
        common.save(name, found, options.out)
        print(json.dumps(found["stages"][stage], indent=1), flush=True)
    missed = [line for stage in stages for line in unmet(stage, found["stages"][stage])]
    print("\n".join(missed) or "everything is as demanded")
    return 1 if missed else 0


def command(stage: str, folder: str) -> list[str]:
    """Return the command of the process of a stage, or of the description of the card."""
    return [sys.executable, str(Path(__file__).resolve()), f"--child={stage}", f"--out={folder}"]


def child(stage: str, folder: Path) -> int:
    """Run a stage in this process, or describe the card, and save what it finds whenever it finds something."""
    began = time.monotonic()
    try:
        cs.use("cuda")
    except ValueError as problem:
        print(f"gpu: {problem}", file=sys.stderr)
        return 2
    limit, work = STAGES.get(stage, (10, lambda run: None))
    run = Run(Cuda(), limit, began, lambda entry: common.save("entry", entry, folder))
    try:
        work(run)
        run.end("done")
    except Skipped as reason:
        run.end("skipped", str(reason))
    except Exception as problem:  # whatever it is: the other stages run
        run.end("failed", one_line(problem))
    return 0


def in_process(stage: str) -> dict[str, Any]:
    """Run a stage in a process of its own, at most for its limit of time, and return its entry of the results."""
    began, limit = time.monotonic(), STAGES[stage][0]
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
            process.wait()
        entry = {"status": "running", "limit": limit, "found": {}} | common.load("entry", Path(folder))
    if entry["status"] == "running":
        entry |= {"status": "stopped", "reason": f"the limit of {limit} s"}
        if ended is not None:
            entry |= {"status": "failed", "reason": f"the process ended with {ended}"}
    return entry | {"seconds": time.monotonic() - began}


def unmet(stage: str, entry: dict[str, Any]) -> list[str]:
    """Return what failed in a stage and what is not as demanded, as lines."""
    failed = [f"{stage}: {entry['reason']}"] if entry["status"] in ("failed", "stopped") else []
    checks = entry["found"].get("checks", [])
    return failed + [f"{stage}: {each['what']}: {each['found']}" for each in checks if not each["met"]]


if __name__ == "__main__":
    sys.exit(main())
