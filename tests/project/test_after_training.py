"""The page on what follows training says what is true: its commands and its code run."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np

import cuslayer as cs
from cuslayer.cli import COMMANDS, main
from cuslayer.data import Digits

PAGE = Path(__file__).parents[2] / "docs" / "after-training.md"
TEXT = PAGE.read_text(encoding="utf-8")


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
    assert cs.read_events("one.aedat") == Digits("test")[0][0]


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
