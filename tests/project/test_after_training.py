"""The page on what follows training says what is true: its commands and its code run."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.cli import COMMANDS, main
from cuslayer.data import Digits, write_events
from cuslayer.training import Config, Stats, folder
from cuslayer.training.checkpoint import Checkpoint
from cuslayer.training.stats import EpochStats
from tests.support.tiny import write_folder

PAGE = Path(__file__).parents[2] / "docs" / "after-training.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with runs/1, whose network is not trained, and with recordings."""
    monkeypatch.chdir(tmp_path)
    config = Config(epochs=1, seed=1)
    cs.seed(1)
    net = config.network()
    run = tmp_path / "runs" / "1"
    run.mkdir(parents=True)
    for name in ("checkpoint.npz", "best.npz"):
        Checkpoint.of(1, net, config.make_optimizer(net.parameters())).save(run / name)
    (run / "config.yaml").write_text(config.to_yaml())
    Stats([EpochStats(1, 2.0, 0.5, 1.5, 0.75, 3.0)]).save(run / "metrics.csv")
    for name in folder.FIGURES:
        (run / name).touch()
    write_folder(tmp_path / "recordings", duration=300.0)
    write_events(tmp_path / "recordings" / "1.bs2", Digits("test")[0][0])
    return tmp_path


def test_the_commands(here, capsys):
    (block,) = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    for program, *arguments in lines:
        assert program == "cuslayer"
        assert main(arguments) == 0
        assert capsys.readouterr().err == ""
    # docs/scale.md has sweep, docs/command-line.md completion.
    assert {arguments[1] for arguments in lines} == COMMANDS.keys() - {"info", "sweep", "completion"}
    assert (here / "runs/1/report.html").exists()
    assert cs.read_events("one.aedat4") == Digits("test")[0][0]


def test_the_code_runs_from_top_to_bottom(here):
    space: dict[str, object] = {"__name__": "page"}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 8
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for number, block in enumerate(blocks):
            assert len([line for line in block.splitlines() if line.strip()]) <= 12
            exec(compile(block, f"block {number} of after-training.md", "exec"), space)
    assert "34x34x2-256-10 1 10.0\nepoch   1 | train loss 2" in said.getvalue()
    assert type(space["own"][1]) is space["Gain"]
    before = cs.load_run("runs/1").net[0].weight.data
    np.testing.assert_array_equal(space["net"][0].weight.data, before)


def test_every_name_exists():
    names = set(re.findall(r"\bcs\.([A-Za-z_]\w*)", TEXT))
    assert len(names) > 12
    assert not names - set(cs.__all__)
