"""The folders of runs: a new one has the next number, the last one is resumed."""

from __future__ import annotations

from pathlib import Path

from cuslayer.training import folder


def test_the_tenth_run_comes_after_the_ninth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2", "9", "10", "notes"):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / folder.CHECKPOINT).touch()
    assert folder.find_run(None) == Path("runs/10")
    assert folder.new_run(None) == Path("runs/11")
