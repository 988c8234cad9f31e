"""Read ONNX files of torch, Keras and scikit-learn, and compare the outputs with onnxruntime's.

    python benchmarks/onnx_files.py                        # ten minutes, most of them for installing
    python benchmarks/onnx_files.py --only torch drawn

The libraries write networks with random weights, and onnxruntime runs them, in the environment of benchmarks/peers.py,
Keras in one beside it. `cs.import_onnx` reads the files here. An error is the largest difference, divided by the
largest output. Writes benchmarks/results/onnx.json. The exit status is 1 if a file is refused, or an error is above
1e-5.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
from comparison import process

import cuslayer as cs

KINDS = ("torch", "keras", "sklearn", "drawn")
TOLERANCE = 1e-5
# The libraries whose versions are published, by kind.
LIBRARIES = {
    "torch": ["torch", "torchvision", "onnxruntime", "onnxscript"],
    "keras": ["keras", "tensorflow_cpu", "tf2onnx"],
    "sklearn": ["scikit-learn", "skl2onnx"],
    "drawn": [],
}


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def pair(x: np.ndarray) -> np.ndarray:
    """Return the probabilities of two classes from one logit, or from one for each class of opposite sign."""
    return np.concatenate([sigmoid(-x[..., -1:]), sigmoid(x[..., -1:])], axis=-1)


ENDS = {
    "logits": lambda x: x,
    "softmax": softmax,
    "log_softmax": lambda x: np.log(softmax(x)),
    "sigmoid": sigmoid,
    "pair": pair,
}


def in_our_axes(x: np.ndarray, axes: str) -> np.ndarray:
    """Return an input (N, ...) with the axes of a file as one time step of ours."""
    if axes == "first":
        x = x.transpose(0, 2, 3, 1)
    elif axes == "signal":
        x = x.transpose(0, 2, 1)[:, None]
    elif axes == "signal last":
        x = x[:, None]
    return x[None]


def error_of(file: Path) -> float:
    """Return the largest difference from onnxruntime, of the largest output."""
    with np.load(file.with_suffix(".npz")) as arrays:
        x, y, axes, end = (arrays[name] for name in ("x", "y", "axes", "end"))
    net = cs.import_onnx(file).eval()
    with cs.no_grad():
        ours = ENDS[str(end)](net(in_our_axes(x, str(axes))).data[0].astype(np.float64))
    if ours.shape != y.shape and ours.size != y.size:
        raise ValueError(f"the output has shape {ours.shape}, onnxruntime's {y.shape}")
    return float(np.abs(ours.reshape(y.shape) - y).max() / np.abs(y).max())


def judged(file: Path) -> dict[str, Any]:
    """Return the row of a file."""
    try:
        return {"file": file.stem, "error": error_of(file)}
    except (ValueError, TypeError) as problem:
        return {"file": file.stem, "problem": str(problem).replace(str(file), file.name)}


def write(kind: str, environment: Path, folder: Path) -> dict[str, str]:
    """Let a library write its files into a folder; return the versions."""
    problems = process.install(environment, [f"onnx {kind}"])
    if problems:
        raise SystemExit("\n".join(f"{name}: {said}" for name, said in problems.items()))
    python = str(process.python_of(environment))
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "comparison.onnx_files", kind, str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=plain, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr.strip().splitlines()[-1]}")
    code = f"from importlib.metadata import version; print(*map(version, {LIBRARIES[kind]!r}))"
    numbers = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(LIBRARIES[kind], numbers, strict=True))


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--env", type=Path, default=process.FOLDER)
    parser.add_argument("--keras-env", type=Path, default=process.FOLDER.with_name("peers-keras"))
    parser.add_argument("--keep", type=Path, help="a folder for the files, which stay there")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in options.only:
            folder = (options.keep or Path(scratch)) / kind
            folder.mkdir(parents=True, exist_ok=True)
            versions |= write(kind, options.keras_env if kind == "keras" else options.env, folder)
            for file in sorted(folder.glob("*.onnx")):
                rows.append(judged(file))
                print(rows[-1], flush=True)
    wrong = [row for row in rows if not row.get("error", np.inf) <= TOLERANCE]
    found = {"rows": rows, "versions": versions, "machine": common.describe("onnx")}
    found["command"] = common.command("onnx_files", arguments)
    common.save("onnx", found, options.out)
    print(f"{len(rows)} files, {len(wrong)} refused or different")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
