"""Archives of arrays: what the headers say is checked before an array is read."""

from __future__ import annotations

import io
import warnings
import zipfile

import numpy as np
import pytest

from cuslayer._base import archive
from cuslayer._base.archive import Archive


def npy(shape, content=b"", descr="<f4", version=1):
    """An npy file that says a shape, whatever its content."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + content


def members(tmp_path, **files):
    """An archive of files as they are given."""
    path = tmp_path / "members.npz"
    with zipfile.ZipFile(path, "w") as new:
        for name, content in files.items():
            new.writestr(f"{name}.npy", content)
    return path


def about_text(text="{}"):
    file = io.BytesIO()
    np.save(file, np.array(text))
    return file.getvalue()


def test_archives(tmp_path):
    def opened(path):
        with path.open("rb") as file:
            found = Archive(file)
            found.about()
            found.check_size()
            return {name: found.read(name) for name in found.headers}

    sound = members(tmp_path, about=about_text(), a=npy((2,), bytes(8)))
    assert opened(sound)["a"].tolist() == [0, 0]
    for content, message in (
        (npy((3,), bytes(8)), r"has another size of array a than its shape \(3,\) of float32 says"),
        (npy((2,), bytes(9)), "has another size of array a"),
        (npy((-2,), bytes(8)), r"has an array of shape \(-2,\)"),
        (npy((2,), bytes(8), version=2), "has npy arrays of version 2.0"),
        (npy((10**30,), bytes(8)), "has another size of array a"),
        (npy((1,), bytes(8), descr="|O"), "array a has Python objects"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            opened(members(tmp_path, about=about_text(), a=content))
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2**31,)}"
    for wrong in (header, b"", b"(" * 900, header.replace(b"2**31", b"2, None")):
        content = b"\x93NUMPY\1\0" + len(wrong).to_bytes(2, "little") + wrong + bytes(8)
        with pytest.raises(ValueError, match=r"^has an array with a damaged header \(\w+\)$"):
            opened(members(tmp_path, about=about_text(), a=content))
    with pytest.raises(ValueError, match="the description is no text"):
        opened(members(tmp_path, about=npy((), bytes(4))))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there already
        new.writestr("a.npy", npy((2,), bytes(8)))
        new.writestr("a.npy", npy((2,), bytes(8)))
    with pytest.raises(ValueError, match=r"^has an array twice$"):
        opened(tmp_path / "twice.npz")
    for kind, message in ((zipfile.ZIP_BZIP2, "compressed in a way that is not read"), (zipfile.ZIP_DEFLATED, "bytes")):
        with zipfile.ZipFile(tmp_path / "packed.npz", "w", kind) as new:
            new.writestr("about.npy", about_text(), zipfile.ZIP_STORED)
            new.writestr("a.npy", npy((10**5,), bytes(4 * 10**5)))
        with pytest.raises(ValueError, match=message):
            opened(tmp_path / "packed.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("about.npy", about_text("[" * 10**5))
    with pytest.raises(ValueError, match=r"^has a description of 400,000 bytes in a file of "):
        opened(tmp_path / "text.npz")


def test_arrays_in_fortran_order(tmp_path):
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    archive.write_archive(tmp_path / "a.npz", {}, {"x": x})
    with archive.open_archive(tmp_path / "a.npz") as found:
        assert found.read("x").tolist() == x.tolist()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_is_found(tmp_path, method):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as new:
        new.writestr("x.npy", npy((4,), bytes(16)))
    raw = bytearray(path.read_bytes())
    raw[14] ^= 1  # of the checksum
    raw[raw.index(b"PK\1\2") + 16] ^= 1
    path.write_bytes(raw)
    with path.open("rb") as file, pytest.raises(zipfile.BadZipFile):
        Archive(file).read("x")
