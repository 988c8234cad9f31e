"""Recordings in time with labels, from files of arrays: your own, heartbeats, and Braille letters under a finger."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer.backend import Array
from cuslayer.data.arrays import MOST_CLASSES, Arrays
from cuslayer.data.codes import Delta
from cuslayer.data.formats.base import Missing
from cuslayer.data.mnist import Latencies, fashion, pictures, pixels_in_time
from cuslayer.data.sounds import check_recordings, read_arrays

# The repetitions of a Braille letter from this one on are the test set.
_FIRST_TEST = 40
# The pressure of an untouched taxel, and the changes, as shares of it, at which it fires.
_REST, _CHANGES = 255.0, (0.01, 0.02, 0.04, 0.08)
# The bytes that x and y of a MATLAB file may take; in larger files, so many times their size.
_MATLAB_BYTES, _MATLAB_TIMES = 1 << 26, 8
_MATLAB_NUMBERS = (
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
_WAVES = ("P", "PQ", "QR", "RS", "ST", "TP")


def own_arrays(root: Path, split: str) -> Arrays:
    """Return the recordings of ``train.npz`` or ``test.npz``: x and y as `Arrays` takes them.

    Recordings of different lengths stand one after the other, x (steps of all, ...), and ``lengths`` has their numbers
    of steps. Then y has a class for each recording, or a label for each step of all.
    """
    path = _file(root, f"{split}.npz")
    x, y, *lengths = _named(path, "x", "y", more="lengths")
    with check.about(path):
        if lengths:
            ends = _ends(lengths[0], len(x), path)
            return Arrays(np.split(x, ends), np.split(y, ends) if len(y) == len(x) else y)
        check_recordings(len(x) if x.ndim else 0, path)
        return Arrays(x, y)


def heartbeats(root: Path, split: str) -> Arrays:
    """Return stretches of electrocardiograms, (1301, 4) of -1, 0 and 1, with one of six waves at each step.

    The files are ``QTDB_train.mat`` and ``QTDB_test.mat``, which B. Yin and others made of PhysioNet's QT Database
    (github.com/byin-cwi/Efficient-spiking-networks). A step without a wave has the label -1, which does not count.
    """
    path = _file(root, f"QTDB_{split}.mat")
    try:
        _check_variables(path)
        x = check.as_type("x", _variable(path, "x"), np.float32)
        marks = _variable(path, "y")
        marked = marks.sum(axis=2)
        if ((marks != 0) & (marks != 1)).any() or (marked > 1).any():
            raise ValueError("y must have one 1 for the class of a step, or 0 throughout for a step without one")
        recordings = Arrays(x, np.where(marked == 0, -1, marks.argmax(axis=2)), classes=marks.shape[2], targets="steps")
        recordings.names = _WAVES if recordings.classes == len(_WAVES) else None
        return recordings
    except (MemoryError, ImportError):
        raise
    except Exception as problem:  # for damaged files SciPy raises many kinds of errors
        raise ValueError(f"{path} is no file of heartbeats: {check.printable(str(problem))}") from None


def _check_variables(path: Path) -> None:
    """Raise ValueError unless a file has x and y, (recordings, steps, ...), once each, and of a size that fits it."""
    variables = optional("scipy.io", "mat").whosmat(str(path))
    shapes = [shape for wanted in "xy" for name, shape, kind in variables if name == wanted and kind in _MATLAB_NUMBERS]
    if len(shapes) != 2 or sum(name in ("x", "y") for name, *_ in variables) != 2:
        raise ValueError("it must have numbers x and y, once each")
    x, y = shapes
    if len(x) != 3 or len(y) != 3 or x[:2] != y[:2] or 0 in (*x, *y):
        raise ValueError(f"x and y must be (recordings, steps, ...), got {x} and {y}")
    # MATLAB stores small whole numbers in fewer bytes than eight.
    count, most = 8 * (math.prod(x) + math.prod(y)), max(_MATLAB_BYTES, _MATLAB_TIMES * path.stat().st_size)
    if count > most:
        raise ValueError(f"x and y must take at most {most:,} bytes, got {count:,}")


def _variable(path: Path, name: str) -> Array:
    """Return an array of a MATLAB file."""
    array = np.asarray(optional("scipy.io", "mat").loadmat(str(path), variable_names=[name])[name])
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, got {array.dtype}")
    return array


def letters(root: Path, split: str, *, spikes: bool = False) -> Arrays:
    """Return the pressure on 12 taxels under a Braille letter, or spikes of its changes, with the letter as the class.

    The file is ``letters.npz``: ``pressure`` (steps of all recordings, 12), ``lengths``, ``letter``, ``repetition``,
    and perhaps ``letters``, their names. Repetitions from 40 on are the test set. Numbers are ten times the change of
    ``1 - pressure / 255`` since the first step. As spikes, each taxel has eight neurons, which fire where it has fallen
    or risen by 0.01, 0.02, 0.04 or 0.08; see `Delta`.

    Source: Mueller-Cleve and others 2022 (arXiv 2205.15864), CC BY 4.0.
    """
    path = _file(root, "letters.npz")
    needed = "pressure", "lengths", "letter", "repetition"
    pressure, lengths, letter, repetition, *names = _named(path, *needed, more="letters")
    with check.about(path):
        columns = [array.shape == letter.shape and array.dtype.kind in "iu" for array in (letter, lengths, repetition)]
        if letter.ndim != 1 or not letter.size or not all(columns) or letter.min() < 0:
            raise ValueError("lengths, letter and repetition must be integers from 0, one for each recording")
        if letter.max() >= MOST_CLASSES:
            raise ValueError(f"letter must be under {MOST_CLASSES}, got {letter.max()}")
        if pressure.ndim != 2 or pressure.dtype.kind not in "iuf" or not np.isfinite(pressure).all():
            raise ValueError(f"pressure must be finite numbers (steps, taxels), got shape {pressure.shape}")
        parts = np.split(pressure, _ends(lengths, len(pressure), path))
        chosen = np.flatnonzero((repetition >= _FIRST_TEST) == (split == "test"))
        if not chosen.size:
            raise Missing(f"there is no repetition {'from' if split == 'test' else 'before'} {_FIRST_TEST}")
    touches = (_touch(parts[i]) for i in chosen)  # one by one, which takes less memory
    found = [_changes(touch) if spikes else 10 * (touch - touch[:1]) for touch in touches]
    made = Arrays(found, letter[chosen], classes=int(letter.max()) + 1)
    made.names = names[0].tolist() if names and names[0].shape == (made.classes,) else None
    return made


def _touch(pressure: Array) -> npt.NDArray[np.float32]:
    """Return how much the pressure on taxels has fallen, as a share of that of untouched ones."""
    share: npt.NDArray[np.float32] = (1 - pressure / _REST).clip(0, 1).astype(np.float32)
    return share


def _changes(x: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return spikes (T, 8 taxels) where numbers (T, taxels) from 0 to 1 have changed."""
    return np.concatenate([Delta(change)(x, 1.0) for change in _CHANGES], axis=1)


