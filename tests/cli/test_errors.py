"""Errors of every kind in a command: one line, an exit code, and no traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuslayer._base.files import NotWritten
from cuslayer.cli import info, main

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[2]
BUG = "please report it with what CUSLAYER_TRACEBACK=1 shows"


def full(*where):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *where)


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (ValueError("train: x must be 1, got 2"), 2, "train: x must be 1, got 2"),
        (ValueError("two\nlines"), 2, "two lines"),
        (TypeError("train: x must be a number, got str"), 2, "train: x must be a number, got str"),
        (KeyError(), 2, "KeyError"),
        (ImportError("sweep: optuna is not installed"), 2, "sweep: optuna is not installed"),
        (MemoryError(), 2, "not enough memory; a smaller --batch needs less"),
        (MemoryError("Unable to allocate 1 TiB"), 2, "not enough memory: Unable to allocate 1 TiB; a smaller --batch"),
        (MemoryError("Conv: weights need 9 GB"), 2, "Conv: weights need 9 GB"),
        (OverflowError("int too large"), 2, "a number is too large: int too large"),
        (RecursionError("maximum recursion depth"), 2, "the input is nested too deeply: maximum recursion depth"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2, "'utf-8' codec can't decode byte 0xff"),
        (PermissionError(13, "Permission denied", "runs/1"), 2, "runs/1: Permission denied"),
        (PermissionError(13, "Permission denied", b"runs/\xff"), 2, "runs/\\udcff: Permission denied"),
        (full("a.npz"), 2, "a.npz: No space left on device; free some space, or write to another folder"),
        (NotWritten("a.npz cannot be written (full)", full()), 2, "a.npz cannot be written (full); free some space"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero; " + BUG),
        (AssertionError(), 1, "AssertionError; " + BUG),
        (RuntimeError("cuda"), 1, "RuntimeError: cuda; " + BUG),
    ],
)
def test_an_error_is_one_line(monkeypatch, capfd, problem, code, line):
    def fail(options):
        raise problem

    monkeypatch.setattr(info, "run", fail)
    assert main(["info"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"cuslayer: {line}" if code == 2 else "cuslayer: error in cuslayer, cuslayer/cli/__init__.py")
    assert line in err
    assert err.count("\n") == 1
    monkeypatch.setenv("CUSLAYER_TRACEBACK", "1")
    with pytest.raises(type(problem)):
        main(["info"])


def process(arguments, **streams):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", "import sys; from cuslayer.cli import main; sys.exit(main())", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **streams)


@pytest.mark.parametrize("arguments", [["info"], ["--help"]])
def test_a_reader_that_ends_is_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    run = process(arguments, stdout=write)
    os.close(write)
    assert (run.communicate()[1], run.returncode) == (b"", 141)


def test_names_that_are_not_utf_8(command, tmp_path, finished):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.bs2")
    Path(name).write_bytes(b"\1\1\0\0\1")
    code, out, err = command("convert", name, name.replace("/a", "/b"))
    assert (code, err) == (0, "")
    code, out, err = command("predict", finished, name)
    assert (code, err) == (0, "")
    assert "a\\udcff.bs2" in out
    code, out, err = command("report", finished, name)
    assert (code, err) == (0, "")
    assert "a\\udcff.bs2" in (finished / "report.html").read_text()


@pytest.mark.parametrize("option", ["--epochs", "--batch", "--seed"])
def test_huge_integers_are_refused(refused, option):
    refused(f"train: {option} must be under 2**63, got 9223372036854775808\n", "train", option, 2**63)


@pytest.mark.parametrize("name", ["checkpoint.npz", "config.yaml", "metrics.csv"])
@pytest.mark.parametrize("damage", ["empty", "random", "folder"])
def test_a_damaged_run_is_one_line(refused, finished, files, name, damage):
    path = finished / name
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "random": bytes(range(256))}[damage])
    for arguments in (["test", finished], ["predict", finished, files[0]], ["report", finished], ["demo", finished]):
        refused(name, *arguments)


@pytest.mark.parametrize("variables", [{}, {"CUSLAYER_TRACEBACK": "1"}], ids=["line", "traceback"])
def test_an_installation_without_a_library_is_one_line(tmp_path, variables):
    (tmp_path / "numpy.py").write_text("raise ImportError('libblas.so:\\nno such file')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", **variables}
    code = "import sys; from cuslayer_main import main; sys.exit(main())"
    found = subprocess.run([sys.executable, "-c", code, "info"], env=environment, capture_output=True, text=True)
    line = "cuslayer: the installation is not complete (ImportError: libblas.so: no such file); install it anew\n"
    if variables:
        assert "Traceback" in found.stderr
    else:
        assert (found.returncode, found.stdout, found.stderr) == (2, "", line)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["info", "predict", "completion"])
def test_output_that_is_full_is_one_line(finished, files, name):
    arguments = [name, *{"predict": [str(finished), files[0]], "completion": ["bash"], "info": []}[name]]
    with open("/dev/full", "w") as full:
        run = process(arguments, stdout=full)
        err = run.communicate()[1].decode()
    assert (run.returncode, err.count("\n")) == (2, 1), err
    assert err.startswith("cuslayer: standard output cannot be written (No space left on device); free some space")
