"""Data sets: what a loader asks of one, and the folders that hold one."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Protocol, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.events import Events, sensor_shape
from cuslayer.data.formats import FORMATS, read_events

PathLike: TypeAlias = "str | os.PathLike[str]"

# Files of five bytes an event: x, y, then polarity and time.
_BYTES = (".bs2", ".bin")
_NMNIST_SHAPE = (34, 34, 2)
_NMNIST_CLASSES = 10
# The camera's three saccades; some recordings run a few ms longer.
_NMNIST_MS = 300.0


class Dataset(Protocol):
    """What a loader asks of a data set: recordings by number, each with its class."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sensor, (H, W, C), or (C,) for recordings in one dimension."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    @property
    def duration(self) -> float:
        """The length of a recording in ms."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each recording, (samples,)."""

    def __len__(self) -> int:
        """How many recordings there are."""

    def __getitem__(self, index: int, /) -> tuple[Events, int]:
        """Return a recording and its class; raise IndexError past the last."""


class _Files:
    """Recordings in files, read anew each time they are asked for: the operating system keeps them near."""

    def __init__(
        self, paths: list[Path], labels: list[int], shape: tuple[int, ...], classes: int, duration: float
    ) -> None:
        self.shape = shape
        self.classes = classes
        self.duration = duration
        self.labels = np.array(labels, dtype=np.int64)
        self.labels.setflags(write=False)
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Events, int]:
        place = position(type(self).__name__, index, len(self))
        return read_events(self._paths[place]), int(self.labels[place])

    def recording(self, index: int) -> bytes | None:
        """Return the bytes of a camera's recording, where the loader can take it from them, else None."""
        path = self._paths[index]
        if path.suffix.lower() not in _BYTES:
            return None
        try:
            return _bytes(path)
        except OSError:
            return None

    def where(self, index: int) -> str:
        """Return where a recording is kept, for whoever complains of it."""
        return str(self._paths[index])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} recordings, shape {self.shape}, {self.classes} classes)"


class EventFolder(_Files):
    """Recordings in one folder, named by number, with a list of their numbers and classes.

    The list has a line `number class` for each recording; empty lines and those that start with # are passed
    over.

    Args:
        folder: where the recordings are, each `number` + suffix.
        list_file: the list.
        shape: the sensor, (H, W, C), or a number of neurons for recordings in one dimension.
        suffix: the recordings' suffix.
        classes: how many classes there are; None: one more than the highest in the list.
        duration: the length of a recording in ms.

    Raises:
        TypeError: shape, classes or duration is no number.
        ValueError: the folder, the list or a recording is missing, or a line of the list is malformed.

    >>> EventFolder("nowhere", "nowhere/train.txt")
    Traceback (most recent call last):
    ValueError: EventFolder: folder nowhere does not exist
    """

    def __init__(
        self,
        folder: PathLike,
        list_file: PathLike,
        shape: int | tuple[int, ...] = _NMNIST_SHAPE,
        suffix: str = ".bs2",
        *,
        classes: int | None = None,
        duration: float = _NMNIST_MS,
    ) -> None:
        op = "EventFolder"
        folder = _folder(op, folder)
        shape = sensor_shape(op, shape)
        check.one_of(op, "suffix", suffix, FORMATS)
        duration = check.positive(op, "duration", duration)
        numbers, labels = _read_list(op, Path(list_file))
        highest = max(labels)
        classes = highest + 1 if classes is None else check.integer(op, "classes", classes, least=1)
        if highest >= classes:
            raise ValueError(f"{op}: classes must be above each class in {list_file}, got {classes} and {highest}")
        names = [f"{number}{suffix}" for number in numbers]
        present = set(os.listdir(folder))
        missing = [name for name in names if name not in present]
        if missing:
            raise ValueError(
                f"{op}: {folder} must hold all of {list_file}, {missing[0]} is missing"
                f" ({len(missing)} of {len(names)} are)"
            )
        super().__init__([folder / name for name in names], labels, shape, classes, duration)


