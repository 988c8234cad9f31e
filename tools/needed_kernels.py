"""Write the list of kernels that usual networks call, `cuslayer/kernels/needed.json`.

    python -m tools.needed_kernels    # four minutes

Each network is calibrated, trained for two steps and tested in a process of its own, which notes each kernel that it
compiles, and the time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher

import cuslayer as cs
from cuslayer._base.compiling.compilers import VARIABLE
from cuslayer._base.compiling.expected_steps import expected
from cuslayer._base.compiling.needed_kernels import FILE, Signature, UsualNetwork, content_of, networks_of
from cuslayer.network import Word
from cuslayer.training import load_config

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)


def events(steps: int, samples: int, *shape: int, rate: float = 0.01) -> Any:
    return RNG.random((steps, samples, *shape)) < rate


def train(net: Any, x: Any, loss: Any) -> None:
    """Calibrate, train and test a network of ten classes."""
    batches = [(x, np.arange(x.shape[1]) % 10)] * 2
    trainer = cs.Trainer(net, loss, cs.Adam(net.parameters(), lr=0.01))
    trainer.train(batches)
    trainer.test(batches)


def dense(neuron: Any) -> None:
    net = cs.Network("34x34x2-256-10", neuron)
    train(net, events(300, 16, 34, 34, 2), cs.SpikeCountLoss(net[-1], true=60, false=10))


def convolutional() -> None:
    net = cs.Network("34x34x2-16c5-2a-32c3-2a-64c3-10", cs.SRM())
    train(net, events(300, 8, 34, 34, 2), cs.SpikeCountLoss(net[-1], true=60, false=10))


def recurrent(neuron: Any) -> None:
    net = cs.Network("64-128r-10", neuron)
    train(net, events(100, 16, 64, rate=0.05), cs.SpikeCountLoss(net[-1], true=20, false=2))


def images(name: str) -> None:
    net = load_config(name).network()
    pictures = RNG.random((64, 28, 28, 1), np.float32)
    train(net, cs.functions.replicate(pictures, steps=4), cs.CrossEntropyLoss())


def normalized() -> None:
    words = [Word("34x34x2"), Word("8c3", norm="std"), Word("2a"), Word("16c3", norm="std"), Word("2a"), Word("10")]
    net = cs.Network(words, cs.SRM())
    train(net, events(100, 16, 34, 34, 2), cs.SpikeCountLoss(net[-1], true=30, false=5))


def read_out(notation: str, neuron: Any) -> None:
    net = cs.Network(notation, neuron)
    train(net, events(100, 32, 128, rate=0.03), cs.CrossEntropyLoss())


NETWORKS: dict[str, Callable[[], None]] = {
    "dense SRM": lambda: dense(cs.SRM()),
    "dense LIF": lambda: dense(cs.LIF()),
    "convolutional": convolutional,
    "recurrent AdLIF": lambda: recurrent(cs.AdLIF()),
    "recurrent LIF": lambda: recurrent(cs.LIF()),
    "images": lambda: images("fashion-mnist"),
    "residual": lambda: images("fashion-mnist-residual"),
    "normalized": normalized,
    "read-out": lambda: read_out("128-128-10out", cs.LIF()),
    "recurrent read-out": lambda: read_out("128-128r-10out", cs.AdLIF()),
}


def record(name: str) -> UsualNetwork:
    """Run a network; return the kernels that it calls, in the order of the first calls, and the seconds of each."""
    kernels: dict[Signature, float] = {}
    compile_kernel = Dispatcher.compile
    running = []

    def note(dispatcher: Any, arguments: tuple[Any, ...]) -> Any:
        outermost = not running  # it may compile others, which are inlined
        running.append(dispatcher)
        began = time.perf_counter()
        try:
            return compile_kernel(dispatcher, arguments)
        finally:
            running.pop()
            named = "<locals>" not in dispatcher.py_func.__qualname__
            if outermost and named and dispatcher.py_func.__module__.startswith("cuslayer.kernels."):
                kernels[Signature.of(dispatcher, arguments)] = round(time.perf_counter() - began, 1)

    Dispatcher.compile = note
    NETWORKS[name]()
    return UsualNetwork(expected(), kernels)


def recorded(cache: str) -> list[UsualNetwork]:
    """Return the networks with their kernels, from processes of their own with an empty cache."""
    networks = []
    for name in NETWORKS:
        command = [sys.executable, "-m", "tools.needed_kernels", "--record", name]
        environment = os.environ | {VARIABLE: "0", "NUMBA_CACHE_DIR": cache}
        text = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout
        networks += networks_of(json.loads(text))
    return networks


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--record", choices=list(NETWORKS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.record:
        print(json.dumps(content_of([record(options.record)])))
        return 0
    with tempfile.TemporaryDirectory() as cache:
        FILE.write_text(as_text(content_of(recorded(cache))), "utf-8")
    return 0


def as_text(content: dict[str, list[Any]]) -> str:
    """Return the content with one type, kernel or network a line."""
    lists = []
    for name, rows in content.items():
        lines = ",\n".join(map(json.dumps, rows))
        lists.append(f"{json.dumps(name)}: [\n{lines}\n]")
    return "{\n" + ",\n".join(lists) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
