"""Description of the machine of a measurement: processor, cores, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe(*packages: str) -> dict:
    """Return the machine, and the versions of Python, NumPy, Numba, cuslayer and the packages named."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "cuslayer", *packages)},
    }


def command(script: str, arguments: list[str]) -> str:
    """Return the command of a measurement as it is published: without the places of its files."""
    kept = [
        each
        for i, each in enumerate(arguments)
        if not {"--out", "--docs", "--keep"} & {each, *arguments[max(i - 1, 0) : i]}
    ]
    return " ".join([f"python benchmarks/{script}", *(f'"{each}"' if " " in each else each for each in kept)])


def said(where: dict, command: str) -> str:
    """Return the result of `describe` and the command of a measurement as a line of text."""
    versions = ", ".join(f"{name} {where[name]}" for name in ("python", "numpy", "numba", "cuslayer"))
    return f"{where['processor']}, {where['cores']} cores, {where['system']}; {versions}; `{command}`"
