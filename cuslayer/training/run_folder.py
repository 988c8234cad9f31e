"""The folder of a run: the names of its files, the folder of a new run, and the folder of a run to resume."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cuslayer._base import check

CHECKPOINT = "checkpoint.npz"
BEST = "best.npz"
METRICS = "metrics.csv"
CONFIG = "config.yaml"
GRADIENTS = "gradients.csv"
FIGURES = ("curves.png", "gradients.png", "raster.png")
NAMES = (CHECKPOINT, BEST, METRICS, CONFIG, GRADIENTS, *FIGURES)
_RUNS = Path("runs")


@check.operation("train")
def find_run(out: str | None) -> Path:
    """Return the folder of the run to resume: `out`, or the last one under runs/.

    Raises:
        ValueError: it has no checkpoint.
    """
    folder = Path(out) if out else _RUNS / str(max(_run_numbers(), default=0))
    if not (folder / CHECKPOINT).is_file():
        begin = f"; without --resume it is begun anew by --out {folder}" if folder.is_dir() else ""
        raise ValueError(f"no checkpoint to resume from in {folder}{begin}")
    return folder


def new_run(out: str | None) -> Path:
    """Return the folder for a new run: `out`, or the next one under runs/.

    A run writes a checkpoint first: without one, a file that a run would replace belongs to the user.
    """
    if out is None:
        return _RUNS / str(max(_run_numbers(), default=0) + 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out {folder} is a file, not a folder")
    if (folder / CHECKPOINT).exists():
        raise ValueError(f"out {folder} holds a run already; resume it, or name another folder")
    for path in (folder / name for name in NAMES):
        if os.path.lexists(path):
            raise ValueError(f"{path} exists, and no run wrote it; move it, or choose another folder")
    return folder


def _run_numbers() -> list[int]:
    names = [path.name for path in _RUNS.iterdir()] if _RUNS.is_dir() else []
    return [int(name) for name in names if re.fullmatch("[1-9][0-9]*", name)]
