"""MNIST and Fashion-MNIST: pictures as a constant current, as times of spikes, and as sequences of one pixel a step."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.data.arrays import Arrays
from cuslayer.data.datasets import Recordings
from cuslayer.data.events import Events
from cuslayer.data.formats.base import Missing, Unreadable, read_file
from cuslayer.data.sounds import most_unfolded

_NAMES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_PARTS = {"train": "train", "test": "t10k"}
_SIDE, _CLASSES, _WHITE = 28, 10, 255
# The time, ms, up to which darker pixels fire; black ones do not.
_LATEST = 30.0
# The order of the pixels of permuted MNIST is drawn once for all; every paper has another order.
_SEED = 0
_GZIP = b"\x1f\x8b"


def pictures(root: Path, split: str, steps: int) -> Arrays:
    """Return the pictures of MNIST as numbers from 0 to 1, (steps, 28, 28, 1), the same at every step.

    The steps of a picture share its memory. The files have the names ``train-images-idx3-ubyte``,
    ``train-labels-idx1-ubyte``, and for the test ``t10k-...``, with or without ``.gz``; some sources write a dot before
    ``idx``.

    Source: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    shades, labels = _shades(root, split)
    still = np.broadcast_to(shades[:, None, :, :, None], (len(shades), steps, _SIDE, _SIDE, 1))
    return Arrays(still, labels, classes=_CLASSES)


def fashion(root: Path, split: str, steps: int) -> Arrays:
    """Return the pictures of Fashion-MNIST, whose files have the names of MNIST's; see `pictures`.

    Source: Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", arXiv 1708.07747.
    """
    clothes = pictures(root, split, steps)
    clothes.names = _NAMES
    return clothes


def pixels_in_time(root: Path, split: str, permuted: bool = False) -> Arrays:
    """Return the pictures of MNIST as numbers from 0 to 1, (784, 1): a pixel a step, row by row, or in a fixed order.

    Source: Le, Jaitly and Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units",
    arXiv 1504.00941.
    """
    shades, labels = _shades(root, split)
    flat = shades.reshape(len(shades), -1)
    if permuted:
        flat = flat[:, np.random.default_rng(_SEED).permutation(flat.shape[1])]
    return Arrays(flat[:, :, None], labels, classes=_CLASSES)


class Latencies(Recordings):
    """Pictures of MNIST as times of spikes: each pixel fires once, the brighter the earlier, black ones never.

    Attributes:
        shape: (784,), the pixels row by row.
        classes: 10.
        duration: ms.
        dt, steps: the step, ms, and the number of steps, for a `Loader`.
        labels: the class of each picture, int64 (samples,).

    Source: Wunderlich and Pehle 2021, doi 10.1038/s41598-021-91786-z.
    """

    shape = (_SIDE * _SIDE,)
    classes = _CLASSES
    duration = 2 * _LATEST
    dt = 1.0

    def __init__(self, root: Path, split: str) -> None:
        shades, labels = _shades(root, split)
        self._shades = shades.reshape(len(shades), -1)
        self._set_labels(labels)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return round(self.duration / self.dt)

    def _sample(self, place: int) -> tuple[Events, int]:
        shades = self._shades[place]
        pixels = np.flatnonzero(shades > 1 / _WHITE)
        return Events((1 - shades[pixels].astype(np.float64)) * _LATEST, pixels), int(self.labels[place])

    def __repr__(self) -> str:
        return f"Latencies({len(self)} pictures)"


def _shades(root: Path, split: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return pictures as numbers from 0 to 1, (pictures, 28, 28), and their classes."""
    part = _PARTS[split]
    images, labels = _read(root, f"{part}-images-idx3-ubyte", 3), _read(root, f"{part}-labels-idx1-ubyte", 1)
    with check.about(root):
        if images.shape != (len(labels), _SIDE, _SIDE) or not len(labels) or labels.max() >= _CLASSES:
            raise ValueError(
                f"the files must have pictures of 28 x 28 pixels with as many labels under 10, got {images.shape}, "
                f"{labels.shape} and labels up to {labels.max(initial=0)}"
            )
        check.memory("the pixels as numbers", images.shape, 4)
    return images.astype(np.float32) / np.float32(_WHITE), labels.astype(np.int64)


def _read(root: Path, name: str, axes: int) -> npt.NDArray[np.uint8]:
    """Return the bytes of a file of a folder with the shape that its header has."""
    names = [each + suffix for each in (name, name.replace("-idx", ".idx")) for suffix in ("", ".gz")]
    found = [root / each for each in names if (root / each).is_file()]
    if not found:
        raise Missing(f"{root / name} is no file")

    def read(file: BinaryIO, size: int) -> npt.NDArray[np.uint8]:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        try:
            given = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
            return _idx(given, axes, most_unfolded(size) if packed else size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
            raise Unreadable(f"is no gzip file ({problem})") from None

    return read_file(found[0], read)


def _idx(file: BinaryIO, axes: int, most: int) -> npt.NDArray[np.uint8]:
    """Return the array of an idx file of at most so many bytes."""
    header = file.read(4 * (axes + 1))
    if len(header) != 4 * (axes + 1) or header[:4] != bytes((0, 0, 8, axes)):
        raise Unreadable(f"is no idx file of bytes with {axes} axes")
    shape = tuple(np.frombuffer(header, ">u4").tolist()[1:])
    count = math.prod(shape)
    content = file.read(count + 1) if count <= most else b""
    if len(content) != count:
        raise Unreadable(f"must have the {count:,} bytes that its header says")
    return np.frombuffer(content, np.uint8).reshape(shape)
