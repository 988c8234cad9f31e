"""Writes the CUDA of the kinds that are shipped: ``python -m cuslayer.neurons``."""

from __future__ import annotations

from pathlib import Path

from cuslayer import kernels
from cuslayer.kernels.neuron.printer import printed
from cuslayer.neurons.adaptive_lif import AdaptiveLIF
from cuslayer.neurons.cuba import CUBA
from cuslayer.neurons.lif import LIF
from cuslayer.neurons.loihi import Loihi
from cuslayer.neurons.resonate_and_fire import ResonateAndFire

FOLDER = Path(kernels.__file__).parent / "neuron"


def files() -> dict[str, str]:
    """Return the text of each printed file by its name."""
    kinds = [each.kind() for each in (LIF, CUBA, AdaptiveLIF, ResonateAndFire, Loihi)]
    return {name: text for kind in kinds for name, text in printed(kind).items()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, "utf-8")
