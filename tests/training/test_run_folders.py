"""The folders of runs: a new one has the next number, the last one is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuslayer.cli import main
from cuslayer.training import run, run_folder, train
from tests.support.deaths import results, tiny
from tests.support.tiny import no_figures, silent


def test_the_tenth_run_comes_after_the_ninth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2", "9", "10", "notes"):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / run_folder.CHECKPOINT).touch()
    assert run_folder.find_run(None) == Path("runs/10")
    assert run_folder.new_run(None) == Path("runs/11")


def test_what_is_no_run_has_no_number(tmp_path, monkeypatch):
    """Digits of other scripts, of which Python reads some and refuses others."""
    monkeypatch.chdir(tmp_path)
    for name in ("2", "²", "٣", "९", "4.5", "-7", "+8", "1_0", "0012"):
        (Path("runs") / name).mkdir(parents=True)
    assert run_folder.new_run(None) == Path("runs/3")


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
            rule = "is of no run, a run would replace it; move it, or name another folder"
            assert capsys.readouterr().err == f"cuslayer: train: {file} {rule}\n"
            assert [*out.iterdir()] == [file]
            if file.is_symlink() or file.is_file():
                assert file.is_symlink() or file.read_text() == "mine"
                file.unlink()
        file.rmdir()
    assert main(["train", str(config), "--out", str(out)]) == 0


def test_the_configuration_in_the_folder_of_results(tmp_path, monkeypatch, capsys):
    no_figures(monkeypatch)
    out = tmp_path / "e"
    out.mkdir()
    text = f"# my notes\n{tiny(tmp_path).to_yaml()}"
    (out / "config.yaml").write_text(text)
    assert main(["train", str(out / "config.yaml"), "--out", str(out)]) == 2
    assert f"train: {out / 'config.yaml'} is of no run" in capsys.readouterr().err
    assert ([*out.iterdir()], (out / "config.yaml").read_text()) == ([out / "config.yaml"], text)
    (out / "config.yaml").rename(out / "mine.yaml")
    assert main(["train", str(out / "mine.yaml"), "--out", str(out)]) == 0
    assert (out / "mine.yaml").read_text() == text


def test_of_two_runs_that_begin_together_one_takes_the_next_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    no_figures(monkeypatch)
    config = tiny(tmp_path)
    monkeypatch.setattr(run, "new_run", lambda out: Path("runs/1") if out is None else Path(out))
    assert [train(config, log=silent) for _ in range(2)] == [Path("runs/1"), Path("runs/2")]
