"""Data sets: the interface that `Loader` needs, and data sets in folders."""

from __future__ import annotations

import os
import stat
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.data.events import Events, sensor_shape
from cuslayer.data.formats import FORMATS, read_events
from cuslayer.data.formats.base import read_file

PathLike: TypeAlias = "str | os.PathLike[str]"

# Suffixes of SLAYER's camera format, which has five bytes per event.
_CAMERA_SUFFIXES = (".bs2", ".bin")
_NMNIST_SHAPE = (34, 34, 2)
_NMNIST_CLASSES = 10
# A list may have so many bytes, and so many more for each file in the folder: a line has about 10, or a comment.
_LIST_BYTES, _LINE_BYTES = 1 << 20, 100
# The most bytes of a recording for fast binning.
_LARGEST = 1 << 30
# Numbers and classes of a list are below these.
_MOST_NUMBER, _MOST_CLASS = 10**18, 2**31
# Three saccades; some recordings are a few ms longer.
_NMNIST_MS = 300.0


class Dataset(Protocol):
    """Interface of a data set: any object with these four members is one, without this base class.

    `Loader` makes batches of it; its documentation has a complete example. A data set may also have

    - ``labels``, the class of each recording, int64 (samples,), so that none has to be read for it;
    - ``dt``, the step of its arrays in ms, and ``steps``, the number of steps T of its arrays;
    - ``targets``, what its labels are, as in `Arrays`: without it an array is what it looks like;
    - ``where(index)``, the name of a recording, such as its path, for messages.

    >>> from cuslayer.data.digits import Digits
    >>> data = Digits("test")
    >>> data.shape, data.classes, len(data), data[0]
    ((34, 34, 2), 10, 360, (Events(5323 events in 2-D, 13.108 to 298.776 ms), 0))
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a recording at one time: the sensor (H, W, C), or (C,) for one-dimensional recordings.

        H is the number of rows, W of columns, C of channels: 2 for the OFF and ON events of an event camera.
        """

    @property
    def classes(self) -> int:
        """The number of classes; labels are integers from 0 to ``classes - 1``."""

    def __len__(self) -> int:
        """The number of recordings."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Return recording `index`, from 0, and its label; raise IndexError after the last one.

        The recording is `Events`, with times in ms, rows and columns in pixels, and polarities as channels. Or it is an
        array (T, *shape), boolean for spikes or floating for signals, one row a step. The label is the class,
        an integer from 0; or an array of numbers or labels (outputs,), of classes (T,), or of spikes or numbers
        (T, outputs).
        """


def name_of(dataset: object, sample: int) -> str:
    """Return the name of a recording of a data set, for messages."""
    return str(dataset.where(sample)) if hasattr(dataset, "where") else f"sample {sample}"


@check.named
class Recordings:
    """Base class of labelled data sets; `_sample` returns a recording and its label."""

    shape: tuple[int, ...]
    classes: int
    labels: npt.NDArray[np.int64]

    def _set_labels(self, labels: object) -> None:
        self.labels = np.array(labels, dtype=np.int64)
        self.labels.setflags(write=False)

    def _sample(self, place: int) -> tuple[object, object]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Any, Any]:
        return self._sample(check.position(index, len(self)))


class _Files(Recordings):
    """Recordings in files, read at each access; the operating system caches the files."""

    def __init__(
        self, paths: list[Path], labels: list[int], shape: Any, classes: int, duration: float, max_events: int | None
    ) -> None:
        self.shape, self.classes, self.duration = shape, classes, duration
        self._set_labels(labels)
        self._paths, self._max_events = paths, max_events

    def _sample(self, place: int) -> tuple[Events, int]:
        return read_events(self._paths[place], max_events=self._max_events), int(self.labels[place])

    def recording(self, index: int) -> bytes | None:
        """Return the bytes of a `.bs2` or `.bin` file, for fast binning; None for other files."""
        path = self._paths[index]
        if path.suffix.lower() not in _CAMERA_SUFFIXES or self._max_events is not None:
            return None
        try:
            return _read_bytes(path)
        except OSError:
            return None

    def where(self, index: int) -> str:
        """Return the path of a recording, for error messages."""
        return str(self._paths[index])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} recordings, shape {self.shape}, {self.classes} classes)"


