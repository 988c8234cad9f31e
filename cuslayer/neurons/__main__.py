"""Write the CUDA code of the shipped kinds: ``python -m cuslayer.neurons``."""

from __future__ import annotations

from pathlib import Path

from cuslayer import kernels, neurons
from cuslayer.kernels.neuron.printer import printed

FOLDER = Path(kernels.__file__).parent / "neuron"


def files() -> dict[str, str]:
    """Return the text of each printed file by its name."""
    kinds = [each for each in vars(neurons).values() if hasattr(each, "kind") and each.step is not None]
    return {name: text for each in kinds for name, text in printed(each.kind()).items()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, "utf-8")
