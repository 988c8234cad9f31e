"""A trained network as a C program that answers while a camera's events arrive.

    cuslayer train digits --out digits
    python examples/live_c.py digits            # needs gcc
    python examples/live_c.py digits --bits 8   # integers

The script writes the network as C, compiles it with the program `live_c/live.c`, and sends it test recordings at the
speed at which they were recorded. It prints the class that leads whenever it changes, and compares all output spikes
with `net.stream()`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

import cuslayer as cs
from cuslayer.training import load_run

PROGRAM = Path(__file__).parent / "live_c" / "live.c"


def send(events: cs.Events, to: IO[str], speed: float) -> None:
    """Write each event when its time has come, and close the pipe."""
    start = time.perf_counter()
    with to:
        for t, x, y, p in sorted(zip(events.t, events.x, events.y, events.p, strict=True)):
            time.sleep(max(0.0, t / 1000 / speed - (time.perf_counter() - start)))
            to.write(f"{t * 1000:.0f} {x} {y} {p}\n")
            to.flush()


def answer(program: Path, events: cs.Events, dt: float, speed: float) -> list[tuple[int, int]]:
    """Run the program, print the leading class whenever it changes, and return all output spikes: (step, class)."""
    spikes: list[tuple[int, int]] = []
    leading = None
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        source = threading.Thread(target=send, args=(events, process.stdin, speed))
        source.start()
        for line in process.stdout:
            step, *fired = map(int, line.split())
            spikes += [(step, output) for output in fired]
            counts = np.bincount([output for _, output in spikes])
            if counts.argmax() != leading:
                leading = counts.argmax()
                print(f"  {step * dt:5.0f} ms: {leading}", flush=True)
        source.join()
    return spikes


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, compile, play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run that `cuslayer train digits` wrote")
    parser.add_argument("--bits", type=int, help="integer weights of so many bits")
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--speed", type=float, default=1.0, help="1 is the speed of the recording")
    parser.add_argument("--out", type=Path, default=Path("live"), help="folder of the files")
    options = parser.parse_args(arguments)
    run = load_run(options.run)
    dt = run.config.neuron.dt
    digits = cs.Digits("test")
    recordings = [digits[i] for i in range(0, len(digits), len(digits) // options.recordings)][: options.recordings]
    _, width, channels = digits.shape
    net = run.net.eval()
    if options.bits is not None:
        x = np.stack([events.to_spikes(digits.shape, run.config.steps, dt) for events, _ in recordings], axis=1)
        net = cs.quantize(net, x, weights=options.bits)
    options.out.mkdir(exist_ok=True)
    exported = cs.export_c(net, options.out / "net")
    program = options.out / "live"
    if shutil.which("gcc") is None:
        print("not run: gcc missing")
        return
    sizes = [f"-DSTEP={dt * 1000:.0f}", f"-DWIDTH={width}", f"-DCHANNELS={channels}"]
    files = [PROGRAM, exported.source, "-I", options.out, "-o", program]
    subprocess.run(["gcc", "-std=c99", "-O2", *sizes, *map(str, files)], check=True)
    for events, label in recordings:
        print(f"digit {label}:")
        spikes = answer(program.resolve(), events, dt, options.speed)
        stream = net.stream()
        expected = []
        for step, frame in enumerate(events.to_spikes(digits.shape, int(events.t.max() / dt) + 1, dt)):
            expected += [(step, int(output)) for output in np.flatnonzero(stream.step(frame[None]))]
        print(f"  {len(spikes)} output spikes, {'the same as' if spikes == expected else 'OTHERS THAN'} in Python")


if __name__ == "__main__":
    main()
