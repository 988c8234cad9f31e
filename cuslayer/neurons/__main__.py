"""Show the CUDA code of the shipped kinds: ``python -m cuslayer.neurons``."""

from __future__ import annotations

import sys

from cuslayer import neurons
from cuslayer.kernels.step.kind import Kind
from cuslayer.kernels.step.print_cuda import header
from cuslayer.surrogates import EXPONENTIAL


def kinds() -> list[Kind]:
    """Return the shipped kinds that are written as a step."""
    classes = [kind for kind in vars(neurons).values() if getattr(kind, "step", None) is not None]
    return [neurons.SRM().spiking.kind, *(each.kind() for each in classes)]


if __name__ == "__main__":
    for kind in kinds():
        sys.stdout.write(header(kind, EXPONENTIAL.shape.curve))
