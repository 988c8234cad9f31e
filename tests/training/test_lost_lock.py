"""A run that loses its folder or its lock writes nothing more: before each write it looks whether both are its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from cuslayer.cli import main
from cuslayer.files import write_whole
from cuslayer.training import figures_of_run, train
from cuslayer.training.lock import Lost, locked
from tests.support.deaths import tiny
from tests.support.tiny import no_figures, silent

# A training that waits for a line of its input after the first epoch, as if it were suspended.
WAITS = """
import sys
from cuslayer.cli import main
from cuslayer.training.saver import Saver

after_epoch = Saver.after_epoch

def wait(self):
    after_epoch(self)
    if len(self._stats.epochs) == 1:
        print("first epoch", file=sys.stdout, flush=True)
        input()

Saver.after_epoch = wait
sys.exit(main(sys.argv[1:]))
"""


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
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
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


def remove_the_folder(out):
    shutil.rmtree(out)


def move_the_folder(out):
    out.rename(out.with_name("moved"))


def copy_the_folder(out):
    move_the_folder(out)
    shutil.copytree(out.with_name("moved"), out)


def put_the_lock_in_another_folder(out):
    move_the_folder(out)
    out.mkdir()
    os.link(out.with_name("moved") / "lock", out / "lock")


@pytest.mark.parametrize(
    "lose",
    [
        remove_the_lock,
        replace_the_lock,
        link_to_the_lock,
        remove_the_folder,
        move_the_folder,
        copy_the_folder,
        put_the_lock_in_another_folder,
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_ways_to_lose_it(tmp_path, monkeypatch, lose, resume):
    no_figures(monkeypatch)
    config, seen = tiny(tmp_path, out=str(tmp_path / "runs" / "out")), []
    if resume:
        train(config.with_options(epochs=1), log=silent)

    def log(line):
        if line.startswith(f"epoch   {1 + resume} "):
            lose(tmp_path / "runs" / "out")
            seen.append(content(tmp_path / "runs"))

    with pytest.raises(Lost, match=r"^train: .*out is no longer in use by this process: .*; nothing more is written"):
        train(config.with_options(epochs=3), resume=resume, log=log)
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
    monkeypatch.setattr(figures_of_run, "save_figure", png)
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
    from cuslayer.training import run

    repair = run.repair_best
    monkeypatch.setattr(run, "repair_best", lambda *given: (remove_the_lock(out), repair(*given)))
    with pytest.raises(Lost):
        train(config, resume=True, log=silent)
    assert not (out / "best.npz").exists()


def test_a_sweep_that_loses_its_folder(tmp_path, monkeypatch, capsys):
    from cuslayer.training.sweep import runs

    out = tmp_path / "sweep"
    (tmp_path / "sweep.yaml").write_text(f"out: {out}\nkeys:\n  training.batch: [1, 2]\n")

    def lose(arguments, cores=None):
        if out.exists():
            move_the_folder(out)
        return "it burns"

    monkeypatch.setattr(runs, "train_run", lose)
    assert main(["sweep", str(tmp_path / "sweep.yaml")]) == 2
    assert "sweep is no longer in use by this process" in capsys.readouterr().err
    assert not out.exists()
