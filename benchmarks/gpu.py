"""Measure cuslayer on the GPU of this machine: one command, eight minutes, one file.

    python benchmarks/gpu.py                              # all stages, into benchmarks/results/gpu-CARD.json
    python benchmarks/gpu.py --stages probe,steps,peers   # some of them; the others' results stay in the file

Commit the file: the table of docs/kernels.md is made of it. Each stage runs in a process of its own with a limit of
time, and its results are saved as they are found. A stage that fails or takes too long is noted, with the reason, and
the next one runs; so is one that lacks something, such as torch for the other libraries. The limits are eight minutes
together.

| stage | what |
| --- | --- |
| probe | a kernel is compiled and run, matrices are multiplied; a neuron has the CPU's bits over a long silence |
| compile | every kernel is compiled, in several processes, for all the stages that follow |
| tests | `pytest -m gpu`, those of kernels first, until the time is over |
| networks | drawn networks on the GPU and on the CPU: equal spikes, gradients to rounding |
| speed | bandwidth of a copy, cost of launches, the kernel `neuron` for several numbers of columns |
| steps | training steps of the examples' MLP and CNN, launched one by one and as a CUDA graph |
| peers | the same steps in SpikingJelly and snnTorch |
| bits | steps from the same seed have equal bits, one by one and as a graph |
| epoch | an epoch of 60,000 recordings of N-MNIST's size |
| kernels | each kernel's time in the training steps, against the bytes that it must move |

Exits with 2 where there is no GPU, with 1 where a stage failed or something is not as demanded.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gpu_report
from card import Cuda
from gpu_kernels import compile_all, kernels, probe, speed
from gpu_stages import Sizes, Stage, perform, read, write
from gpu_steps import bits, epoch, peers, steps
from gpu_tests import networks, tests

import cuslayer as cs

STAGES = {
    stage.name: stage
    for stage in (
        Stage("probe", "the GPU computes, and has the CPU's bits", 30, probe),
        Stage("compile", "every kernel", 45, compile_all),
        Stage("tests", "pytest -m gpu", 90, tests),
        Stage("networks", "drawn networks against the CPU", 35, networks),
        Stage("speed", "memory, launches, neurons", 25, speed),
        Stage("steps", "training steps of MLP and CNN", 50, steps),
        Stage("peers", "the same steps in other libraries", 90, peers),
        Stage("bits", "equal steps have equal bits", 25, bits),
        Stage("epoch", "an epoch of 60,000 recordings", 40, epoch),
        Stage("kernels", "each kernel against its bytes", 40, kernels),
    )
}


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    if options.child:
        return child(options.child, options.out)
    card = described()
    if card is None:
        return 2
    names = [name for name in STAGES if name in options.stages]
    out = options.out or gpu_report.RESULTS / f"gpu-{slug(card['card'])}.json"
    found: dict[str, Any] = {"card": card["card"], "stages": read(out).get("stages", {})}
    print(f"{card['card']}: at most {sum(STAGES[name].seconds for name in names)} s; results in {out}", flush=True)
    for name in names:
        print(f"\n{name}: {STAGES[name].title}, at most {STAGES[name].seconds} s", flush=True)
        found["stages"][name] = in_process(STAGES[name])
        write(out, found)
        print("\n".join(gpu_report.text(name, found["stages"][name])), flush=True)
    missed = gpu_report.unmet({name: found["stages"][name] for name in names})
    print("\n".join(["", f"results: {out}", *(missed or ["everything is as demanded"])]))
    return 1 if missed else 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""

    def some(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in STAGES:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(STAGES)}")
        return names

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=some, default=list(STAGES), help="stages, separated by commas; default: all")
    parser.add_argument("--out", type=Path, help="the file of results; by default benchmarks/results/gpu-CARD.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def slug(card: str) -> str:
    """Return the name of a card in lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")


def command(name: str, out: Path) -> list[str]:
    """Return the command of the process of a stage, or of the description of the card."""
    return [sys.executable, str(Path(__file__).resolve()), f"--child={name}", f"--out={out}"]


def child(name: str, out: Path) -> int:
    """Run a stage in this process, or describe the card, and write the result to a file."""
    began = time.monotonic()
    try:
        cs.use("cuda")
    except ValueError as problem:
        print(f"gpu: {problem}", file=sys.stderr)
        return 2
    if name == "card":
        write(out, Cuda().describe())
    else:
        card = Cuda()
        perform(STAGES[name], card, Sizes(), lambda entry: write(out, entry), time.monotonic() - began)
    return 0


def described() -> dict[str, Any] | None:
    """Return the description of the card, or None if there is none, after its process has said why.

    This process does not use the GPU, so that a stage has all of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.json"
        subprocess.run(command("card", path), check=False)
        return read(path) or None


def in_process(stage: Stage) -> dict[str, Any]:
    """Run a stage in a process of its own, at most for its limit of time, and return its entry of the results."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.json"
        process = subprocess.Popen(command(stage.name, path), start_new_session=True)
        try:
            ended: int | None = process.wait(stage.seconds)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            # Also what the process has started, and where this one is interrupted.
            kill(process)
        entry = read(path)
    entry = {"status": "running", "limit": stage.seconds, "found": {}} | entry
    if entry["status"] == "running":
        entry |= {"status": "stopped", "reason": f"the limit of {stage.seconds} s"}
        if ended is not None:
            entry |= {"status": "failed", "reason": f"the process ended with {ended}"}
    return entry | {"seconds": time.monotonic() - began}


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
