"""The folder of a run: the names of its files, which folder it is, and what an earlier process has left in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cuslayer.files import not_written, remove_leftovers
from cuslayer.training.lock import locked

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
    """Return the folder for a new run: `out` if it has no checkpoint, or the next one under runs/.

    Raises:
        ValueError: `out` is a file, or has a checkpoint.
    """
    if out is None:
        return _RUNS / str(max(_run_numbers(), default=0) + 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"train: out {folder} is a file, not a folder")
    if (folder / CHECKPOINT).exists():
        raise ValueError(f"train: out {folder} holds a run already; resume it, or name another folder")
    return folder


def _run_numbers() -> list[int]:
    return [int(p.name) for p in _RUNS.iterdir() if p.name.isdigit()] if _RUNS.is_dir() else []


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


def clear(out: Path) -> None:
    """Remove what a run has left that died before its first checkpoint.

    Raises:
        NotWritten: a file cannot be removed.
    """
    for name in NAMES:
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as problem:
            raise not_written(f"train: {out / name}", problem) from None
