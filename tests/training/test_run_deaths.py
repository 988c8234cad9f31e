"""Runs that die or whose disk is full, at every change of the disk: they go on, and end with the same bits."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from cuslayer.cli import main
from cuslayer.files import write_whole
from cuslayer.training import figures, train
from cuslayer.training.run_folder import NAMES
from tests.support.deaths import Disk, dies, results, tiny, with_every_kind
from tests.support.tiny import silent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """A run with layers of every kind that nothing disturbs: configuration, results, changes of the disk."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    png = lambda path, draw, *, size: write_whole(path, lambda file: file.write(b"figure"))  # noqa: E731
    monkeypatch.setattr(figures, "save_figure", png)
    with_every_kind(monkeypatch)
    config = tiny(tmp_path)
    train(config.with_options(out=str(tmp_path / "warm")), log=silent)
    disk = Disk(tmp_path / "whole")
    with monkeypatch.context() as patch:
        disk.patch(patch)
        out = train(config.with_options(out=str(tmp_path / "whole")), log=silent)
    return config, results(out), disk.changes


def go_on(config, out: Path) -> None:
    """Begin or resume a run, as its folder demands."""
    train(config.with_options(out=str(out)), resume=(out / "checkpoint.npz").exists(), log=silent)


def test_a_death_at_every_change_of_the_disk(whole, tmp_path):
    config, expected, changes = whole
    # Of each epoch one within training, one within the test, three at its end; configuration, best, three figures.
    assert changes.count("replace") == 15
    assert {"mkdir", "open", "write a part", "fsync", "replace", "unlink"} < set(changes)
    out = tmp_path / "out"
    for at in range(len(changes)):
        assert dies(lambda: train(config.with_options(out=str(out)), log=silent), out, at), changes[at]
        go_on(config, out)
        assert results(out) == expected, (at, changes[at])
        shutil.rmtree(out)


def test_a_death_before_the_first_checkpoint_leaves_no_file(whole, tmp_path):
    """What has the name of a file of a run, without a checkpoint, is the user's."""
    config, out = whole[0].with_options(checkpoint_steps=10**6), tmp_path / "out"
    disk = Disk(tmp_path / "once")
    with pytest.MonkeyPatch.context() as patch:
        disk.patch(patch)
        expected = results(train(config.with_options(out=str(tmp_path / "once")), log=silent))
    assert disk.changes.count("replace") == 12
    without = 0
    for at in range(len(disk.changes)):
        assert dies(lambda: train(config.with_options(out=str(out)), log=silent), out, at), disk.changes[at]
        if not (out / "checkpoint.npz").exists():
            without += 1
            assert not {p.name for p in out.glob("*")} & {*NAMES}
        go_on(config, out)
        assert results(out) == expected, (at, disk.changes[at])
        shutil.rmtree(out)
    assert 5 < without < len(disk.changes) / 2


def test_a_full_disk_at_every_change(whole, tmp_path, monkeypatch, capsys):
    config, expected, changes = whole
    file, out = tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(config.to_yaml())

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    for at in range(len(changes)):
        with monkeypatch.context() as patch:
            Disk(out, at, full).patch(patch)
            code = main(["train", str(file), "--out", str(out)])
        said = capsys.readouterr().err
        # Where only a name is removed or a folder is synchronized, nothing is lost.
        if code == 0:
            assert changes[at] in ("mkdir", "open", "fsync", "unlink"), changes[at]  # a folder that is there is enough
        else:
            assert (code, said.count("\n")) == (2, 1)
            assert str(out) in said
            assert "cannot be written (No space left on device); free space there, or write elsewhere" in said
            assert not [p.name for p in out.glob(".*")]
            go_on(config, out)
        assert results(out) == expected, (at, changes[at])
        shutil.rmtree(out)


def test_deaths_of_a_run_that_is_resumed(whole, tmp_path):
    """Each attempt dies a little later than the one before, until the run is complete."""
    config, expected, _ = whole
    out, deaths = tmp_path / "out", 0
    for at in range(9, 200, 7):
        if not dies(lambda: go_on(config, out), out, at):
            break
        deaths += 1
    assert deaths > 3
    assert results(out) == expected


def test_other_options_survive_a_death(whole, tmp_path):
    """A run is resumed with more epochs, and dies before or after its configuration is written."""
    config, _, _ = whole
    longer = config.with_options(epochs=3)
    expected, out = None, tmp_path / "out"
    for at in [None, *range(4, 18, 2)]:
        train(config.with_options(out=str(out)), log=silent)
        if at is not None:
            assert dies(lambda: train(longer.with_options(out=str(out)), resume=True, log=silent), out, at)
        resume = ["train", "--resume", "--out", str(out)]
        first = at is None or "epochs: 3" not in (out / "config.yaml").read_text()
        assert main([*resume, "--epochs", "3"] if first else resume) == 0
        expected = expected or results(out)
        assert results(out) == expected
        assert "epochs: 3" in (out / "config.yaml").read_text()
        shutil.rmtree(out)
