"""The table of mutants, `*.yaml` in this folder, and the change that each makes to a source file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[3]
TABLES = Path(__file__).parent


class Mutant(NamedTuple):
    """One fault.

    Attributes:
        file: the source file, from the repository's root.
        what: what is wrong.
        place: the function that is changed; empty: the whole file is searched.
        old: the text that is replaced; a space in it matches any white space.
        new: the text that replaces it.
        tests: the tests of which one must fail.
    """

    file: str
    what: str
    place: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def mutants() -> list[Mutant]:
    """Return the mutants of all tables."""
    found = []
    for table in sorted(TABLES.glob("*.yaml")):
        for file, entries in yaml.safe_load(table.read_text("utf-8")).items():
            for entry in entries:
                tests = tuple(f"tests/{test}" for test in entry.pop("tests"))
                found.append(Mutant(file, entry.pop("what"), entry.pop("in", ""), **entry, tests=tests))
    return found


def function(text: str, name: str) -> tuple[int, int]:
    """Return the start and end of the definition of a function in a CUDA or Python source.

    Raises:
        ValueError: it is not defined exactly once.
    """
    head = rf"^( *)(?:def |.*\b__(?:global|device)__ .*\b){re.escape(name)}\("
    starts = list(re.finditer(head, text, re.MULTILINE))
    if len(starts) != 1:
        raise ValueError(f"'{name}' is defined {len(starts)} times")
    indent, begin = starts[0][1], starts[0].start()
    # The next statement is indented no deeper. Closing brackets and pragmas belong to the definition.
    after = re.compile(rf"^ {{0,{len(indent)}}}[^\s)}}{{#]", re.MULTILINE).search(text, starts[0].end())
    return begin, after.start() if after else len(text)


def mutated(text: str, mutant: Mutant) -> str:
    """Return a source with the change of a mutant.

    Raises:
        ValueError: the old text does not occur exactly once.
    """
    begin, end = function(text, mutant.place) if mutant.place else (0, len(text))
    pattern = r"\s+".join(map(re.escape, mutant.old.split()))
    found = list(re.compile(pattern).finditer(text, begin, end))
    if len(found) != 1:
        raise ValueError(f"{mutant}: '{mutant.old}' is found {len(found)} times")
    return text[: found[0].start()] + mutant.new + text[found[0].end() :]
