"""Arguments that several commands have, and results as JSON: one document on standard output, nothing else there."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cuslayer import backend, training
from cuslayer._base import check
from cuslayer.cli.errors import show

PAGE_JSON = {"page": "the file that was written", "bytes": "its size"}


def integer(text: str) -> int:
    """Return an integer; refuse digits of other scripts, which Python also reads."""
    if not text.isascii():
        raise ValueError
    return int(text)


def number(text: str) -> float:
    """Return a number; see `integer`."""
    if not text.isascii():
        raise ValueError
    return float(text)


def path(text: str) -> str:
    """Return a path; refuse an empty one, which would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the argument RUN and the option --best."""
    parser.add_argument(
        "run", type=path, metavar="RUN", help="folder of a run, such as runs/1, or a checkpoint file in it"
    )
    parser.add_argument("--best", action="store_true", help="use the weights of the best epoch, not the last ones")


def run_of(options: argparse.Namespace) -> training.Run:
    """Return the run of the argument RUN."""
    return training.load_run(options.run, best=options.best)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the option --data of commands that read a run."""
    parser.add_argument(
        "--data", type=path, metavar="PATH", help="folder of recordings, or npz file of sounds; by default the run's"
    )


def add_page(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options --out and --json of commands that write a page."""
    parser.add_argument(
        "--out", type=path, metavar="PAGE", help=f"file, by default {command}.html in the folder of the run"
    )
    add_json(parser, PAGE_JSON)


def page_of(options: argparse.Namespace, command: str, folder: Path) -> Path:
    """Return the page to write, by default in the folder of the run; raise ValueError if its folder is missing."""
    page = Path(options.out) if options.out else folder / f"{command}.html"
    if page.is_dir():
        raise ValueError(f"--out must be a file, such as {page / f'{command}.html'}, got the folder {page}")
    if not page.parent.is_dir():
        raise ValueError(f"folder {page.parent} does not exist")
    return page


def say_page(options: argparse.Namespace, page: Path) -> None:
    """Print where a page was written."""
    if options.json:
        print_json(dict(zip(PAGE_JSON, (str(page), page.stat().st_size), strict=True)))
    else:
        show(check.visible(str(page)))


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option --device."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="device to compute on")


def use_device(options: argparse.Namespace) -> None:
    """Use the device of the option --device, if it is given."""
    if options.device:
        backend.use(options.device)


def add_json(parser: argparse.ArgumentParser, fields: Mapping[str, str], *, many: bool = False) -> None:
    """Add the option --json of a command whose result has fields, by name with their meaning; with `many`, a list."""
    what = "a list of objects" if many else "an object"
    names = ", ".join(f'"{name}"' for name in fields)
    parser.add_argument("--json", action="store_true", help=f"write the result as JSON, {what} with {names}")


def progress_log(options: argparse.Namespace) -> Callable[[str], None]:
    """Return a function that prints a line of progress: on standard output, or on standard error with --json."""
    if options.json and sys.stderr is None:  # print would take standard output
        return lambda line: None
    stream = sys.stderr if options.json else sys.stdout
    return lambda line: print(check.visible(line, keep="\n"), file=stream, flush=True)


def print_json(result: object) -> None:
    """Print a result: an object on one line, each object of a list on a line. Numbers that are not finite are null."""
    if isinstance(result, list):
        print("[", ",\n".join(f"  {_dumped(each)}" for each in result), "]", sep="\n")
    else:
        print(_dumped(result))


def _dumped(value: object) -> str:
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: object) -> object:
    """Return a JSON value with None for infinities and NaN."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
