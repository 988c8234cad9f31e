"""Labelled sounds in files: an archive of waves, and WAV files."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.archive import Archive, Refused, open_archive

T = TypeVar("T")

_NEEDED = ("audio", "start", "label")


class Sounds(NamedTuple):
    """The recordings of an archive.

    Attributes:
        waves: a wave (samples,) for each recording.
        labels: the class of each, int64.
        fields: what else the file says of each recording, such as its speaker, by name.
    """

    waves: list[npt.NDArray[Any]]
    labels: npt.NDArray[np.int64]
    fields: dict[str, npt.NDArray[Any]]

    def where(self, name: str, values: Any) -> npt.NDArray[np.bool_]:
        """Return which recordings have one of some values in a field.

        Raises:
            ValueError: the file has no such field, or no recording has one of the values.
        """
        if name not in self.fields:
            known = ", ".join(sorted(self.fields)) or "none"
            raise ValueError(f"read_sounds: the file has no field {name!r}; its fields: {known}")
        found = np.isin(self.fields[name].astype(str), [str(value) for value in values])
        if not found.any():
            raise ValueError(f"read_sounds: no recording has {name} {', '.join(map(str, values))}")
        return found

    def select(self, mask: npt.NDArray[np.bool_]) -> Sounds:
        """Return the recordings where a mask is True."""
        waves = [wave for wave, taken in zip(self.waves, mask, strict=True) if taken]
        return Sounds(waves, self.labels[mask], {name: values[mask] for name, values in self.fields.items()})


def read_sounds(path: str | os.PathLike[str]) -> Sounds:
    """Return the recordings of an ``.npz`` file of labelled waves.

    Its arrays are ``audio`` (samples,), all waves one after the other, signed integers or floating; ``start``
    (recordings + 1,), where each begins, and the end of the last; ``label`` (recordings,), integers from 0. Other
    arrays (recordings,) are fields. `np.savez` writes such a file.

    Args:
        path: the file.

    Raises:
        ValueError: the file is missing or is no such archive, or its arrays do not fit each other.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "two.npz"
    >>> np.savez(file, audio=np.zeros(700, np.int16), start=[0, 300, 700], label=[1, 0], speaker=["a", "b"])
    >>> sounds = read_sounds(file)
    >>> [len(wave) for wave in sounds.waves], sounds.labels.tolist(), sounds.where("speaker", ["b"]).tolist()
    ([300, 400], [1, 0], [False, True])
    """
    op = f"read_sounds: {check.path('read_sounds', 'path', path)}"
    arrays = _arrays(op, path)
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise ValueError(f"{op} has no array {missing[0]!r}; it must have audio, start and label")
    audio, start, label = (arrays.pop(name) for name in _NEEDED)
    if audio.ndim != 1 or audio.dtype.kind not in "if":
        raise ValueError(f"{op}: audio must be (samples,) signed integers or floating, got {audio.dtype} {audio.shape}")
    for name, values in (("start", start), ("label", label)):
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(f"{op}: {name} must be integers in one dimension, got {values.dtype} {values.shape}")
    if len(start) != len(label) + 1 or not len(label):
        raise ValueError(f"{op}: start must have one number more than label, got {len(start)} and {len(label)}")
    edges = start.astype(np.int64)
    if edges[0] != 0 or (np.diff(edges) < 0).any() or edges[-1] != len(audio):
        raise ValueError(f"{op}: start must ascend from 0 to the {len(audio)} samples of audio")
    if label.min() < 0:
        raise ValueError(f"{op}: label must be integers from 0, got {label.min()}")
    fields = {name: values for name, values in arrays.items() if values.shape == label.shape}
    waves = [audio[a:b] for a, b in pairwise(edges)]
    return Sounds(waves, label.astype(np.int64), fields)


def _arrays(op: str, path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an archive, if they fit into memory."""
    for name, header in _read(op, path, lambda archive: archive.headers).items():
        check.memory(op, f"array {name}", header.shape, header.dtype.itemsize)
    return _read(op, path, lambda archive: {name: archive.read(name) for name in archive.headers})


def _read(op: str, path: str | os.PathLike[str], take: Callable[[Archive], dict[str, T]]) -> dict[str, T]:
    """Return what is taken from an open archive."""
    try:
        with open_archive(path) as archive:
            return take(archive)
    except OSError as problem:
        raise ValueError(f"{op} cannot be read ({problem.strerror or type(problem).__name__})") from None
    except Refused as problem:
        raise ValueError(f"{op} {problem}") from None
    except Exception as problem:  # the readers of zip and npy raise many types
        raise ValueError(f"{op} is no npz file of arrays ({type(problem).__name__})") from None


def read_wave(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], int]:
    """Return the wave of a WAV file, (samples,), and its rate in Hz; the mean of several channels.

    Args:
        path: a file of uncompressed samples of 8, 16 or 32 bits.

    Raises:
        ValueError: the file is missing, is no WAV file, or has other samples.
    """
    op = f"read_wave: {check.path('read_wave', 'path', path)}"
    try:
        with wave.open(str(Path(path)), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except OSError as problem:
        raise ValueError(f"{op} cannot be read ({problem.strerror or type(problem).__name__})") from None
    except (wave.Error, EOFError) as problem:
        raise ValueError(f"{op} is no WAV file of uncompressed samples ({str(problem) or 'it ends early'})") from None
    if width not in (1, 2, 4):
        raise ValueError(f"{op}: samples must have 8, 16 or 32 bits, got {8 * width}")
    raw = raw[: len(raw) // (channels * width) * channels * width]
    samples = np.frombuffer(raw, f"<{'u' if width == 1 else 'i'}{width}").reshape(-1, channels)
    if width == 1:  # unsigned, with silence at 128
        samples = (samples.astype(np.int16) - 128).astype(np.int8)
    return (samples[:, 0] if channels == 1 else samples.mean(axis=1) / 2.0 ** (8 * width - 1)), rate
