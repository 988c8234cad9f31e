"""The migration guide says what is true: its code runs, and the names on our side exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import cuslayer as cs
from cuslayer import data, training

GUIDE = Path(__file__).parents[2] / "docs" / "migrating.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def ours() -> list[str]:
    """Return the code in the right column of every table."""
    rows = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("|")]
    return [code for row in rows if len(row) > 1 for code in re.findall(r"`([^`]+)`", row[-1])]


def test_the_code_runs_from_top_to_bottom():
    space: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 6
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number} of migrating.md", "exec"), space)
    assert len(space["stats"].epochs) == 2
    assert space["flow"].epochs[0].keys() == {"0 Dense", "2 Dense"}


def test_every_name_of_ours_exists():
    names = set(re.findall(r"\bcs\.([A-Za-z_]\w*)", TEXT))
    assert len(names) > 40
    assert not names - set(cs.__all__)
    for name in re.findall(r"cuslayer\.(data|training)\.(\w+)", TEXT):
        assert hasattr({"data": data, "training": training}[name[0]], name[1]), name


def test_every_option_of_ours_exists():
    """Each call on our side has the options that it is shown with."""
    checked = 0
    for code in ours():
        for name, inside in re.findall(r"cs\.([A-Za-z_]\w*)\(([^()]*)\)", code):
            known = inspect.signature(getattr(cs, name)).parameters
            for option in re.findall(r"(\w+)=", inside):
                assert option in known, f"{name} has no {option}"
                checked += 1
    assert checked > 25


def test_the_examples_exist():
    for path in re.findall(r"`(examples/\w+\.py)`", TEXT):
        assert (GUIDE.parents[1] / path).is_file(), path
