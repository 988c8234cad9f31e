"""Reads faults.yaml: small faults of the library, each of which must make a test fail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[2]


class Fault(NamedTuple):
    """A fault of a source file: what matches `pattern` in the function `place`, or in the file, becomes `new`."""

    file: str
    place: str
    pattern: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        where = f"{self.file}, {self.place}" if self.place else self.file
        return f"{where}: {self.pattern}  ->  {self.new}"


def faults() -> list[Fault]:
    """Return all faults."""
    table = yaml.safe_load(Path(__file__).with_name("faults.yaml").read_text("utf-8"))
    return [
        Fault(file, place or "", pattern, new, tuple(f"tests/{test}" for test in entry["tests"]))
        for file, entry in table.items()
        for place, pattern, new in entry["faults"]
    ]


def function(text: str, name: str) -> tuple[int, int]:
    """Return the start and the end of a function's definition in a Python or CUDA source.

    Raises:
        ValueError: it is not defined exactly once.
    """
    head = rf"^( *)(?:def |.*\b__(?:global|device)__ .*\b){re.escape(name)}\("
    starts = list(re.finditer(head, text, re.MULTILINE))
    if len(starts) != 1:
        raise ValueError(f"'{name}' is defined {len(starts)} times")
    # The next statement is indented no deeper. Closing brackets and pragmas belong to the definition.
    after = re.compile(rf"^ {{0,{len(starts[0][1])}}}[^\s)}}{{#]", re.MULTILINE).search(text, starts[0].end())
    return starts[0].start(), after.start() if after else len(text)


def planted(text: str, fault: Fault) -> str:
    """Return a source with a fault. A space of the pattern also matches a line break.

    Raises:
        ValueError: the pattern does not match exactly one place.
    """
    begin, end = function(text, fault.place) if fault.place else (0, len(text))
    found = list(re.compile(fault.pattern.replace(" ", r"\s+")).finditer(text, begin, end))
    if len(found) != 1:
        raise ValueError(f"{fault}: the pattern matches {len(found)} places")
    return text[: found[0].start()] + fault.new + text[found[0].end() :]
