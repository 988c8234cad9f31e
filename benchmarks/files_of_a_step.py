"""Count the files of the package that one training step passes through.

    python benchmarks/files_of_a_step.py                               # this checkout
    PYTHONPATH=OTHER_CHECKOUT python benchmarks/files_of_a_step.py     # another one

A file counts if a function that it defines is called during the step: forward pass, loss, backward pass and optimizer
step. The second step is counted: by then kernels are loaded and cached properties are computed. Module code does not
count, so an `__init__.py` that only imports names does not either. Of the functions that Numba compiles, those count
that Python calls.

Prints the number of files and their names for an MLP and the CNN of examples/nmnist_cnn.py, and exits with 1 where a
limit is exceeded.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from common import stepping

import cuslayer as cs

EXAMPLE = Path(__file__).parents[1] / "examples" / "nmnist_cnn.py"
PACKAGE = Path(cs.__file__).parent
LIMITS = {"MLP": 20, "CNN": 24}


def files_called(work: Callable[[], Any]) -> list[str]:
    """Return the files of the package whose functions are called while `work` runs, in the order of first calls."""
    found: dict[Path, None] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and frame.f_code.co_name != "<module>" and path.is_relative_to(PACKAGE):
            found[path.relative_to(PACKAGE)] = None

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return [path.as_posix() for path in found]


def training_step(name: str) -> Callable[[], None]:
    """Return a training step of a network on random spikes (300, 8, 34, 34, 2)."""
    cs.seed(0)
    neuron = cs.SRM(theta=10.0, tau_sr=10.0, tau_ref=1.0)
    net = cs.Network("34x34x2-256-10", neuron) if name == "MLP" else runpy.run_path(str(EXAMPLE))["network"](neuron)
    loss = cs.SpikeCountLoss(neuron, true=60, false=10, window=(0, 300))
    optimizer = cs.Adam(net.parameters(), lr=0.001, amsgrad=True)
    x = np.random.default_rng(0).random((300, 8, 34, 34, 2)) < 0.006
    return stepping(net, loss, optimizer, x, np.arange(8))


def main() -> int:
    exceeded = False
    for name, limit in LIMITS.items():
        step = training_step(name)
        step()
        files = files_called(step)
        exceeded |= len(files) > limit
        print(f"{name}: {len(files)} files, limit {limit}", *(f"  {file}" for file in files), sep="\n")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
