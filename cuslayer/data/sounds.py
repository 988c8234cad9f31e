"""Labelled sounds in files: an archive of waves, and WAV files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.archive import Archive, Refused
from cuslayer.backend import Array
from cuslayer.data.arrays import MOST_CLASSES
from cuslayer.data.formats import base
from cuslayer.data.formats.base import read_file

_NEEDED = ("audio", "start", "label")
# Bytes that the arrays of any archive may have together; in larger archives, so many times their size.
_FEW_BYTES, _MOST_TIMES = 1 << 24, 8
_MOST_ARRAYS = 1000
# The number of recordings that any archive may have; in larger archives, one for each so many bytes.
_FEW_RECORDINGS, _LEAST_RECORDING = 100_000, 64
_NO_WAVE = "is no WAV file of uncompressed samples"
# Numbers of formats: uncompressed samples, and a long form that ends with the number and these bytes.
_PLAIN, _LONG_FORM, _LONG_FORM_ENDS = 0x0001, 0xFFFE, bytes.fromhex("000000001000800000aa00389b71")
_LONGEST_FORMAT, _MOST_CHUNKS, _HIGHEST_RATE = 40, 1000, 10_000_000


class Sounds(NamedTuple):
    """The recordings of an archive.

    Attributes:
        waves: a wave (samples,) for each recording.
        labels: the class of each, int64.
        fields: other data of each recording, such as its speaker, by name.
    """

    waves: list[npt.NDArray[Any]]
    labels: npt.NDArray[np.int64]
    fields: dict[str, npt.NDArray[Any]]

    @check.operation("read_sounds")
    def where(self, name: str, values: Iterable[object]) -> npt.NDArray[np.bool_]:
        """Return which recordings have one of some values in a field.

        Raises:
            ValueError: the file has no such field, or no recording has one of the values.
        """
        if name not in self.fields:
            known = ", ".join(sorted(self.fields)) or "none"
            raise ValueError(f"the file has no field {name!r}; its fields: {known}")
        found = np.isin(self.fields[name].astype(str), [str(value) for value in values])
        if not found.any():
            raise ValueError(f"no recording has {name} {', '.join(map(str, values))}")
        return found

    def select(self, mask: npt.NDArray[np.bool_]) -> Sounds:
        """Return the recordings where a mask is True."""
        waves = [wave for wave, taken in zip(self.waves, mask, strict=True) if taken]
        return Sounds(waves, self.labels[mask], {name: values[mask] for name, values in self.fields.items()})


@check.operation
def read_sounds(path: str | os.PathLike[str]) -> Sounds:
    """Return the recordings of an ``.npz`` file of labelled waves.

    Its arrays are ``audio`` (samples,), all waves one after the other, signed integers or floating; ``start``
    (recordings + 1,), the beginning of each, and the end of the last; ``label`` (recordings,), integers from 0. Other
    arrays (recordings,) are fields. `np.savez` writes such a file.

    Args:
        path: the file.

    Raises:
        ValueError: the file is missing, a folder, a device or no such archive, its arrays take more than 16 MB and
            eight times the size of the file, or they do not fit each other.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "two.npz"
    >>> np.savez(file, audio=np.zeros(700, np.int16), start=[0, 300, 700], label=[1, 0], speaker=["a", "b"])
    >>> sounds = read_sounds(file)
    >>> [len(wave) for wave in sounds.waves], sounds.labels.tolist(), sounds.where("speaker", ["b"]).tolist()
    ([300, 400], [1, 0], [False, True])
    """
    file_path = check.path("path", path)
    arrays = read_arrays(file_path)
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise ValueError(f"{file_path} has no array {missing[0]!r}; it must have audio, start and label")
    audio, start, label = (arrays.pop(name) for name in _NEEDED)
    with check.about(file_path):
        edges = _edges(audio, start, label)
        check_recordings(len(label), file_path)
    fields = {name: values for name, values in arrays.items() if values.shape == label.shape}
    return Sounds([audio[a:b] for a, b in pairwise(edges)], label.astype(np.int64), fields)


def _edges(audio: Array, start: Array, label: Array) -> npt.NDArray[np.int64]:
    """Return the edges of the waves of an archive, if its arrays fit."""
    if audio.ndim != 1 or audio.dtype.kind not in "if":
        raise ValueError(f"audio must be (samples,) signed integers or floating, got {audio.dtype} {audio.shape}")
    for name, values in (("start", start), ("label", label)):
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers in one dimension, got {values.dtype} {values.shape}")
    if len(start) != len(label) + 1 or not len(label):
        raise ValueError(f"start must have one number more than label, got {len(start)} and {len(label)}")
    if start[0] != 0 or (start[1:] < start[:-1]).any() or start[-1] != len(audio):
        raise ValueError(f"start must ascend from 0 to the {len(audio)} samples of audio")
    if label.min() < 0 or label.max() >= MOST_CLASSES:
        got = label.min() if label.min() < 0 else label.max()
        raise ValueError(f"label must be integers from 0, under {MOST_CLASSES}, got {got}")
    return start.astype(np.int64)


def check_recordings(count: int, path: Path) -> None:
    """Raise ValueError if an archive has too many recordings for its size: each is an array of its own in memory."""
    most = max(_FEW_RECORDINGS, path.stat().st_size // _LEAST_RECORDING)
    if count > most:
        raise ValueError(f"its size allows at most {most:,} recordings, got {count:,}")


def most_unfolded(size: int) -> int:
    """Return the most bytes that a compressed file of a size may unfold to."""
    return max(_FEW_BYTES, _MOST_TIMES * size)


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an archive, if they are not much larger than it and fit into memory."""

    def read(file: BinaryIO, size: int) -> dict[str, Array]:
        with _refusal():
            archive = Archive(file)
            if len(archive.names) > _MOST_ARRAYS:
                raise Refused(f"must have at most {_MOST_ARRAYS} arrays, got {len(archive.names)}")
            headers = archive.headers
        total, most = sum(header.bytes for header in headers.values()), most_unfolded(size)
        if total > most:
            rule = f"must hold at most {most:,} bytes in a file of {size:,}, got {total:,}"
            raise base.Unreadable(f"{rule}; np.savez, which does not compress, writes any size")
        with check.about(path):
            for name, header in headers.items():
                if 0 in header.shape:
                    raise ValueError(f"array {name} must have no axis of 0, got shape {header.shape}")
                check.memory(f"array {name}", header.shape, header.dtype.itemsize)
        with _refusal():
            return {name: archive.read(name) for name in headers}

    return read_file(path, read)


