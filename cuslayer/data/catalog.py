"""`load`: known data sets by name, read by the package tonic; `FromTonic`, the adapter for its data sets."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.time_window import steps_of
from cuslayer.backend import Array
from cuslayer.data.arrays import Arrays
from cuslayer.data.augment import FromStart
from cuslayer.data.datasets import Dataset, Recordings
from cuslayer.data.events import Events, sensor_shape
from cuslayer.data.mnist import Latencies
from cuslayer.data.time_series import PICTURES, READERS
from cuslayer.data.yin_yang import YinYang

_US_PER_MS = 1000.0


class FromTonic(Recordings):
    """A data set of the package tonic, for use with `Loader`.

    A sample is (events, class): events is a structured array with the fields x, t in microseconds, p, and y unless the
    recording is one-dimensional. tonic is not imported here; `pip install 'cuslayer[tonic]'` installs it.

    Attributes:
        shape: the sensor, (H, W, C), or (C,) for one-dimensional recordings.
        classes: the number of classes.
        duration: the duration of a recording in ms.
        labels: the class of each recording, int64 (samples,).

    Args:
        dataset: an object with `__len__`, `__getitem__` and `sensor_size`, which is (W, H, C) as in tonic.
        duration: the duration of a recording in ms, which tonic does not define.
        classes: the number of classes; None: the highest class plus one.

    Raises:
        TypeError: dataset lacks one of these, or a class is not an integer.
        ValueError: dataset is empty, duration or classes is out of range, or a sample lacks a field.

    >>> from types import SimpleNamespace
    >>> class Two:
    ...     sensor_size = (34, 28, 2)
    ...     targets = [0, 1]
    ...     def __len__(self): return 2
    ...     def __getitem__(self, index):
    ...         kind = [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")]
    ...         return np.array([(3, 4, 1500, 1)], dtype=kind), index
    >>> data = FromTonic(Two(), duration=300.0)
    >>> data[1], data.shape
    ((Events(1 events in 2-D, 1.5 to 1.5 ms), 1), (28, 34, 2))
    """

    def __init__(self, dataset: Any, *, duration: float, classes: int | None = None) -> None:
        for name in ("__len__", "__getitem__", "sensor_size"):
            if not hasattr(dataset, name):
                raise TypeError(f"dataset must have {name}, got {type(dataset).__name__}")
        if not len(dataset):
            raise ValueError("dataset must hold a recording, got none")
        width, height, channels = (int(side) for side in dataset.sensor_size)
        self._dataset = dataset
        self._one_dimensional = "y" not in _fields(dataset[0][0])
        self.shape = sensor_shape((width,) if self._one_dimensional else (height, width, channels))
        self.duration = check.positive("duration", duration)
        self._sample(0)  # raises early if samples have another format
        targets = getattr(dataset, "targets", None)
        if targets is None or len(targets) != len(dataset):
            # Without a list of classes, every recording has to be read once.
            targets = [dataset[i][1] for i in range(len(dataset))]
        self._set_labels([check.integer("a class", target, least=0) for target in targets])
        highest = int(self.labels.max())
        self.classes = highest + 1 if classes is None else check.integer("classes", classes, least=highest + 1)

    def _sample(self, place: int) -> tuple[Events, int]:
        events, target = self._dataset[place]
        wanted, names = ("x", "t", "p") if self._one_dimensional else ("x", "y", "t", "p"), _fields(events)
        if not set(wanted) <= set(names):
            got = f"the fields {', '.join(names)}" if names else type(events).__name__
            raise ValueError(f"sample {place} must have the fields {', '.join(wanted)}, got {got}")
        t: npt.NDArray[np.float64] = events["t"] / _US_PER_MS
        return Events(t, events["x"], None if self._one_dimensional else events["y"], events["p"]), check.integer(
            "a class", target, least=0
        )

    def __repr__(self) -> str:
        name = type(self._dataset).__name__
        return f"FromTonic({name}, {len(self)} recordings, shape {self.shape}, {self.classes} classes)"


def _fields(events: object) -> tuple[str, ...]:
    """Return the field names of a structured array, () for anything else."""
    return getattr(getattr(events, "dtype", None), "names", None) or ()


# If a data set has no test set, every tenth recording of each class is for testing.
_TEST_EVERY = 10


class _Known(NamedTuple):
    """A data set: tonic's class, what `load` says of it, and the options of tonic's class for each split."""

    kind: str
    shape: tuple[int, ...]
    classes: int
    duration: float
    splits: dict[str, dict[str, Any]]
    from_start: bool = False


_TRAIN: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_SINGLE = {name: options | {"single_digits": True} for name, options in _TRAIN.items()}
_OWN_SPLIT: dict[str, dict[str, Any]] = {"train": {}, "test": {}}
_KNOWN = {
    "cifar10dvs": _Known("CIFAR10DVS", (128, 128, 2), 10, 1300.0, _OWN_SPLIT, from_start=True),
    "dvsgesture": _Known("DVSGesture", (128, 128, 2), 11, 1500.0, _TRAIN, from_start=True),
    "nmnist": _Known("NMNIST", (34, 34, 2), 10, 300.0, _TRAIN),
    "ntidigits": _Known("NTIDIGITS18", (64,), 11, 1000.0, _SINGLE),
    "shd": _Known("SHD", (700,), 20, 1400.0, _TRAIN),
    "ssc": _Known("SSC", (700,), 35, 1000.0, {name: {"split": name} for name in ("train", "valid", "test")}),
}
# The data sets that a formula makes, which have no files.
DRAWN = {"yin-yang": YinYang}
NAMES = (*_KNOWN, *READERS, *DRAWN)
# The steps of a picture by default.
_STILL_STEPS = 4


class Loaded(Recordings):
    """A known data set from `load`; a `Dataset` that `Loader` takes without further numbers.

    Attributes:
        name: the name of the data set.
        split: "train", "test" or "valid".
        shape: the sensor, (H, W, C), or (C,).
        classes: the number of classes.
        labels: the class of each recording, int64 (samples,).
        duration: the duration in ms.
        dt: the step in ms.
        steps: the number of steps T.
    """

    def __init__(self, name: str, split: str, source: FromTonic, order: Array, dt: float) -> None:
        self.name, self.split = name, split
        self.shape, self.classes = source.shape, source.classes
        self.duration, self.dt, self.steps = source.duration, dt, round(source.duration / dt)
        self._set_labels(source.labels[order])
        self._source, self._order = source, order

    def _sample(self, place: int) -> tuple[Events, int]:
        events, label = self._source[int(self._order[place])]
        return FromStart()(events, self.shape) if _KNOWN[self.name].from_start else events, label

    def where(self, index: int) -> str:
        """Return the name of a recording, for messages."""
        return f"{self.name}, {self.split} recording {index}"

    def __repr__(self) -> str:
        size = f"{len(self)} recordings, {self.steps} steps of {self.dt:g} ms, shape {self.shape}"
        return f"Loaded({self.name!r}, {self.split!r}, {size}, {self.classes} classes)"


@check.operation
def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    dt: float = 1.0,
    duration: float | None = None,
    download: bool = False,
) -> Loaded | Arrays | Latencies | YinYang:
    """Return a known data set: recordings of events by the package tonic, and numbers in time from their own files.

    ``yin-yang`` is `YinYang`, which needs no files: its splits are train, valid and test.

    Pictures are a constant current: the same numbers from 0 to 1 at every step.

    Steps are of 1 ms, as in SLAYER; the `Loader` drops events later than `duration`. Times of dvsgesture and cifar10dvs
    count from a recording's first event. Recordings that tonic finds as files are in the order of their paths, on every
    machine.

    ========== ============= ============= ======= ======== ======================================
    name       tonic's class shape         classes duration splits
    ========== ============= ============= ======= ======== ======================================
    nmnist     NMNIST        (34, 34, 2)   10      300 ms   train, test
    dvsgesture DVSGesture    (128, 128, 2) 11      1,500 ms train, test
    cifar10dvs CIFAR10DVS    (128, 128, 2) 10      1,300 ms train, test: every tenth of each class
    shd        SHD           (700,)        20      1,400 ms train, test
    ssc        SSC           (700,)        35      1,000 ms train, valid, test
    ntidigits  NTIDIGITS18   (64,)         11      1,000 ms train, test; single digits
    ========== ============= ============= ======= ======== ======================================

    ============== ================================= =========== ======= ===== =================================
    name           file                              shape       classes steps splits
    ============== ================================= =========== ======= ===== =================================
    arrays         train.npz, test.npz               own         own     own   train, test
    qtdb           QTDB_train.mat, QTDB_test.mat     (4,)        6       1,301 train, test; a label at each step
    braille        letters.npz, numbers              (12,)       27      76    train, test: repetitions from 40
    braille-spikes letters.npz, spikes of changes    (96,)       27      76    train, test: repetitions from 40
    fashion-mnist  train-images-idx3-ubyte and so on (28, 28, 1) 10      4     train, test: pictures
    mnist          train-images-idx3-ubyte and so on (28, 28, 1) 10      4     train, test: pictures
    latency-mnist  train-images-idx3-ubyte and so on (784,)      10      own   train, test: MNIST, a spike a pixel
    smnist         train-images-idx3-ubyte and so on (1,)        10      784   train, test: MNIST, a pixel a step
    psmnist        the same, in a fixed random order (1,)        10      784   train, test
    ============== ================================= =========== ======= ===== =================================

    Write files of arrays by ``np.savez(file, x=x, y=y)``, with x and y for `Arrays`. With ``lengths``, the recordings
    in x, and labels at each step in y, stand one after the other. Install tonic by ``pip install 'cuslayer[tonic]'``,
    and the reader of ``.mat`` by ``pip install 'cuslayer[mat]'``.

    Args:
        name: the name of the data set.
        root: the folder of its files, or the file; or tonic's folder of data sets, where the files of SHD are in
            ``root/SHD``. None for yin-yang.
        split: "train", "test" or, for ssc and yin-yang, "valid".
        dt: the step in ms, for `Loader`.
        duration: the duration in ms, of pictures too; None: see the table. Numbers in time have the steps of their
            files; times of spikes have none, and 60 ms by default.
        download: whether tonic may download the data set if it is not in root.

    Source: Laguna and others 1997, "A database for evaluation of algorithms for measurement of QT"; Mueller-Cleve and
    others 2022 (arXiv 2205.15864).

    Raises:
        ImportError: tonic, or for qtdb SciPy, is not installed.
        ValueError: name or split is unknown, a number is out of range, or the data set is not in root.

    >>> load("emnist", "data")
    Traceback (most recent call last):
        ...
    ValueError: load: name must be one of cifar10dvs, dvsgesture, nmnist, ntidigits, shd, ssc, fashion-mnist, mnist, \
arrays, braille, braille-spikes, latency-mnist, psmnist, qtdb, smnist, yin-yang, got 'emnist'; did you mean mnist?
    """
    if check.one_of("name", name, NAMES) in DRAWN:
        drawn = DRAWN[name](split) if duration is None else DRAWN[name](split, duration=duration)
        drawn.dt = check.time_step("dt", dt)
        return drawn
    if root is None:
        raise ValueError(f"root must be the folder of the files of {name}, got None")
    if name in READERS:
        dt = check.time_step("dt", dt)
        still = (
            {"steps": steps_of("duration", _STILL_STEPS * dt if duration is None else duration, dt)}
            if name in PICTURES
            else {}
        )
        of_split = check.one_of("split", split, ("train", "test"))
        found: Arrays | Latencies = READERS[name](check.path("root", root), of_split, **still)
        found.dt = dt
        return found
    known = _KNOWN[name]
    options = known.splits[check.one_of(f"split of {name}", split, known.splits)]
    dt = check.time_step("dt", dt)
    duration = known.duration if duration is None else duration
    steps_of("duration", duration, dt)
    folder = check.path("root", root)
    kind = getattr(optional("tonic.datasets", "tonic"), known.kind)
    source = (kind if download else _without_download(kind, name, folder))(str(folder), **options)
    _list_classes(source)
    of_tonic = FromTonic(source, duration=duration, classes=known.classes)
    if of_tonic.shape != known.shape:
        raise ValueError(f"recordings of {name} must have the shape {known.shape}, tonic's have {of_tonic.shape}")
    order = _order(source)
    if known.splits is _OWN_SPLIT:
        order = order[_is_test(of_tonic.labels[order]) == (split == "test")]
    return Loaded(name, split, of_tonic, order, dt)


def _without_download(kind: type, name: str, folder: os.PathLike[str]) -> Any:
    """Return a class of tonic that raises ValueError instead of a download; tonic names the folder by its class."""

    def download(self: object) -> None:
        there = os.path.join(folder, kind.__name__)
        raise ValueError(f"{name} must be in {there}, which lacks files of it; download=True fetches them")

    return type(kind.__name__, (kind,), {"download": download})


def _list_classes(source: Any) -> None:
    """List the classes of the Heidelberg data sets, which tonic reads with each recording."""
    file = getattr(source, "data_filename", None)
    if isinstance(file, str) and not source.targets:
        path = os.path.join(source.location_on_system, file)
        with optional("h5py", "hdf5").File(path, "r") as opened:
            source.targets = opened["labels"][()].astype(np.int64)


def _order(source: Dataset) -> Any:
    """Return the indices of recordings in the order of their paths, if tonic lists files in a folder's order."""
    paths = getattr(source, "data", None)
    if not (isinstance(paths, list) and len(paths) == len(source) and all(isinstance(p, str) for p in paths)):
        return np.arange(len(source))
    return np.array(sorted(range(len(paths)), key=lambda i: paths[i].split(os.sep)), dtype=np.int64)


def _is_test(labels: Array) -> Any:
    """Return whether each recording is for testing: every tenth of each class."""
    chosen = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
    return chosen
