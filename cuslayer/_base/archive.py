"""Archives of arrays with a JSON description: npz files with checks before reading."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer._base.files import write_whole

_ABOUT = "about"


class Refused(ValueError):
    """An archive has something that `write_archive` does not write; the message says what, after a file name."""


class Header(NamedTuple):
    """The shape and the type of an array in an archive."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """The size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """An open npz file."""

    def __init__(self, file: BinaryIO) -> None:
        self._size = os.fstat(file.fileno()).st_size
        self._zip = zipfile.ZipFile(file)
        self._members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}
        if len(self._members) != len(self._zip.infolist()):
            raise Refused("has an array twice")
        for name, info in self._members.items():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Refused(f"has array {name} compressed in a way that is not read")
            if not name.isprintable():
                raise Refused(f"has an array of the name {name!r}")

    @property
    def names(self) -> list[str]:
        """The names of the arrays, without a description that was read."""
        return list(self._members)

    @cached_property
    def headers(self) -> dict[str, Header]:
        """The shape and the type of each array by name, without a description that was read."""
        return {name: self.header(name) for name in self._members}

    def header(self, name: str) -> Header:
        """Return the shape and the type of an array, whose size must match its file in the archive."""
        info = self._members[name]
        with self._zip.open(info) as member:
            header, start = _read_header(member)
        if header.dtype.hasobject:
            raise ValueError(f"array {name} has Python objects")
        if start + header.bytes != info.file_size:
            raise Refused(f"has another size of array {name} than its shape {header.shape} of {header.dtype} says")
        return header

    def about(self) -> Any:
        """Return the description."""
        header = self.header(_ABOUT)
        if header.shape or header.dtype.kind != "U":
            raise ValueError("the description is no text")
        if header.bytes > self._size:
            raise Refused(f"has a description of {header.bytes:,} bytes in a file of {self._size:,}")
        text = str(self.read(_ABOUT))
        del self._members[_ABOUT]
        return json.loads(text)

    def check_size(self) -> None:
        """Raise Refused if the arrays are larger than the file: `write_archive` does not compress."""
        total = sum(info.file_size for info in self._members.values())
        if total > self._size:
            raise Refused(f"has arrays of {total:,} bytes in a file of {self._size:,}")

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return an array."""
        self.header(name)
        with self._zip.open(self._members[name]) as member:
            array: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        return array


def check_finite(name: str, array: npt.NDArray[np.generic]) -> None:
    """Raise ValueError if an array has NaN or an infinity."""
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or an infinity")


def _read_header(member: Any) -> tuple[Header, int]:
    """Return the header of an npy file, and its length."""
    version = np.lib.format.read_magic(member)
    # In later versions, the header may have any size.
    if version != (1, 0):
        raise Refused(f"has npy arrays of version {'.'.join(map(str, version))}")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    except Exception as problem:  # the reader of npy raises many types, with objects of Python's parser in their text
        raise Refused(f"has an array with a damaged header ({type(problem).__name__})") from None
    if any(size < 0 for size in shape):
        raise Refused(f"has an array of shape {shape}")
    return Header(shape, dtype), member.tell()


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """Open an archive for the block. Errors: see `Archive` and `open`."""
    with open(path, "rb") as file:
        yield Archive(file)


def write_archive(path: Path, about: object, arrays: Mapping[str, Any], *, durable: bool = False) -> None:
    """Write an npz file of arrays and the JSON text `about`; arguments and errors: see `write_whole`."""
    text = np.array(json.dumps(about))
    write_whole(path, lambda file: np.savez(file, about=text, **arrays), durable=durable)
