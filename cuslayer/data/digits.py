"""The embedded data set: handwritten digits recorded by a simulated event camera.

The images are the 1,797 test images of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI
Machine Learning Repository, 1998, doi:10.24432/C50P49), licensed under CC BY 4.0, 8 x 8 pixels with values from 0 to
16. The images are stored unchanged; they are enlarged and moved for the simulation.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.archive import Archive
from cuslayer._base.files import write_whole
from cuslayer._base.threads import thread_count
from cuslayer.data.datasets import Recordings
from cuslayer.data.events import Events
from cuslayer.data.formats.base import open_file
from cuslayer.data.formats.slayer import decode, encode
from cuslayer.data.saccades import MS, SENSOR, saccades

# Part of the cache file's name; increase it when a change below changes the recordings.
_VERSION = 1

_SPLITS = ("train", "test", "all")
_TEST_EVERY = 5
# The largest value of an image, white.
BRIGHTEST = 16


class _Recordings(NamedTuple):
    """Concatenated recordings as bytes of `.bs2` files; recording i is raw[offsets[i] : offsets[i + 1]]."""

    raw: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]


class Digits(Recordings):
    """1,797 handwritten digits, recorded by a simulated event camera with the three saccades of N-MNIST.

    The sensor has 34 x 34 pixels with OFF and ON events; a recording takes 300 ms and has about 4,700 events. The first
    use of a seed simulates the recordings in a few seconds. It saves them in the folder of the environment variable
    CUSLAYER_CACHE, by default in the user's cache folder.

    Attributes:
        shape: (34, 34, 2).
        classes: 10.
        duration: 300 ms.
        labels: the digit of each recording, int64 (samples,).

    Args:
        split: "train", "test" or "all". Every fifth digit is for testing, for every seed.
        seed: seed of the small differences between the pixels' thresholds.

    Raises:
        TypeError: seed is not an integer.
        ValueError: split is unknown, or seed is negative.

    >>> len(Digits("train")), len(Digits("test"))
    (1437, 360)
    >>> events, label = Digits("test")[0]
    >>> events, label
    (Events(5323 events in 2-D, 13.108 to 298.776 ms), 0)
    """

    shape = (SENSOR, SENSOR, 2)
    classes = 10
    duration = float(MS)

    def __init__(self, split: str = "train", seed: int = 0) -> None:
        self.split = check.one_of("split", split, _SPLITS)
        self.seed = check.integer("seed", seed, least=0)
        self._number = numbers(split)
        self._set_labels(labelled_images()[1][self._number])
        self._recordings = _recordings(self.seed, _cache_file(self.seed))

    def _sample(self, place: int) -> tuple[Events, int]:
        return decode(self.recording(place)), int(self.labels[place])

    def recording(self, index: int) -> bytes:
        """Return a recording as the bytes of a `.bs2` file, for fast binning."""
        raw, (first, end) = self._recordings.raw, self._recordings.offsets[self._number[index] :][:2]
        return raw[first:end].tobytes()

    def __repr__(self) -> str:
        return f"Digits({self.split!r}, seed={self.seed}, {len(self)} recordings)"


def numbers(split: str) -> npt.NDArray[np.int64]:
    """Return the numbers of the images of a split among all images."""
    number = np.arange(len(labelled_images()[1]))
    chosen = {"train": number % _TEST_EVERY != 0, "test": number % _TEST_EVERY == 0, "all": number >= 0}
    return number[chosen[split]]


@cache
def labelled_images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the images (samples, 8, 8), values from 0 to 16, and their classes (samples,), read-only."""
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    images.setflags(write=False)
    labels.setflags(write=False)
    return images, labels


@lru_cache(maxsize=1)
def _recordings(seed: int, cache: Path | None) -> _Recordings:
    """Return the recordings of all digits, from the cache file or simulated."""
    found = _load(cache) if cache else None
    if found:
        return found
    simulated = _simulate(seed)
    if cache:
        _save(cache, simulated)
    return simulated


def _simulate(seed: int) -> _Recordings:
    """Simulate the recordings of all digits."""
    from cuslayer.data import simulated_camera as camera

    images = labelled_images()[0]
    seen = saccades(SENSOR, SENSOR, images.shape[1], seed)

    def record(canvas: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        time, x, y, p = camera.record(canvas, seen.path, seen.thresholds).T
        return encode(Events(time / 1000.0, x, y, p))

    with ThreadPoolExecutor(min(thread_count(), 8)) as pool:
        parts = list(pool.map(record, seen.draw(images / BRIGHTEST)))
    return _Recordings(np.concatenate(parts), np.cumsum([0] + [len(part) for part in parts], dtype=np.int64))


def _cache_file(seed: int) -> Path | None:
    """Return the path of the cache file of a seed, or None if the user has no home folder."""
    name = f"digits-v{_VERSION}-seed{seed}.npz"
    folder = os.environ.get("CUSLAYER_CACHE")
    if folder:
        return Path(folder) / name
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = home / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return root / "cuslayer" / name


def _load(cache: Path) -> _Recordings | None:
    """Return the recordings of a cache file, or None if it is missing or damaged."""
    try:
        with open_file(cache) as file:
            archive = Archive(file)
            archive.check_size()
            raw, offsets = archive.read("raw"), archive.read("offsets")
    except Exception:  # the readers of zip and npy raise many types
        return None
    valid = (
        raw.dtype == np.uint8
        and offsets.dtype == np.int64
        and raw.ndim == offsets.ndim == 1
        and len(offsets) == len(labelled_images()[1]) + 1
        and offsets[0] == 0
        and bool((np.diff(offsets) > 0).all())
        and offsets[-1] == len(raw)
        and not (offsets % 5).any()
    )
    return _Recordings(raw, offsets) if valid else None


def _save(cache: Path, recordings: _Recordings) -> None:
    """Write the cache file, if the folder is writable."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cache, lambda file: np.savez(file, raw=recordings.raw, offsets=recordings.offsets))
    except OSError:
        return
