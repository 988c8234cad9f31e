"""The folder of a run: the names of its files, which folder it is, and what an earlier process has left in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cuslayer.files import not_written, remove_leftovers
from cuslayer.training.lock import Lost, locked

CHECKPOINT, BEST, METRICS, CONFIG, GRADIENTS = (
    "checkpoint.npz",
    "best.npz",
    "metrics.csv",
    "config.yaml",
    "gradients.csv",
)
FIGURES = ("curves.png", "gradients.png", "raster.png")
NAMES = (CHECKPOINT, BEST, METRICS, CONFIG, GRADIENTS, *FIGURES)
_RUNS = Path("runs")


def find_run(out: str | None) -> Path:
    """Return the folder of the run to resume: `out`, or the last one under runs/.

    Raises:
        ValueError: it has no checkpoint.
    """
    folder = Path(out) if out else _RUNS / str(max(_run_numbers(), default=0))
    if not (folder / CHECKPOINT).is_file():
        begin = f"; without --resume it is begun anew by --out {folder}" if folder.is_dir() else ""
        raise ValueError(f"train: no checkpoint to resume from in {folder}{begin}")
    return folder


def new_run(out: str | None) -> Path:
    """Return the folder for a new run: `out`, or the next one under runs/.

    A run writes a checkpoint before all else: without one, a file that a run would replace is the user's.

    Raises:
        ValueError: `out` is a file, has a checkpoint, or has a file that the run would replace.
    """
    if out is None:
        return _RUNS / str(max(_run_numbers(), default=0) + 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"train: out {folder} is a file, not a folder")
    if (folder / CHECKPOINT).exists():
        raise ValueError(f"train: out {folder} holds a run already; resume it, or name another folder")
    for path in (folder / name for name in NAMES):
        if os.path.lexists(path):
            raise ValueError(f"train: {path} is of no run, a run would replace it; move it, or name another folder")
    return folder


def _run_numbers() -> list[int]:
    names = [path.name for path in _RUNS.iterdir()] if _RUNS.is_dir() else []
    return [int(name) for name in names if re.fullmatch("[1-9][0-9]*", name)]


@contextmanager
def locked_folder(out: Path, *, numbered: bool = False) -> Iterator[Path]:
    """Create the folder of a run with its parents, lock it for the block, and remove temporary files left in it.

    If the block raises, folders that were created here are removed if they are empty.

    Args:
        out: the folder.
        numbered: whether to take the next number if another process has just created the folder.

    Yields:
        The folder.

    Raises:
        ValueError: another process uses the folder.
        NotWritten: the folder cannot be created or written to.
    """
    out, created = _made(out, numbered)
    try:
        with locked(out):
            remove_leftovers(out, NAMES)
            yield out
    except Lost:
        raise
    except BaseException:
        with suppress(OSError):
            for folder in created:
                folder.rmdir()
        raise


def _made(out: Path, numbered: bool) -> tuple[Path, list[Path]]:
    """Create a folder with its parents; return it, and those that were created, the innermost first."""
    while True:
        created = [folder for folder in (out, *out.parents) if not folder.exists()]
        try:
            out.mkdir(parents=True, exist_ok=not numbered)
        except FileExistsError as problem:
            if not numbered:
                raise not_written(f"train: out {out}", problem) from None
            out = out.with_name(str(int(out.name) + 1))
        except OSError as problem:
            raise not_written(f"train: out {out}", problem) from None
        else:
            return out, created
