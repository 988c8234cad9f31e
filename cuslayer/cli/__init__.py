"""The command line: one file per command, with `HELP`, `add_arguments(parser)` and `run(options)`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cuslayer.cli import convert, demo, info, predict, report, test, train
from cuslayer.cli.info import installed

# A new command is a file in this folder and its name here.
COMMANDS = {
    "train": train,
    "test": test,
    "predict": predict,
    "report": report,
    "demo": demo,
    "convert": convert,
    "info": info,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for invalid input, 130 if interrupted, 143 if terminated."""
    options = _parser().parse_args(arguments)
    command = COMMANDS[options.command]
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code: int | None = command.run(options)
        except (ValueError, TypeError, LookupError, OSError, ImportError, MemoryError) as problem:
            print(f"cuslayer: {_one_line(problem) or type(problem).__name__}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"cuslayer: interrupted{getattr(command, 'INTERRUPTED', '')}", file=sys.stderr)
            return 130
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cuslayer", description="Train spiking neural networks with SLAYER.")
    parser.add_argument("--version", action="version", version=f"cuslayer {installed('cuslayer')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        description = " ".join(getattr(command, "DESCRIPTION", f"{command.HELP[0].upper()}{command.HELP[1:]}.").split())
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=description))
    return parser


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    print(f"cuslayer: warning: {_one_line(message)}", file=sys.stderr)
