"""Kernels: loops over plain arrays, each for the CPU (Numba) and for CUDA, a topic a folder.

``kernels.of(x).dense.forward`` is ``forward`` of `kernels/dense/cpu.py` or `kernels/dense/gpu.py`, whichever fits the
array x; the CUDA source lies beside them. A topic is imported by the first call that needs it, so that importing
cuslayer stays quick.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from cuslayer.backend import namespace

TOPICS = (
    "conv",
    "conv_transpose",
    "delay",
    "dense",
    "filter_bank",
    "float16",
    "fused",
    "loihi",
    "optim",
    "pool",
    "response",
    "spikes",
    "srm",
)


class Kernels:
    """The kernels of one device by topic: the modules ``kernels/TOPIC/DEVICE.py``."""

    def __init__(self, device: str) -> None:
        self._device = device

    def __getattr__(self, topic: str) -> ModuleType:
        if topic not in TOPICS:
            raise AttributeError(f"kernels: {topic!r} is no topic; topics: {', '.join(TOPICS)}")
        module = import_module(f"cuslayer.kernels.{topic}.{self._device}")
        setattr(self, topic, module)
        return module


cpu, gpu = Kernels("cpu"), Kernels("gpu")


def of(x: Any) -> Kernels:
    """Return the kernels for arrays like x: those of the CPU for NumPy's, of the GPU for CuPy's."""
    return cpu if namespace(x).__name__ == "numpy" else gpu