@contextmanager
def _refusal() -> Iterator[None]:
    """Raise Unreadable for any error in an archive."""
    try:
        yield
    except OSError:
        raise
    except Refused as problem:
        raise base.Unreadable(str(problem)) from None
    except Exception as problem:  # the readers of zip and npy raise many types
        raise base.Unreadable(f"is no npz file of arrays ({type(problem).__name__})") from None


@check.operation
def read_wave(path: str | os.PathLike[str]) -> tuple[Array, int]:
    """Return the wave of a WAV file, (samples,), and its rate in Hz; the mean of several channels.

    Args:
        path: a file of uncompressed samples of 8, 16 or 32 bits.

    Raises:
        ValueError: the file is missing, a folder, a device, no WAV file, cut off or inconsistent, or has other samples.
    """
    file_path = check.path("path", path)

    def read(file: BinaryIO, size: int) -> tuple[Array, int]:
        channels, width, rate, length = _wave_header(file, size)
        with check.about(file_path):
            check.memory("the samples", (length // (channels * width),), max(8, channels * width))
        samples = np.frombuffer(base.read_block(file, length), f"<i{width}")
        if width == 1:  # unsigned, with silence at 128
            samples = samples ^ np.int8(-128)
        if channels == 1:
            return samples, rate
        found = samples.reshape(-1, channels).mean(axis=1)
        found /= 2.0 ** (8 * width - 1)
        return found, rate

    return read_file(file_path, read)


def _wave_header(file: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Return the channels, the bytes of a sample, the rate and the bytes of all samples, and go to the first one."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise base.Unreadable(f"{_NO_WAVE} ({'it ends early' if len(head) < 12 else 'it does not begin as one'})")
    form = None
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            raise base.Unreadable(f"{_NO_WAVE} (it ends before its samples)")
        name, length, left = head[:4], int.from_bytes(head[4:], "little"), size - file.tell()
        if length > left:
            raise base.Unreadable(f"is cut off: its part {name!r} should have {length} bytes, it has {left}")
        if name == b"data":
            if form is None:
                raise base.Unreadable("must have its format before its samples")
            frame = form[0] * form[1]
            if length % frame:
                raise base.Unreadable(f"has {length} bytes of samples, not a multiple of {frame}")
            return *form, length
        start = file.tell()
        if name == b"fmt ":
            form = _wave_format(file.read(min(length, _LONGEST_FORMAT)))
        file.seek(start + length + length % 2)
    raise base.Unreadable(f"must have its samples within its first {_MOST_CHUNKS} parts")


def _wave_format(raw: bytes) -> tuple[int, int, int]:
    """Return the channels, the bytes of a sample and the rate of the format in a WAV file."""
    if len(raw) < 16:
        raise base.Unreadable(f"has a format of {len(raw)} bytes, at least 16 are needed")
    kind, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", raw)
    if kind == _LONG_FORM and raw[26:40] == _LONG_FORM_ENDS:
        (kind,) = struct.unpack_from("<H", raw, 24)
    if kind != _PLAIN:
        raise base.Unreadable(f"{_NO_WAVE} (its format is {kind:#06x})")
    if bits not in (8, 16, 32):
        raise base.Unreadable(f"must have samples of 8, 16 or 32 bits, got {bits}")
    if not channels or frame != channels * bits // 8:
        raise base.Unreadable(f"must have frames of all channels, got {frame} bytes for {channels} x {bits} bits")
    if not 1 <= rate <= _HIGHEST_RATE:
        raise base.Unreadable(f"must have 1 to {_HIGHEST_RATE} samples per second, got {rate}")
    return channels, bits // 8, rate
