"""README says what is true: its example runs, and what it and the other pages name exists."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
CONTRIBUTING = README.with_name("CONTRIBUTING.md")
PAGES = [README, CONTRIBUTING, *sorted((README.parent / "docs").glob("*.md"))]


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


def test_the_tree_is_as_listed():
    listing = re.search(r"```text\n(cuslayer/\n.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)[1]
    folders: list[str] = []
    listed = set()
    for line in listing.splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        names = re.split(r"  +", line.strip())[0].split()
        listed |= {Path(*folders[:depth], name) for name in names}
        folders[depth:] = [names[0]]
    assert len(listed) > 30
    assert [str(path) for path in listed if not (README.parent / path).exists()] == []
    top = {Path("cuslayer", path.name) for path in (README.parent / "cuslayer").iterdir() if path.suffix == ".py"}
    assert top - listed == {Path("cuslayer/__init__.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page):
    named = re.findall(r"`([\w./]+/|[\w./]+\.(?:py|md|cu|cuh|toml|yaml|ipynb))`", page.read_text(encoding="utf-8"))
    # Names of files to write; docs/design.md has a table of modules by their names within the package.
    named = [name for name in named if "yours" not in name and "TOPIC" not in name]
    folders = [README.parent, *([README.parent / "cuslayer"] if page.name == "design.md" else [])]
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []
