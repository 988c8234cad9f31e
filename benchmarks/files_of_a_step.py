"""Count the files of the package that one training step passes through.

    python benchmarks/files_of_a_step.py                               # this checkout
    PYTHONPATH=OTHER_CHECKOUT python benchmarks/files_of_a_step.py     # another one

A file counts if Python calls a function of it during the step: forward pass, loss, backward pass and optimizer step,
and what a `Trainer` does between two steps. Closures count, and generated code, such as the ``__init__`` of a
dataclass, for the file in whose names it runs. The third step is counted: by then kernels are loaded and cached
properties are computed. Module code does not count, so an `__init__.py` that only imports names does not either. Of the
functions that Numba compiles, those count that Python calls.

Prints a table of an MLP and the CNN of examples/nmnist_cnn.py, and the names of the files.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from common import stepping, table

import cuslayer as cs

EXAMPLE = Path(__file__).parents[1] / "examples" / "nmnist_cnn.py"
PACKAGE = Path(cs.__file__).parent
NETWORKS = ("MLP", "CNN")
KINDS = {"SRM": cs.SRM(theta=10.0, tau_sr=10.0, tau_ref=1.0), "LIF": cs.LIF(tau=10.0)}
STEP = 3


class Calls:
    """The files of the package whose functions are called from `start` to `stop`, in the order of first calls."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}

    def start(self) -> None:
        sys.setprofile(self._note)

    def stop(self) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        is_generated = code.co_filename.startswith("<")
        path = Path(frame.f_globals.get("__file__", "") if is_generated else code.co_filename)
        if event == "call" and code.co_name != "<module>" and path.is_relative_to(PACKAGE):
            self.files[path.relative_to(PACKAGE).as_posix()] = None


def parts(name: str, neuron: Any) -> tuple[Any, Any, Any, tuple[Any, Any]]:
    """Return a network, its loss and optimizer, and a batch of random spikes (300, 8, 34, 34, 2)."""
    cs.seed(0)
    net = cs.Network("34x34x2-256-10", neuron) if name == "MLP" else runpy.run_path(str(EXAMPLE))["network"](neuron)
    loss = cs.SpikeCountLoss(neuron, true=60, false=10, window=(0, 300))
    optimizer = cs.Adam(net.parameters(), lr=0.001, amsgrad=True)
    x = np.random.default_rng(0).random((300, 8, 34, 34, 2)) < 0.006
    return net, loss, optimizer, (x, np.arange(8))


def training_step(name: str, kind: str = "SRM") -> Callable[[], None]:
    """Return a training step of a network."""
    net, loss, optimizer, batch = parts(name, KINDS[kind])
    return stepping(net, loss, optimizer, *batch)


def files_in_a_loop(name: str, kind: str) -> list[str]:
    """Return the files of a step in a loop of one's own."""
    step = training_step(name, kind)
    calls = Calls()
    for number in range(1, STEP + 1):
        if number == STEP:
            calls.start()
        step()
    calls.stop()
    return list(calls.files)


def files_in_a_trainer(name: str, kind: str) -> list[str]:
    """Return the files of a step of `Trainer`."""
    net, loss, optimizer, batch = parts(name, KINDS[kind])
    calls = Calls()

    class Count(cs.training.Callback):
        def after_step(self, trainer: cs.Trainer, score: cs.training.Tally) -> None:
            if score.batches == STEP - 1:
                calls.start()
            elif score.batches == STEP:
                calls.stop()

    cs.Trainer(net, loss, optimizer, callbacks=[Count()]).train([batch] * (STEP + 1))
    return list(calls.files)


def main() -> None:
    loops = {"a loop of one's own": files_in_a_loop, "`Trainer`": files_in_a_trainer}
    files = {(name, kind, loop): loops[loop](name, kind) for name in NETWORKS for kind in KINDS for loop in loops}
    rows = [[name, kind, *(str(len(files[name, kind, loop])) for loop in loops)] for name in NETWORKS for kind in KINDS]
    print(*table(["network", "neurons", *loops], rows, left=2), sep="\n")
    for (name, kind, loop), names in files.items():
        print(f"\n{name} of {kind}, {loop}", *(f"  {file}" for file in names), sep="\n")


if __name__ == "__main__":
    main()
