"""The folder of a run: its number, and that one process at a time writes to it, as long as it is its own."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cuslayer._base import files
from cuslayer._base.files import NotWritten, alive, remove_leftovers, write_whole
from cuslayer.cli import main
from cuslayer.training import figures, resume, run, run_folder, train
from cuslayer.training.lock import Lock, Lost, Taken, locked
from tests.support.deaths import results, tiny
from tests.support.tiny import no_figures, silent

HOLD = """
import sys
from pathlib import Path
from cuslayer.training.lock import locked

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
    assert capsys.readouterr().err == f"cuslayer: train: {tmp_path} is in use by another process\n"
    assert sorted(os.listdir(tmp_path)) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").exists()
    assert main(["train", str(config), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "lock").exists()


def test_each_file_that_a_run_goes_on_with_is_on_the_disk(tmp_path, monkeypatch):
    no_figures(monkeypatch)
    flushed, sync = set(), files._sync
    monkeypatch.setattr(files, "_sync", lambda file: flushed.add(os.path.basename(file.name)) or sync(file))
    train(tiny(tmp_path, out=str(tmp_path / "out"), epochs=1), log=silent)
    wanted = ["best.npz", "checkpoint.npz", "config.yaml", "gradients.csv", "metrics.csv"]
    assert sorted({name[1:].rsplit(".", 2)[0] for name in flushed}) == wanted


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


def test_the_lock_of_a_process_that_has_died_and_what_is_no_lock(tmp_path):
    """Of this version, of an earlier one, and where the file system has no locks."""
    for left in ("", '{"process": 1, "host": "here", "since": "then"}', "123\nhost\n"):
        (tmp_path / "lock").write_text(left)
        with locked(tmp_path):
            pass
        assert not (tmp_path / "lock").exists()
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


def put_another_run_there(out):
    """As where this one was suspended for long."""
    other = train(tiny(out.parent.parent, out=str(out.with_name("other")), seed=7), log=silent)
    shutil.rmtree(out)
    other.rename(out)


WAYS = (replace_the_lock, link_to_the_lock, put_another_run_there, copy_the_folder, put_the_lock_in_another_folder)


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
    repair = resume._repair_best
    monkeypatch.setattr(resume, "_repair_best", lambda *given: (remove_the_lock(out), repair(*given)))
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


# The folders of runs: a new one has the next number, the last one is resumed.


def test_the_tenth_run_comes_after_the_ninth(tmp_path, monkeypatch):
    """Digits of other scripts, of which Python reads some and refuses others, are no number."""
    monkeypatch.chdir(tmp_path)
    for name in ("2", "9", "10", "notes"):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / run_folder.CHECKPOINT).touch()
    for name in ("²", "٣", "4.5", "-7", "+8", "1_0", "0012"):
        (Path("runs") / name).mkdir()
    assert run_folder.find_run(None) == Path("runs/10")
    assert run_folder.new_run(None) == Path("runs/11")


def test_a_folder_without_a_checkpoint_is_begun_anew(tmp_path, monkeypatch):
    """As a process leaves it that dies before its first checkpoint; files of other names are kept."""
    no_figures(monkeypatch)
    config = tiny(tmp_path, checkpoint_steps=None)
    expected = results(train(config.with_options(out=str(tmp_path / "whole")), log=silent))
    out = tmp_path / "out"
    (out / "more").mkdir(parents=True)
    (out / "lock").touch()
    (out / "notes.txt").write_text("mine")
    (out / ".checkpoint.npz.99999999.0123456789abcdef").touch()
    with pytest.raises(
        ValueError, match=r"^train: no checkpoint to resume from in .*out; without --resume it is begun anew"
    ):
        train(config.with_options(out=str(out)), resume=True, log=silent)
    train(config.with_options(out=str(out)), log=silent)
    found = results(out)
    assert found.pop("files") == sorted([*expected.pop("files"), "more", "notes.txt"])
    assert found == expected
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("numbered", [False, True])
def test_files_of_the_user_are_kept(tmp_path, monkeypatch, capsys, numbered):
    """A run that would replace one is refused before it writes; a run of this library begins with its checkpoint."""
    no_figures(monkeypatch)
    monkeypatch.chdir(tmp_path)
    out = Path("runs/1") if numbered else tmp_path / "mine"
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny(tmp_path).to_yaml())
    written = {p.name for p in train(tiny(tmp_path, out="whole"), log=silent).iterdir()}
    assert written == set(run_folder.NAMES)
    out.mkdir(parents=True)
    for name in written - {"checkpoint.npz"}:
        file = out / name
        for make in (lambda f: f.write_text("mine"), lambda f: f.symlink_to("nowhere"), lambda f: f.mkdir()):
            make(file)
            assert main(["train", str(config), "--out", str(out)]) == 2
            rule = "exists, and no run wrote it; move it, or choose another folder"
            assert capsys.readouterr().err == f"cuslayer: train: {file} {rule}\n"
            assert [*out.iterdir()] == [file]
            if file.is_symlink() or file.is_file():
                assert file.is_symlink() or file.read_text() == "mine"
                file.unlink()
        file.rmdir()
    config.rename(out / "mine.yaml")
    text = (out / "mine.yaml").read_text()
    assert main(["train", str(out / "mine.yaml"), "--out", str(out)]) == 0
    assert (out / "mine.yaml").read_text() == text


def test_of_two_runs_that_begin_together_one_takes_the_next_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    no_figures(monkeypatch)
    config = tiny(tmp_path)
    monkeypatch.setattr(run, "new_run", lambda out: Path("runs/1") if out is None else Path(out))
    assert [train(config, log=silent) for _ in range(2)] == [Path("runs/1"), Path("runs/2")]
