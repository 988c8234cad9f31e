"""README says what is true: its commands and its code run, its figures are the results', what it names exists."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from cuslayer.cli import main

README = Path(__file__).parents[2] / "README.md"
CONTRIBUTING = README.with_name("CONTRIBUTING.md")
PAGES = [README, CONTRIBUTING, *sorted((README.parent / "docs").rglob("*.md"))]


def blocks(page: Path = README) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [re.sub(r"(?m)^ {3}", "", code) for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.all
def test_the_example_and_the_look_inside():
    example, inside = blocks()
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    space: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example, "README.md", "exec"), space)
    right = re.fullmatch(r"right after one epoch: (\d+)%\n", said.getvalue())
    assert right
    assert int(right[1]) >= 85
    with contextlib.redirect_stdout(said):
        exec(compile(inside, "README.md", "exec"), space)
    assert space["why"].margin >= 0
    assert "layer 1" in said.getvalue()


def test_it_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def shape_of(text):
    """Return lines without their numbers and their columns."""
    return [" ".join(re.sub(r"[\d.,]+", "0", line).split()) for line in text.splitlines()]


@pytest.mark.all
def test_what_the_first_command_prints(tmp_path, monkeypatch, capsys):
    """The command trains eight epochs, here one."""
    text = README.read_text(encoding="utf-8")
    install, said = re.search(r"```bash\n(.*?)\n```\n\n```text\n(.*?)```", text, re.DOTALL).groups()
    program, *arguments = shlex.split(install)[-2:]
    assert program == ".venv/bin/cuslayer"
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--epochs", "1", "--device", "cpu"]) == 0
    printed = shape_of(capsys.readouterr().out)
    shown = shape_of(said.replace("...", "0 s"))
    assert printed[:5] == shown[:5]
    assert {"checkpoint.npz", "metrics.csv"} <= {path.name for path in (tmp_path / "runs" / "1").iterdir()}


def test_the_commands_of_a_run(here, capsys):
    block = re.search(r"Of the run:\n\n```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [words[1] for words in commands] == ["test", "predict", "report", "demo", "train"]
    shutil.rmtree("recordings")  # nothing has written it
    for program, *arguments in commands:
        assert program == "cuslayer"
        assert main(arguments) == 0
        assert capsys.readouterr().err == ""


def test_the_second_command_draws_the_same_examples_on_every_machine(request):
    if request.config.getoption("--hypothesis-profile"):
        pytest.skip("new examples are asked for")
    drawn = settings()
    assert settings.default is settings.get_profile("fixed")  # Hypothesis itself fixes them where CI is set
    assert (drawn.derandomize, drawn.database, drawn.deadline) == (True, None, None)


def test_its_figures_and_its_table_are_those_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(README.parent / "benchmarks"))
    import front_page
    import page

    text = README.read_text(encoding="utf-8")
    for name, lines in (("figures", front_page.figures()), ("peers", front_page.peers())):
        begin, end = page.marks(name)
        assert text.split(begin)[1].split(end)[0].strip() == "\n".join(lines)
    assert len(front_page.peers()) > 10
    for module in ("front_page", "page", "comparison"):
        sys.modules.pop(module, None)


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_that_is_named_exists(page):
    named = re.findall(r"`([\w./]+/|[\w./]+\.(?:py|md|cu|cuh|toml|yaml|ipynb))`", page.read_text(encoding="utf-8"))
    # Names of files to write, and files of other libraries; docs/design.md has a table of modules by their names within
    # the package.
    named = [name for name in named if "yours" not in name and "TOPIC" not in name and not name.startswith("runs/")]
    if page.name == "comparison.md":
        named = [name for name in named if name.startswith(("benchmarks/", "tests/"))]
    folders = [README.parent, *([README.parent / "cuslayer"] if page.name == "design.md" else [])]
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []


def test_the_table_is_about_releases_and_says_where_a_main_branch_has_more():
    page = (README.parent / "docs" / "comparison.md").read_text(encoding="utf-8")
    for text in (page, README.read_text(encoding="utf-8")):
        lines = text.splitlines()
        heads, row = (next(line for line in lines if line.startswith(f"| {name}")) for name in ("|", "delays"))
        assert dict(zip(heads.split("|"), row.split("|"), strict=True))[" snnTorch "] == r" -\* "
    assert "released version" in page.splitlines()[2]
    assert r"\* In no release, but on snnTorch's main branch: `SynapticDelay(learn_delay=True)`." in page
