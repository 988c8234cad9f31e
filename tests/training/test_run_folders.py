"""The folders of runs: a new one has the next number, the last one is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuslayer.training import folder, run, train
from tests.support.deaths import results, tiny
from tests.support.tiny import no_figures, silent


def test_the_tenth_run_comes_after_the_ninth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2", "9", "10", "notes"):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / folder.CHECKPOINT).touch()
    assert folder.find_run(None) == Path("runs/10")
    assert folder.new_run(None) == Path("runs/11")


def test_a_folder_without_a_checkpoint_is_begun_anew(tmp_path, monkeypatch):
    """As a process leaves it that dies after the statistics of the first epoch; files of other names are kept."""
    no_figures(monkeypatch)
    config = tiny(tmp_path, checkpoint_steps=None)
    expected = results(train(config.with_options(out=str(tmp_path / "whole")), log=silent))
    out = tmp_path / "out"
    (out / "more").mkdir(parents=True)
    for name in ("metrics.csv", "config.yaml", "gradients.csv", "best.npz", "curves.png", "lock", "notes.txt"):
        (out / name).write_text("" if name == "lock" else "of another run")
    with pytest.raises(
        ValueError, match=r"^train: no checkpoint to resume from in .*out; without --resume it is begun anew"
    ):
        train(config.with_options(out=str(out)), resume=True, log=silent)
    train(config.with_options(out=str(out)), log=silent)
    found = results(out)
    assert found.pop("files") == sorted([*expected.pop("files"), "more", "notes.txt"])
    assert found == expected
    assert (out / "notes.txt").read_text() == "of another run"


def test_of_two_runs_that_begin_together_one_takes_the_next_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    no_figures(monkeypatch)
    config = tiny(tmp_path)
    monkeypatch.setattr(run, "new_run", lambda out: Path("runs/1") if out is None else Path(out))
    assert [train(config, log=silent) for _ in range(2)] == [Path("runs/1"), Path("runs/2")]
