"""A process with a network of one library. Each request and each answer is one line of JSON.

python -m comparison.worker snntorch
"""

from __future__ import annotations

import importlib
import math
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from common import answers, memory

# A step that takes longer than this finds its caches by itself; a shorter one is taken once before it is timed.
_LONG = 1.0


class Worker:
    def __init__(self, model: str) -> None:
        self.module = importlib.import_module(f"comparison.models.{model}")
        self.imported = memory("VmRSS") if sys.platform == "linux" else None
        self.last = math.inf

    def hello(self) -> dict:
        return {"versions": {name: version(name) for name in self.module.PACKAGES}}

    def build(self, batch: str, work: dict, form: str, rates: list[float] | None, samples: int | None = None) -> dict:
        """Build a network and make it fire at given rates on a batch, or on its first samples.

        Without rates, it settles as it does.
        """
        with np.load(batch) as file:
            x = file["spikes"]
            # An image is there at each step.
            x = np.broadcast_to(x, (work.get("steps", len(x)), *x.shape[1:]))
            self.network = self.module.Network(work, form, x, file["labels"])
        if rates is None:
            self.network.settle(samples)
        else:
            self.network.calibrate(rates, samples)
        self.last = math.inf
        if hasattr(self.network, "warm"):
            self.network.warm()
        forms = self.module.FORMS
        found = {"rates": self.network.rates(), "form": forms.get(f"{work['layers'][0][0]} {form}", forms[form])}
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        except OSError:  # not Linux, or a container that does not allow it
            self.imported = None
        return found

    def step(self) -> dict:
        """Return the seconds of the parts of a training step; a short one follows another that is not timed."""
        if self.last < _LONG:
            self.network.train()
        seconds = self.network.step()
        self.last = sum(seconds.values())
        return seconds

    def measure(self) -> dict:
        """Return the seconds of a training step on the device of the network."""
        return self.network.measure()

    def peak(self) -> dict:
        """Return the peak of memory since the network was built minus that after the imports, on Linux; its rates now.

        They are those of the steps that were taken: gradients that are not finite leave a network that is silent.
        """
        found = {} if self.imported is None else {"bytes": memory("VmHWM") - self.imported}
        return found | {"rates": self.network.rates()}


def main() -> None:
    workers: list[Worker] = []

    def answer(given: dict[str, Any]) -> dict:
        try:
            workers[:] = workers or [Worker(sys.argv[1])]
            do, worker = given.pop("do"), workers[0]
            if do in ("hello", "build", "step", "measure", "peak"):
                return getattr(worker, do)(**given)
            return worker.module.JOBS[do](worker.network, **given)
        except Exception as problem:
            text = str(problem).strip().splitlines() or [""]
            return {"problem": f"{type(problem).__name__}: {text[0]}"}

    answers(answer)


if __name__ == "__main__":
    main()