class EventFolder(_Files):
    """Numbered recordings in one folder, with a list of numbers and classes.

    The list has one line `number class` per recording; empty lines and lines that start with # are ignored.

    Args:
        folder: the folder of recordings, named `number` + suffix.
        list_file: the path of the list.
        shape: the sensor (H, W, C), or the number of neurons of one-dimensional recordings.
        suffix: the suffix of the recordings, such as ".bs2"; None: the suffix of the files in the list, or if there are
            several, the first of them in the table of `read_events`.
        classes: the number of classes; None: the highest class in the list plus one.
        duration: the duration of a recording in ms.
        max_events: the largest number of events of a recording, as of `read_events`.

    Raises:
        TypeError: shape, classes, duration or max_events is not a number.
        ValueError: the folder, the list or a recording is missing, a line of the list is malformed, or a number is in
            two lines.

    >>> EventFolder("nowhere", "nowhere/train.txt")
    Traceback (most recent call last):
    ValueError: EventFolder: folder nowhere does not exist
    """

    def __init__(
        self,
        folder: PathLike,
        list_file: PathLike,
        shape: int | tuple[int, ...] = _NMNIST_SHAPE,
        suffix: str | None = None,
        *,
        classes: int | None = None,
        duration: float = _NMNIST_MS,
        max_events: int | None = None,
    ) -> None:
        folder = _existing("folder", folder, folder=True)
        shape = sensor_shape(shape)
        if suffix is not None:
            check.one_of("suffix", suffix, FORMATS)
        duration = check.positive("duration", duration)
        if max_events is not None:
            check.integer("max_events", max_events, least=0)
        present = set(os.listdir(folder))
        numbers, labels = _read_list(list_file, folder, len(present))
        highest = max(labels)
        classes = highest + 1 if classes is None else check.integer("classes", classes, least=1)
        if highest >= classes:
            raise ValueError(f"classes must be above each class in {list_file}, got {classes} and {highest}")
        suffix = suffix or _find_suffix(present, numbers)
        names = [f"{number}{suffix}" for number in numbers]
        missing = [name for name in names if name not in present]
        if missing:
            raise ValueError(
                f"{folder} must hold all of {list_file}, {missing[0]} is missing ({len(missing)} of {len(names)} are)"
            )
        super().__init__([folder / name for name in names], labels, shape, classes, duration, max_events)


class NMNIST(_Files):
    """N-MNIST in its published layout: a folder of `.bin` recordings for each digit, `0` to `9`.

    Source: Orchard et al. 2015; the data set is licensed under CC BY-SA 4.0.

    Args:
        folder: the `Train` or the `Test` folder.

    Raises:
        ValueError: the folder or one of its ten folders is missing, or one of them has no recording.

    >>> NMNIST("nowhere/Train")
    Traceback (most recent call last):
    ValueError: NMNIST: folder nowhere/Train does not exist
    """

    def __init__(self, folder: PathLike) -> None:
        folder = _existing("folder", folder, folder=True)
        paths: list[Path] = []
        labels: list[int] = []
        for digit in range(_NMNIST_CLASSES):
            inner = folder / str(digit)
            names = sorted(n for n in os.listdir(inner) if n.endswith(".bin")) if inner.is_dir() else []
            if not names:
                raise ValueError(f"folder {folder} must hold folders 0 to 9 of .bin files, {digit} has none")
            paths += [inner / name for name in names]
            labels += [digit] * len(names)
        super().__init__(paths, labels, _NMNIST_SHAPE, _NMNIST_CLASSES, _NMNIST_MS, None)


