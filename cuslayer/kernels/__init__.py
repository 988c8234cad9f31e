"""Kernels: loops over plain arrays for the CPU (Numba) and for CUDA, one folder for each topic.

``kernels.of(x).dense.forward`` is ``forward`` of `kernels/synapse/dense/cpu.py` or `kernels/synapse/dense/gpu.py`, by
the device of the array x. The same folder has the CUDA source; topics without one use CuPy's functions. A topic is
imported at its first use, which keeps the import of cuslayer short.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from cuslayer.backend import namespace

_HERE = Path(__file__).parent
# The folders that have kernels for both devices, by topic: a topic is its folder's name, whatever its parent.
_FOLDERS = {path.parent.name: path.parent.relative_to(_HERE) for path in _HERE.rglob("gpu.py")}
TOPICS = tuple(sorted(_FOLDERS))


class Kernels:
    """The kernels of one device by topic: the modules ``DEVICE.py`` of the topics' folders."""

    def __init__(self, device: str) -> None:
        self._device = device

    def __getattr__(self, topic: str) -> ModuleType:
        if topic not in TOPICS:
            raise AttributeError(f"kernels: {topic!r} is no topic; topics: {', '.join(TOPICS)}")
        module = import_module(".".join(("cuslayer.kernels", *_FOLDERS[topic].parts, self._device)))
        setattr(self, topic, module)
        return module


cpu = Kernels("cpu")
gpu = Kernels("gpu")


def module_of(x: Any) -> Any:
    """Return the module of an array, or of packed spikes: numpy or cupy."""
    return namespace(getattr(x, "words", x))


def of(x: Any) -> Kernels:
    """Return the kernels for the device of x: the CPU for a NumPy array, the GPU for a CuPy array or packed spikes."""
    return cpu if module_of(x).__name__ == "numpy" else gpu
