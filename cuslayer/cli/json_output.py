"""Results as JSON for programs: one document on standard output, and nothing else there."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any


def add_json(parser: argparse.ArgumentParser, fields: Mapping[str, str], *, many: bool = False) -> None:
    """Add the option --json of a command whose result has fields, by name with their meaning; of many, a list."""
    what = "a list of objects" if many else "an object"
    names = ", ".join(f'"{name}"' for name in fields)
    parser.add_argument("--json", action="store_true", help=f"write the result as JSON, {what} with {names}")


def print_json(result: Any) -> None:
    """Print a result: an object on one line, of a list each object on a line. Numbers that are not finite are null."""
    if isinstance(result, list):
        print("[", ",\n".join(f"  {_dumped(each)}" for each in result), "]", sep="\n")
    else:
        print(_dumped(result))


def progress_log(options: argparse.Namespace) -> Callable[[str], None]:
    """Return what prints a line of progress: on standard output, or beside a result in JSON on standard error."""
    if not options.json:
        return lambda line: print(line, flush=True)
    if sys.stderr is None:  # print would take standard output
        return lambda line: None
    return lambda line: print(line, file=sys.stderr, flush=True)


def _dumped(value: Any) -> str:
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    """Return a value of JSON in which None stands for infinities and NaN."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
