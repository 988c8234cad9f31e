"""Files that are built to do harm: they unfold to much more than they are, or name other files."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

# What a file unfolds to: twice the memory that its reader may take.
_BOMB = 1 << 27


def archives(raw: bytes) -> list[bytes]:
    """Return zip files whose arrays unfold to much, beside the members of a valid one."""
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = next(name for name in members if name != "about.npy")
    found = []
    for where in (name, "about.npy"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for each, content in members.items():
                if each != where:
                    # A name alone would add the time.
                    file.writestr(zipfile.ZipInfo(each), content)
            with file.open(where, "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (_BOMB // 4,)}
                np.lib.format.write_array_header_1_0(member, header)
                for _ in range(_BOMB >> 20):
                    member.write(bytes(1 << 20))
        found.append(out.getvalue())
    return found


def aedat4(raw: bytes) -> list[bytes]:
    """Return an AEDAT 4 file whose packet unfolds to much: of a file that is compressed by zstd, the header is kept."""
    import zstandard

    start = 14 + 4 + int.from_bytes(raw[14:18], "little")
    packet = zstandard.ZstdCompressor().compress(bytes(_BOMB))
    return [raw[:start] + raw[start : start + 4] + len(packet).to_bytes(4, "little") + packet]


def hdf5(groups: tuple[str, ...]) -> list[bytes]:
    """Return HDF5 files with data in other files, virtual data, links, compressed zeros and strings of any length.

    Args:
        groups: the names of numeric data sets that a reader expects.
    """
    found = []
    for kind in range(6):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.h5"
            with h5py.File(path, "w") as file:
                for name in groups:
                    _hostile_data(file, name, kind)
            found.append(path.read_bytes())
    return found


def _hostile_data(file: h5py.File, name: str, kind: int) -> None:
    """Put hostile data under a name."""
    if kind == 0:
        file.create_dataset(name, (100,), "u1", external=[("/etc/passwd", 0, 100)])
    elif kind == 1:
        layout = h5py.VirtualLayout((1000,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "x", (1000,))
        file.create_virtual_dataset(name, layout)
    elif kind == 2:
        file[name] = h5py.ExternalLink("/etc/hostname", "/x")
    elif kind == 3:
        file.create_dataset(name, (_BOMB // 4,), "i4", chunks=(1 << 20,), compression="gzip", fillvalue=1)
    elif kind == 4:
        file.create_dataset(name, data=["a" * 100, "b"], dtype=h5py.string_dtype())
    else:
        data = file.create_dataset(name, data=np.arange(10))
        data.attrs["unit"] = "us" * 10_000
