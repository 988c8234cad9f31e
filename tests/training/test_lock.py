"""One process at a time writes to the folder of a run, and only as long as the folder is still its own."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cuslayer.cli import main
from cuslayer.files import NotWritten, alive, remove_leftovers, write_whole
from cuslayer.training import figures, run_folder, train
from cuslayer.training.run_folder import Lock, Lost, Taken, locked
from tests.support.deaths import tiny
from tests.support.tiny import no_figures, silent

HOLD = """
import sys
from pathlib import Path
from cuslayer.training.run_folder import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""
# A training that waits for a line of its input after the first epoch, as if it were suspended.
WAITS = """
import sys
from cuslayer.cli import main
from cuslayer.training.run_folder import Saver

after_epoch = Saver.after_epoch

def wait(self):
    after_epoch(self)
    if len(self._stats.epochs) == 1:
        print("first epoch", file=sys.stdout, flush=True)
        input()

Saver.after_epoch = wait
sys.exit(main(sys.argv[1:]))
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
    assert capsys.readouterr().err == f"cuslayer: train: {tmp_path} is in use by another process\n"
    assert sorted(os.listdir(tmp_path)) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").exists()
    assert main(["train", str(config), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "lock").exists()


def test_a_lock_within_one_process(tmp_path):
    with locked(tmp_path):
        with pytest.raises(Taken, match=r"^train: .* is in use by another process$"), locked(tmp_path):
            pass
        assert (tmp_path / "lock").exists()
        start = time.monotonic()
        with pytest.raises(Taken), locked(tmp_path, wait=0.3):
            pass
        assert time.monotonic() - start > 0.25
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("left", ["", '{"process": 1, "host": "here", "since": "then"}', "123\nhost\n"])
def test_the_lock_of_a_process_that_has_died(tmp_path, left):
    """Of this version, of an earlier one, and where the file system has no locks."""
    (tmp_path / "lock").write_text(left)
    with locked(tmp_path):
        pass
    assert not (tmp_path / "lock").exists()


def test_a_file_of_this_name_that_is_no_lock(tmp_path):
    (tmp_path / "lock").write_text("mine")
    with pytest.raises(Taken, match=r"^train: .*lock is not the lock of a run; remove it, or name"), locked(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == "mine"
    (tmp_path / "other").write_text("mine")
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match=r"^/.*lock cannot be written \(.*symbolic links\)"), locked(tmp_path):
        pass
    assert (tmp_path / "other").read_text() == "mine"


def test_a_lock_that_another_has_now_stays(tmp_path):
    lock = Lock(tmp_path / "lock", tmp_path)
    (tmp_path / "lock").unlink()
    other = Lock(tmp_path / "lock", tmp_path)
    assert (lock.held(), other.held()) == (False, True)
    lock.release()
    assert other.held()
    other.release()


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


def content(folder):
    """What is in a folder: files with their bytes, links with their targets."""
    paths = sorted(folder.rglob("*")) if folder.exists() else []
    return {
        str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.is_file() and p.read_bytes() for p in paths
    }


def test_another_run_in_the_folder_of_one_that_was_suspended(tmp_path, monkeypatch):
    no_figures(monkeypatch)
    config, out = tiny(tmp_path), tmp_path / "out"
    (tmp_path / "tiny.yaml").write_text(config.to_yaml())
    arguments = ["train", str(tmp_path / "tiny.yaml"), "--out", str(out)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", WAITS, *arguments], text=True, **pipes) as process:
        while process.stdout.readline() != "first epoch\n":
            assert process.poll() is None
        shutil.rmtree(out)
        train(config.with_options(out=str(out), seed=7), log=silent)
        with locked(out):
            before = content(out)
            said = process.communicate("\n")[1]
            assert content(out) == before
    assert process.returncode == 2
    lost = "the folder or its lock was removed, moved or replaced"
    assert said == (
        f"cuslayer: train: {out} is no longer in use by this process: {lost}; nothing more is written there\n"
    )


def remove_the_lock(out):
    (out / "lock").unlink()


def replace_the_lock(out):
    remove_the_lock(out)
    (out / "lock").write_text("{}")


def link_to_the_lock(out):
    (out / "lock").rename(out / "moved")
    (out / "lock").symlink_to("moved")


def move_the_folder(out):
    out.rename(out.with_name("moved"))


def copy_the_folder(out):
    move_the_folder(out)
    shutil.copytree(out.with_name("moved"), out)


def put_the_lock_in_another_folder(out):
    move_the_folder(out)
    out.mkdir()
    os.link(out.with_name("moved") / "lock", out / "lock")


WAYS = (replace_the_lock, link_to_the_lock, shutil.rmtree, copy_the_folder, put_the_lock_in_another_folder)


@pytest.mark.parametrize("lose", WAYS)
def test_ways_to_lose_it(tmp_path, monkeypatch, lose):
    no_figures(monkeypatch)
    config, seen = tiny(tmp_path, out=str(tmp_path / "runs" / "out")), []
    train(config.with_options(epochs=1), log=silent)

    def log(line):
        if line.startswith("epoch   2 "):
            lose(tmp_path / "runs" / "out")
            seen.append(content(tmp_path / "runs"))

    with pytest.raises(Lost, match=r"^train: .*out is no longer in use by this process: .*; nothing more is written"):
        train(config.with_options(epochs=3), resume=True, log=log)
    assert seen == [content(tmp_path / "runs")]


def test_a_folder_that_a_link_points_to_is_the_same(tmp_path, monkeypatch):
    no_figures(monkeypatch)
    out = tmp_path / "out"

    def log(line):
        if line.startswith("epoch   1"):
            move_the_folder(out)
            out.symlink_to("moved")

    train(tiny(tmp_path, out=str(out)), log=log)
    assert (tmp_path / "moved" / "curves.png").exists()
    assert not (tmp_path / "moved" / "lock").exists()


@pytest.mark.parametrize("early", [False, True])
def test_every_write_looks(tmp_path, monkeypatch, early):
    """The lock goes after each of the writes, or within it, before the file has its name."""
    png = lambda path, draw, *, size: write_whole(path, lambda file: file.write(b"figure"))  # noqa: E731
    monkeypatch.setattr(figures, "save_figure", png)
    replace, out, written, created, at = os.replace, tmp_path / "out", [], [], None

    def counted(source, target):
        replace(source, target)
        written.append(os.path.basename(target))
        if len(written) == at and not early:
            remove_the_lock(out)

    opened = type(out).open

    def open_file(path, mode="r", *more, **options):
        file = opened(path, mode, *more, **options)
        if mode == "xb":
            created.append(path)
            if len(written) == at and early:
                remove_the_lock(out)
        return file

    config = tiny(tmp_path, out=str(out))
    monkeypatch.setattr(os, "replace", counted)
    monkeypatch.setattr(type(out), "open", open_file)
    train(config, log=silent)
    whole = list(written)
    assert set(whole) >= {"checkpoint.npz", "best.npz", "config.yaml", "metrics.csv", "gradients.csv", "raster.png"}
    for at in range(1, len(whole)):
        shutil.rmtree(out)
        written.clear()
        created.clear()
        with pytest.raises(Lost):
            train(config, log=silent)
        assert written == whole[:at]
        assert len(created) == at + early
        assert not [*out.glob(".*")]


def test_a_best_checkpoint_is_not_repaired_without_the_lock(tmp_path, monkeypatch):
    no_figures(monkeypatch)
    config = tiny(tmp_path, out=str(tmp_path / "out"), epochs=1)
    out = train(config, log=silent)
    (out / "best.npz").unlink()
    repair = run_folder._repair_best
    monkeypatch.setattr(run_folder, "_repair_best", lambda *given: (remove_the_lock(out), repair(*given)))
    with pytest.raises(Lost):
        train(config, resume=True, log=silent)
    assert not (out / "best.npz").exists()


@pytest.mark.parametrize("problem", [NotImplementedError("use another"), OSError(errno.ENOLCK, "No locks available")])
def test_a_file_system_without_locks(tmp_path, monkeypatch, problem):
    def acquire(self, *arguments, **options):
        raise problem

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    with pytest.raises(NotWritten, match=r"^/.*lock cannot be written \(No .*\); write to a file system"):
        Lock(tmp_path / "lock", tmp_path)
