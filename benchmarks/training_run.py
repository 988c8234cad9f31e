"""A run of `cuslayer train` in a process and a folder of its own, and the accuracies that it writes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMAND = [sys.executable, "-c", "import sys; from cuslayer.cli import main; sys.exit(main())", "train"]


def metrics(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, list[float]]:
    """Run the command line with arguments, and return the accuracies in % and the seconds of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [*COMMAND, *arguments, "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
        with open(out / "metrics.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    return {
        "train": [100 * float(row["train_accuracy"]) for row in rows],
        "test": [100 * float(row["test_accuracy"]) for row in rows],
        "seconds": [float(row["seconds"]) for row in rows],
    }
