"""Atomic writes: the errors name the file, not the temporary one beside it."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._base.files import NotWritten, discard_unfinished, write_whole
from cuslayer.interchange import export_hdf5
from cuslayer.training import EpochStats, Stats


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        write_whole(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_a_missing_folder_is_named(tmp_path, kind):
    path = tmp_path / "no" / "file"
    with pytest.raises(kind) as error:
        write_whole(path, lambda file: file.write(b""))
    assert str(error.value) == f"{path} cannot be written (No such file or directory)"
    assert error.value.strerror == "No such file or directory"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "; free space there, or write elsewhere"),
        (errno.EDQUOT, "; free some of your quota there, or write elsewhere"),
        (errno.EROFS, "; write elsewhere"),
        (errno.EACCES, "; get the right to write there, or write elsewhere"),
        (errno.EIO, ""),
    ],
)
def test_what_to_do_is_said(tmp_path, number, advice):
    def fail(file):
        raise OSError(number, os.strerror(number))

    with pytest.raises(NotWritten) as error:
        write_whole(tmp_path / "a", fail)
    assert str(error.value) == f"{tmp_path / 'a'} cannot be written ({os.strerror(number)}){advice}"
    assert [*tmp_path.iterdir()] == []


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "a", []

    def fsync(number):
        (beside,) = tmp_path.iterdir()
        seen.append((beside.name.split(".")[1:3], beside.read_bytes(), path.exists()))
        raise OSError(errno.EINVAL, "this file system cannot do that")

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, lambda file: file.write(b"content"), durable=True)
    assert seen == [(["a", str(os.getpid())], b"content", False)]
    assert path.read_bytes() == b"content"


def test_files_that_are_not_finished_are_discarded(tmp_path):
    """As where a process ends at once, by the handler of a signal."""

    def write(file):
        discard_unfinished()
        assert [*tmp_path.iterdir()] == []

    with pytest.raises(NotWritten):
        write_whole(tmp_path / "a", write)


def test_what_is_written_by_name(tmp_path):
    stats = Stats([EpochStats(1, 1.0, 0.5, None, None, 1.0)])
    net = cs.Network("4-3", cs.SRM())
    for what, write in (
        ("export_hdf5: {}/a.net", lambda folder: export_hdf5(net, folder / "a.net")),
        ("Stats: {}/a.csv", lambda folder: stats.save(folder / "a.csv")),
        ("Stats: {}/loss.txt", lambda folder: stats.save_slayer(f"{folder}/")),
        (
            "write_report: {}/page.html",
            lambda folder: cs.write_report(net, np.ones((9, 1, 4), bool), folder / "page.html"),
        ),
    ):
        folder = tmp_path / "none"
        with pytest.raises(ValueError) as error:
            write(folder)
        assert str(error.value) == f"{what.format(folder)} cannot be written (No such file or directory)"
