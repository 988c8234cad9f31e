"""The page about data says what is true: its code runs, and prints what its comments say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_code_runs_from_top_to_bottom():
    space: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    for number, block in enumerate(blocks):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(block, f"block {number} of data.md", "exec"), space)
        assert said.getvalue().splitlines() == re.findall(r"print\(.*\)  # (.*)", block)
    assert space["value"].item() > 0
