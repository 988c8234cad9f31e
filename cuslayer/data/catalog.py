"""`load`: known data sets by name, read by the package tonic, each prepared as SLAYER takes it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import numpy as np

from cuslayer import check
from cuslayer.data.augment import FromStart
from cuslayer.data.events import Events
from cuslayer.data.tonic import FromTonic
from cuslayer.extras import optional

# Where a data set has no test set of its own, every tenth recording of each class is for testing.
_TEST_EVERY = 10


@dataclass(frozen=True)
class _Known:
    """A data set: tonic's class, what `load` says of it, and the options of tonic's class for each split.

    Times of some count from the camera's start, not from the recording's: their first event is at 0.
    """

    kind: str
    shape: tuple[int, ...]
    classes: int
    duration: float
    splits: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"train": {"train": True}, "test": {"train": False}}
    )
    from_start: bool = False


_OWN_SPLIT: dict[str, dict[str, Any]] = {"train": {}, "test": {}}
_KNOWN = {
    "cifar10dvs": _Known("CIFAR10DVS", (128, 128, 2), 10, 1300.0, _OWN_SPLIT, from_start=True),
    "dvsgesture": _Known("DVSGesture", (128, 128, 2), 11, 1500.0, from_start=True),
    "nmnist": _Known("NMNIST", (34, 34, 2), 10, 300.0),
    "ntidigits": _Known(
        "NTIDIGITS18",
        (64,),
        11,
        1000.0,
        {name: {"train": name == "train", "single_digits": True} for name in ("train", "test")},
    ),
    "shd": _Known("SHD", (700,), 20, 1400.0),
    "ssc": _Known("SSC", (700,), 35, 1000.0, {name: {"split": name} for name in ("train", "valid", "test")}),
}
NAMES = tuple(_KNOWN)


class Loaded:
    """A known data set, as `load` returns it; a `Dataset` that `Loader` takes without further numbers.

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

    def __init__(self, name: str, split: str, source: FromTonic, order: Any, dt: float) -> None:
        self.name, self.split = name, split
        self.shape, self.classes = source.shape, source.classes
        self.duration, self.dt, self.steps = source.duration, dt, round(source.duration / dt)
        self.labels = source.labels[order]
        self.labels.setflags(write=False)
        self._source, self._order = source, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Events, int]:
        place = check.position("load", index, len(self))
        events, label = self._source[int(self._order[place])]
        return FromStart()(events, self.shape) if _KNOWN[self.name].from_start else events, label

    def where(self, index: int) -> str:
        """Return the name of a recording, for messages."""
        return f"{self.name}, {self.split} recording {index}"

    def __repr__(self) -> str:
        size = f"{len(self)} recordings, {self.steps} steps of {self.dt:g} ms, shape {self.shape}"
        return f"Loaded({self.name!r}, {self.split!r}, {size}, {self.classes} classes)"


def load(
    name: str,
    root: str | os.PathLike[str],
    split: str = "train",
    *,
    dt: float = 1.0,
    duration: float | None = None,
    download: bool = False,
) -> Loaded:
    """Return a known data set, read by the package tonic (``pip install 'cuslayer[tonic]'``).

    Steps are of 1 ms, as in SLAYER; events later than `duration` are dropped by the `Loader`. Times of dvsgesture and
    cifar10dvs count from a recording's first event. Recordings that tonic finds as files are in the order of their
    paths, on every machine.

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

    Args:
        name: the name of the data set.
        root: the folder in which tonic keeps its data sets: the files of SHD are in ``root/SHD``.
        split: "train", "test" or, of ssc, "valid".
        dt: the step in ms, for `Loader`.
        duration: the duration in ms; None: that of the table.
        download: whether tonic may download the data set where it is not in root.

    Raises:
        ImportError: tonic is not installed.
        ValueError: name or split is unknown, a number is out of range, or the data set is not in root.

    >>> load("mnist", "data")
    Traceback (most recent call last):
        ...
    ValueError: load: name must be one of cifar10dvs, dvsgesture, nmnist, ntidigits, shd, ssc, got 'mnist'; did you \
mean nmnist?
    """
    op = "load"
    known = _KNOWN[check.one_of(op, "name", name, _KNOWN)]
    options = known.splits[check.one_of(op, f"split of {name}", split, known.splits)]
    dt = check.time_step(op, "dt", dt)
    duration = known.duration if duration is None else check.positive(op, "duration", duration)
    if round(duration / dt) < 1:
        raise ValueError(f"{op}: duration must be at least a step of {dt:g} ms, got {duration:g}")
    folder = check.path(op, "root", root)
    kind = getattr(optional(op, "tonic.datasets", "tonic"), known.kind)
    source = (kind if download else _without_download(kind, name, folder))(str(folder), **options)
    _list_classes(source)
    found = FromTonic(source, duration=duration, classes=known.classes)
    if found.shape != known.shape:
        raise ValueError(f"{op}: recordings of {name} must have the shape {known.shape}, tonic's have {found.shape}")
    order = _order(source)
    if known.splits is _OWN_SPLIT:
        order = order[_is_test(found.labels[order]) == (split == "test")]
    return Loaded(name, split, found, order, dt)


def _without_download(kind: Any, name: str, folder: os.PathLike[str]) -> Any:
    """Return a class of tonic that raises ValueError where it would download; tonic names the folder by its class."""

    def download(self: Any) -> None:
        there = os.path.join(folder, kind.__name__)
        raise ValueError(f"load: {name} must be in {there}, which lacks files of it; download=True fetches them")

    return type(kind.__name__, (kind,), {"download": download})


def _list_classes(source: Any) -> None:
    """List the classes of the Heidelberg data sets, which tonic reads with each recording."""
    file = getattr(source, "data_filename", None)
    if isinstance(file, str) and not source.targets:
        path = os.path.join(source.location_on_system, file)
        with optional("load", "h5py", "hdf5").File(path, "r") as opened:
            source.targets = opened["labels"][()].astype(np.int64)


def _order(source: Any) -> Any:
    """Return the indices of recordings in the order of their paths, where tonic lists files as a folder has them."""
    paths = getattr(source, "data", None)
    if not (isinstance(paths, list) and len(paths) == len(source) and all(isinstance(p, str) for p in paths)):
        return np.arange(len(source))
    return np.array(sorted(range(len(paths)), key=lambda i: paths[i].split(os.sep)), dtype=np.int64)


def _is_test(labels: Any) -> Any:
    """Return whether each recording is for testing: in the order of each class, every tenth."""
    chosen = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
    return chosen
