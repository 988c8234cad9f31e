"""README says what is true: its example runs, and so does the operation that it adds."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs

README = Path(__file__).parents[2] / "README.md"
CONTRIBUTING = README.with_name("CONTRIBUTING.md")


def blocks(page: Path = README) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [re.sub(r"(?m)^ {3}", "", code) for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.slow
def test_the_example():
    example = blocks()[0]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 20
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example, "README.md", "exec"), {})
    right = re.fullmatch(r"right after one epoch: (\d+)%\n", said.getvalue())
    assert right
    assert int(right[1]) >= 85


@pytest.mark.slow
def test_the_look_inside():
    space: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in blocks()[:2]:
            exec(compile(block, "README.md", "exec"), space)
    assert space["why"].margin >= 0
    assert "weight" in said.getvalue()


def test_the_operation_that_is_added():
    space: dict[str, object] = {}
    exec(compile(blocks(CONTRIBUTING)[0], "CONTRIBUTING.md", "exec"), space)
    leak = space["leak"]
    assert cs.gradcheck(lambda x: leak(x, rate=0.1), np.ones((3, 1, 2))) < 1e-6


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page):
    named = re.findall(r"`([\w./]+/|[\w./]+\.(?:py|md|cu|cuh|toml|yaml))`", page.read_text(encoding="utf-8"))
    assert [name for name in named if "yours" not in name and not (README.parent / name).exists()] == []