@check.operation
def open_folder(
    path: PathLike,
    train_list: PathLike | None = None,
    test_list: PathLike | None = None,
    *,
    shape: int | tuple[int, ...] | None = None,
    suffix: str | None = None,
    max_events: int | None = None,
) -> tuple[Dataset, Dataset]:
    """Return the training and test recordings of a folder, which has one of two layouts.

    Either the layout of N-MNIST, `Train/` and `Test/`, or numbered recordings, such as `1.bs2`, with one list
    train*.txt and one test*.txt of lines `number class`. You can also give lists, by paths relative to the folder or
    absolute.

    Args:
        path: the folder.
        train_list: the list of the training recordings.
        test_list: the list of the test recordings.
        shape: the sensor (H, W, C), or the number of neurons of one-dimensional recordings; None: (34, 34, 2), the
            sensor of N-MNIST.
        suffix: the suffix of numbered recordings, from `read_events`; None: the suffix of the files in the lists, or if
            there are several, the first of them in the table of `read_events`.
        max_events: the largest number of events of a numbered recording, as of `read_events`.

    Raises:
        TypeError: shape is not made of integers, or max_events is not an integer.
        ValueError: the folder is missing or has neither layout, shape or suffix does not fit the layout of N-MNIST. See
            also `NMNIST` and `EventFolder`.

    >>> open_folder("nowhere", shape=(128, 128, 2))
    Traceback (most recent call last):
    ValueError: open_folder: folder nowhere does not exist
    """
    folder = _existing("folder", path, folder=True)
    sensor = _NMNIST_SHAPE if shape is None else sensor_shape(shape)
    if suffix is not None:
        check.one_of("suffix", suffix, FORMATS)
    named = train_list is not None or test_list is not None
    if not named and (folder / "Train").is_dir() and (folder / "Test").is_dir():
        layout = f"{folder} has the layout of N-MNIST, Train/ and Test/"
        if sensor != _NMNIST_SHAPE:
            raise ValueError(f"{layout}: its shape must be {_NMNIST_SHAPE}, got {sensor}")
        if suffix not in (None, ".bin"):
            raise ValueError(f"{layout}: its suffix must be .bin, got {suffix}")
        return NMNIST(folder / "Train"), NMNIST(folder / "Test")
    lists = [_find_list(folder, "train", train_list), _find_list(folder, "test", test_list)]
    present = set(os.listdir(folder))
    numbers, labels = zip(*(_read_list(file, folder, len(present)) for file in lists), strict=True)
    suffix = suffix or _find_suffix(present, [*chain(*numbers)])
    classes = max(map(max, labels)) + 1
    options: dict[str, Any] = {"classes": classes, "max_events": max_events}
    train, test = (EventFolder(folder, file, sensor, suffix, **options) for file in lists)
    return train, test


def _read_bytes(path: Path) -> bytes | None:
    """Return the bytes of a file by fewer system calls than `open`; None if it is not regular, or not read at once."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        small = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST
        raw = os.read(descriptor, status.st_size) if small else b""
    finally:
        os.close(descriptor)
    return raw if small and len(raw) == status.st_size else None


def _existing(what: str, path: PathLike, *, folder: bool) -> Path:
    """Return a path, which must be a folder or a file."""
    found = check.path(what, path)
    if not (os.path.isdir if folder else os.path.isfile)(found):
        wrong = f"is not a {'folder' if folder else 'file'}" if os.path.exists(found) else "does not exist"
        raise ValueError(f"{'folder' if folder else 'list'} {found} {wrong}")
    return found


def _find_suffix(present: set[str], numbers: list[int]) -> str:
    """Return the suffix of most numbered recordings; for a tie, or without any, the first known one."""
    return max(FORMATS, key=lambda suffix: sum(f"{number}{suffix}" in present for number in numbers))


def _find_list(folder: Path, kind: str, named: PathLike | None) -> Path:
    """Return the path of the given list, or of the only train*.txt or test*.txt in the folder."""
    if named is not None:
        return folder / named
    found = sorted(folder.glob(f"{kind}*.txt"))
    if len(found) == 1:
        return found[0]
    got = f"{len(found)} lists {kind}*.txt: {', '.join(p.name for p in found)}" if found else f"no {kind}*.txt"
    raise ValueError(f"{folder} must hold Train/ and Test/, or one list train*.txt and one test*.txt, got {got}")


def _read_list(path: PathLike, folder: Path, files: int) -> tuple[list[int], list[int]]:
    """Return the numbers and classes of a list for a folder with a number of files."""
    path = _existing("list_file", path, folder=False)
    most = _LIST_BYTES + _LINE_BYTES * files
    size, raw = read_file(path, lambda file, size: (size, file.read(most)))
    if size > most:
        rule = f"must have at most {most} bytes for the {files} files of {folder}"
        raise ValueError(f"list {path} {rule}, got {size}")
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"list {path} must be text, got bytes that are not UTF-8") from None
    rows: dict[int, int] = {}
    labels: list[int] = []
    for row, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        # It may be any file, so messages show nothing of it.
        if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
            raise ValueError(f"{path} line {row} must be 'number class', two integers from 0")
        for word, what, limit in zip(words, ("number", "class"), (_MOST_NUMBER, _MOST_CLASS), strict=True):
            # Python refuses to convert thousands of digits.
            if len(word) > 30 or int(word) >= limit:
                raise ValueError(f"{path} line {row} must have a {what} below {limit}, got a larger one")
        number = int(words[0])
        if number in rows:
            raise ValueError(f"{path} line {row} must name another recording, {number} is in line {rows[number]}")
        rows[number] = row
        labels.append(int(words[1]))
    if not rows:
        raise ValueError(f"list {path} must name a recording, got none")
    return list(rows), labels
