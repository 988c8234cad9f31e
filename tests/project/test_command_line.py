"""docs/command-line.md says what the code does: commands, exit codes, names in JSON, variables."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from cuslayer.cli import COMMANDS, errors, make_parser
from cuslayer.cli.arguments import PAGE_JSON

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]


def tables(title):
    """Return the tables of a section: lists of rows, without their heads."""
    blocks = re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()[2:]] for block in blocks
    ]


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_commands():
    (rows,) = tables("Commands")
    assert [words(row[0])[0] for row in rows] == list(COMMANDS)
    for name, (_, about, example) in zip(COMMANDS, rows, strict=True):
        assert about == COMMANDS[name].HELP
        assert make_parser().parse_args(shlex.split(words(example)[0])[1:]).command == name


def test_the_exit_codes():
    (rows,) = tables("Exit codes")
    assert {int(code): meaning for code, meaning in rows} == errors.EXIT_CODES
    assert [int(code) for code, _ in rows] == sorted(errors.EXIT_CODES)
    assert {errors.INVALID, errors.BUG, errors.INTERRUPTED, errors.TERMINATED, errors.BROKEN_PIPE, 0} == set(
        errors.EXIT_CODES
    )


def test_the_names_in_json():
    kinds, meanings = tables("JSON")
    declared = {name: command.JSON for name, command in COMMANDS.items() if hasattr(command, "JSON")}
    assert {words(row[0])[0]: words(row[2]) for row in kinds} == {n: list(fields) for n, fields in declared.items()}
    (tree,) = (action for action in make_parser()._actions if action.dest == "command")
    assert {name for name in COMMANDS if "--json" in tree.choices[name].format_help()} == declared.keys()
    found = {(command, words(row[0])[0]): row[2] for row in meanings for command in words(row[1])}
    assert found == {(n, field): text for n, fields in declared.items() for field, text in fields.items()}
    assert COMMANDS["report"].JSON == COMMANDS["demo"].JSON == PAGE_JSON
    example = re.search(r"^\{.*\}$", TEXT, re.MULTILINE)[0]
    assert list(json.loads(example)) == list(COMMANDS["test"].JSON)


def test_the_variables():
    (rows,) = tables("Environment variables")
    used = set()
    for path in (ROOT / "cuslayer").rglob("*.py"):
        used |= set(re.findall(r"\b(?:CUSLAYER_[A-Z]+|NO_COLOR)\b", path.read_text(encoding="utf-8")))
    assert {words(row[0])[0] for row in rows} == used
