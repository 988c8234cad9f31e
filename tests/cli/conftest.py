"""A short run on recordings in a folder, for the commands that read runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cuslayer.cli import main
from cuslayer.neurons import SRM
from cuslayer.training import Config, train
from tests.support.tiny import COUNTS, no_figures, silent, write_folder


@pytest.fixture(scope="session")
def master(tmp_path_factory):
    """A folder with recordings in data/ and a run of two epochs in run/."""
    folder = tmp_path_factory.mktemp("master")
    data = write_folder(folder / "data")
    config = Config(
        neuron=SRM(theta=0.5),
        duration=30.0,
        layers=("34x34x2", "8", "3"),
        error=COUNTS,
        epochs=2,
        batch=4,
        data=str(data),
        out=str(folder / "run"),
    )
    with pytest.MonkeyPatch.context() as patch:
        no_figures(patch)
        train(config, log=silent)
    return folder


@pytest.fixture
def finished(master, tmp_path, monkeypatch) -> Path:
    """A copy of the run; the working directory is its parent."""
    shutil.copytree(master / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Path("run")


@pytest.fixture
def files(master) -> list[str]:
    """The paths of the test recordings, of the classes 0, 1 and 2."""
    return [str(master / "data" / f"{number}.bs2") for number in (7, 8, 9)]


@pytest.fixture
def command(capsys):
    """Run a command; return the exit code, stdout and stderr."""

    def command(*arguments):
        code = main([*map(str, arguments)])
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def refused(command):
    """Check that a command fails with one line."""

    def refused(message, *arguments):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("cuslayer: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert message in err

    return refused