def _named(path: Path, *names: str, more: str = "") -> list[Array]:
    """Return arrays of an npz file by name, and one more if the file has it."""
    arrays = read_arrays(path)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no array {missing[0]!r}")
    return [arrays[name] for name in (*names, more) if name in arrays]


def _ends(lengths: Array, steps: int, path: Path) -> npt.NDArray[np.int64]:
    """Return the ends of all recordings but the last, from their numbers of steps, which add up to `steps`."""
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not lengths.size:
        raise ValueError(f"lengths must be integers from 1, got {lengths.dtype} of shape {lengths.shape}")
    least, most = int(lengths.min()), int(lengths.max())
    if least < 1 or most > steps:
        got = least if least < 1 else most
        raise ValueError(f"lengths must be integers from 1 to the {steps} steps of all recordings, got {got}")
    check_recordings(len(lengths), path)
    total = sum(lengths.tolist())  # of Python's integers, which do not wrap
    if total != steps:
        raise ValueError(f"lengths must add up to the {steps} steps of all recordings, got {total}")
    return np.cumsum(lengths, dtype=np.int64)[:-1]


def _file(root: Path, name: str) -> Path:
    """Return a file of a folder, or the path itself if it is a file; raise Missing where there is none."""
    path = root / name if root.is_dir() else root
    if not path.is_file():
        raise Missing(f"{path} is no file")
    return path


# The reader of each data set of files. A reader of pictures also takes the number of steps.
PICTURES: dict[str, Any] = {"fashion-mnist": fashion, "mnist": pictures}
READERS: dict[str, Any] = PICTURES | {
    "arrays": own_arrays,
    "braille": letters,
    "braille-spikes": partial(letters, spikes=True),
    "latency-mnist": Latencies,
    "psmnist": partial(pixels_in_time, permuted=True),
    "qtdb": heartbeats,
    "smnist": pixels_in_time,
}
