"""One process at a time writes to the folder of a run; the lock of one that has died is taken over."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from cuslayer.cli import main
from cuslayer.files import alive, remove_leftovers, write_whole
from cuslayer.training import lock, train
from cuslayer.training.lock import locked
from tests.support.deaths import tiny
from tests.support.tiny import no_figures, silent

HOLD = """
import sys
from cuslayer.training.lock import Path, locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the lock of a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_dies(holder, tmp_path, monkeypatch, capsys):
    no_figures(monkeypatch)
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny(tmp_path).to_yaml())
    before = sorted(os.listdir(tmp_path))
    assert main(["train", str(config), "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    pattern = (
        rf"cuslayer: train: {tmp_path} is in use by process {holder.pid} on {socket.gethostname()} since [\d: -]+\n"
    )
    assert re.fullmatch(pattern, said)
    assert sorted(os.listdir(tmp_path)) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").exists()
    assert main(["train", str(config), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "lock").exists()


def test_a_lock_within_one_process(tmp_path):
    with locked(tmp_path):
        about = json.loads((tmp_path / "lock").read_text())
        assert about["process"] == os.getpid()
        with pytest.raises(ValueError, match=f"^train: .* is in use by process {os.getpid()} on "), locked(tmp_path):
            pass
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_is_removed_while_it_is_opened(tmp_path, monkeypatch):
    """The process that had it ends between the open and the lock of this one, which then locks the next file."""
    real, opened = fcntl.flock, []

    def flock(number, how):
        real(number, how)
        if not opened:
            (tmp_path / "lock").unlink()
        opened.append(number)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path):
        assert len(opened) == 2
        assert (tmp_path / "lock").exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(number, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    here = {"process": os.getppid(), "host": socket.gethostname(), "since": "then"}
    with locked(tmp_path):
        pass
    gone = dead()
    for about, process in ((here, os.getppid()), (here | {"process": gone, "host": "else"}, gone)):
        (tmp_path / "lock").write_text(json.dumps(about))
        with pytest.raises(ValueError, match=f"is in use by process {process} on .* since then$"), locked(tmp_path):
            pass
    (tmp_path / "lock").write_text(json.dumps(here | {"process": gone}))
    with locked(tmp_path):
        pass


def test_a_file_of_this_name_that_is_no_lock(tmp_path):
    (tmp_path / "lock").write_text("mine")
    with (
        pytest.raises(ValueError, match=r"^train: .*lock is not the lock of a run; remove it, or name"),
        locked(tmp_path),
    ):
        pass
    assert (tmp_path / "lock").read_text() == "mine"
    (tmp_path / "other").write_text("mine")
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match=r"^train: .*lock cannot be written \(.*symbolic links\)"), locked(tmp_path):
        pass
    assert (tmp_path / "other").read_text() == "mine"


def test_a_lock_that_names_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_RETRIES", 2)
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("{")
        file.flush()
        with pytest.raises(ValueError, match=r"is in use by another process$"), locked(tmp_path):
            pass


def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_temporary_files_of_dead_processes_are_removed(tmp_path, monkeypatch):
    no_figures(monkeypatch)
    out, token = tmp_path / "out", "0123456789abcdef"
    out.mkdir()
    gone = [f".checkpoint.npz.{dead()}.{token}", f".metrics.csv.{os.getpid()}.{token}", f".curves.png.99999999.{token}"]
    kept = [
        f".best.npz.{os.getppid()}.{token}",  # of a process that runs
        f".notes.txt.{dead()}.{token}",
        f".checkpoint.npz.{dead()}.{token}.bak",
        f"checkpoint.npz.{dead()}.{token}",
        ".hidden",
        "notes.txt",
    ]
    for name in (*gone, *kept):
        (out / name).write_text("")
    train(tiny(tmp_path, out=str(out)), log=silent)
    assert {p.name for p in out.iterdir()} & {*gone, *kept} == set(kept)


def test_a_file_that_is_being_written_is_kept(tmp_path):
    def write(file):
        remove_leftovers(tmp_path, ["a"])
        file.write(b"content")

    write_whole(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"content"


def test_processes_that_run():
    assert alive(os.getpid())
    assert alive(1)
    assert not alive(dead())
    assert not alive(10**18)
    process = subprocess.Popen([sys.executable, "-c", ""])
    # It ends, but nobody asks for its exit code; the limit is for one that hangs.
    limit = time.monotonic() + 300
    while alive(process.pid) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not alive(process.pid)
    process.wait()
