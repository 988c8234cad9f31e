"""The peers' environment, installed from PyPI once, into a folder that is kept; processes with a library each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import Process

# The requirements of each peer, installed separately, so that a failure does not affect the others.
REQUIREMENTS: dict[str, list[list[str]]] = {
    "snntorch": [["torch", "numpy", "snntorch"]],
    "spikingjelly": [["torch", "numpy", "spikingjelly"]],
    "norse": [["torch", "numpy", "norse"]],
    "eventprop": [["torch", "numpy", "norse"]],
    "sinabs": [["torch", "numpy", "sinabs"]],
    "spyx": [["jax", "numpy", "spyx"]],
    "brainevent": [["jax", "numpy", "optax", "brainevent[cpu]", "braintools"]],
    # For benchmarks/exchange.py. The readers of Norse and sinabs need this nir, snnTorch's writer needs a later one.
    "exchange": [["nir==1.0.4", "nirtorch"]],
    # For benchmarks/onnx_files.py.
    "onnx torch": [["torch", "torchvision", "onnx", "onnxscript", "onnxruntime"]],
    "onnx keras": [["tensorflow-cpu", "keras", "tf2onnx", "onnx", "onnxruntime"]],
    "onnx sklearn": [["scikit-learn", "skl2onnx", "onnxruntime"]],
    "onnx drawn": [["onnx", "onnxruntime"]],
    # Its pins, of Python among others, clash with what the rest needs; its slayer package runs without them.
    "lava": [
        ["torch", "torchvision", "numpy", "h5py", "matplotlib", "pillow", "opencv-python-headless"],
        ["--no-deps", "--ignore-requires-python", "lava-dl==0.6.0"],
    ],
}
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cuslayer" / "peers"


def python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(folder: Path, peers: list[str]) -> dict[str, str]:
    """Make the environment, install what is missing, and return the problems by the name of the peer."""
    notes, problems = folder / "peers.json", {}
    done = json.loads(notes.read_text()) if notes.exists() else {}
    for peer in peers:
        if done.get(peer) == REQUIREMENTS[peer]:
            continue
        try:
            if not python_of(folder).exists():
                _run([sys.executable, "-m", "venv", str(folder)])
            print(f"installing {peer} in {folder}", flush=True)
            for words in REQUIREMENTS[peer]:
                _run([str(python_of(folder)), "-m", "pip", "install", "--quiet", *words])
        except (OSError, RuntimeError) as problem:
            problems[peer] = f"not installed: {problem}"
            continue
        done[peer] = REQUIREMENTS[peer]
        notes.write_text(json.dumps(done, indent=2) + "\n")
    return problems


def _run(command: list[str]) -> None:
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if found.returncode:
        lines = [line for line in found.stdout.splitlines() if line.startswith("ERROR")] or found.stdout.splitlines()
        raise RuntimeError(lines[-1] if lines else f"{command[0]} ended with {found.returncode}")


class NotRun(Exception):
    """The reason why a library, `model`, did not answer a request."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(reason)
        self.model = model


class Worker(Process):
    """The process of `comparison.worker`; its first request imports the library, `model`."""

    def __init__(self, python: Path, model: str, threads: int, folder: Path) -> None:
        count = str(threads)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "JAX_PLATFORMS": "cpu"}
        super().__init__([str(python), "-m", "comparison.worker", model], environment, folder / f"{model}.log")
        self.model = model

    def ask(self, do: str, **arguments: Any) -> dict:
        """Return the worker's answer.

        Raises:
            NotRun: the worker has a problem, or is gone.
        """
        try:
            answer = self.request({"do": do, **arguments})
        except RuntimeError as problem:
            raise NotRun(self.model, str(problem)) from None
        if "problem" in answer:
            raise NotRun(self.model, answer["problem"])
        return answer