class NMNIST(_Files):
    """N-MNIST as it is published: a folder for each digit, `0` to `9`, with `.bin` recordings.

    The data set is by Orchard et al. (2015), under CC BY-SA 4.0.

    Args:
        folder: the `Train` or the `Test` folder.

    Raises:
        ValueError: the folder is missing, one of its ten folders is, or there is no recording in one.

    >>> NMNIST("nowhere/Train")
    Traceback (most recent call last):
    ValueError: NMNIST: folder nowhere/Train does not exist
    """

    def __init__(self, folder: PathLike) -> None:
        folder = _folder("NMNIST", folder)
        paths: list[Path] = []
        labels: list[int] = []
        for digit in range(_NMNIST_CLASSES):
            inner = folder / str(digit)
            names = sorted(n for n in os.listdir(inner) if n.endswith(".bin")) if inner.is_dir() else []
            if not names:
                raise ValueError(f"NMNIST: folder {folder} must hold folders 0 to 9 of .bin files, {digit} has none")
            paths += [inner / name for name in names]
            labels += [digit] * len(names)
        super().__init__(paths, labels, _NMNIST_SHAPE, _NMNIST_CLASSES, _NMNIST_MS)


def open_folder(
    path: PathLike, train_list: PathLike | None = None, test_list: PathLike | None = None
) -> tuple[Dataset, Dataset]:
    """Return the training and the test recordings in a folder, whichever of the two layouts it has.

    Either N-MNIST's own, `Train/` and `Test/`, or `.bs2` recordings by number with one list train*.txt and
    one test*.txt. Lists that are named are used, and looked for in the folder where they are no absolute paths.

    Args:
        path: the folder.
        train_list: the list of the training recordings.
        test_list: the list of the test recordings.

    Raises:
        ValueError: the folder is missing or has neither layout, or what `NMNIST` and `EventFolder` raise.

    >>> open_folder("nowhere")
    Traceback (most recent call last):
    ValueError: open_folder: folder nowhere does not exist
    """
    folder = _folder("open_folder", path)
    named = train_list is not None or test_list is not None
    if not named and (folder / "Train").is_dir() and (folder / "Test").is_dir():
        return NMNIST(folder / "Train"), NMNIST(folder / "Test")
    lists = [
        _find_list(folder, "train", train_list),
        _find_list(folder, "test", test_list),
    ]
    classes = max(max(_read_list("open_folder", file)[1]) for file in lists) + 1
    train, test = (EventFolder(folder, file, classes=classes) for file in lists)
    return train, test


def position(op: str, index: SupportsIndex, length: int) -> int:
    """Return index as a position from 0, counted from the end where it is negative.

    Raises:
        IndexError: there is no such sample; iteration over a data set ends by it.
        TypeError: index is no integer.
    """
    try:
        place = operator.index(index)
    except TypeError:
        raise TypeError(f"{op}: index must be an integer, got {type(index).__name__}") from None
    if not -length <= place < length:
        raise IndexError(f"{op}: index must lie within {length} samples, got {place}")
    return place % length


def _bytes(path: Path) -> bytes | None:
    """Return a file's bytes, None where they do not come at once; `open` would ask the system for twice as much."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        raw = os.read(descriptor, size)
    finally:
        os.close(descriptor)
    return raw if len(raw) == size else None


def _folder(op: str, path: PathLike) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{op}: folder {folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    return folder


def _find_list(folder: Path, kind: str, named: PathLike | None) -> Path:
    """Return the list that is named, or the only one of its kind in the folder."""
    if named is not None:
        return folder / named
    found = sorted(folder.glob(f"{kind}*.txt"))
    if len(found) == 1:
        return found[0]
    came = f"{len(found)} lists {kind}*.txt: {', '.join(p.name for p in found)}" if found else f"no {kind}*.txt"
    raise ValueError(
        f"open_folder: {folder} must hold Train/ and Test/, or one list train*.txt and one test*.txt, got {came}"
    )


def _read_list(op: str, path: Path) -> tuple[list[int], list[int]]:
    """Return the numbers and the classes in a list."""
    if not path.is_file():
        raise ValueError(f"{op}: list {path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{op}: list {path} must be text, got bytes that are not UTF-8") from None
    numbers: list[int] = []
    labels: list[int] = []
    for row, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
            raise ValueError(f"{op}: {path} line {row} must be 'number class', got {line.strip()!r}")
        numbers.append(int(words[0]))
        labels.append(int(words[1]))
    if not numbers:
        raise ValueError(f"{op}: list {path} must name a recording, got none")
    return numbers, labels
