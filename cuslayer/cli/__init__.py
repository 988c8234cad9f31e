"""The command line: one file per command, with `HELP`, `add_arguments(parser)` and `run(options)`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cuslayer.cli import convert, demo, errors, info, predict, report, sweep, test, train
from cuslayer.cli.info import installed

# A new command is a file in this folder and its name here.
COMMANDS = {
    "train": train,
    "sweep": sweep,
    "test": test,
    "predict": predict,
    "report": report,
    "demo": demo,
    "convert": convert,
    "info": info,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    The code is 0; 2 for what the user can change, such as invalid input or a full disk; 1 for an error in cuslayer; 130
    if interrupted, 143 if terminated; 141 if the reader of the output has ended. An error is one line, unless the
    environment variable CUSLAYER_TRACEBACK is set.
    """
    command: Any = None
    with warnings.catch_warnings(), _any_file_name():
        warnings.showwarning = _show_warning
        try:
            try:
                options = _parser().parse_args(arguments)
                command = COMMANDS[options.command]
                code: int | None = command.run(options)
            finally:  # also after --help
                if sys.stdout is not None:
                    sys.stdout.flush()
        except KeyboardInterrupt:
            errors.say(f"interrupted{getattr(command, 'INTERRUPTED', '')}")
            return errors.INTERRUPTED
        except BrokenPipeError:
            errors.close(sys.stdout)
            return errors.BROKEN_PIPE
        except Exception as problem:
            if os.environ.get(errors.TRACEBACK):
                raise
            line, exit_code = errors.describe(problem)
            errors.say(line)
            return exit_code
    return code or 0


@contextmanager
def _any_file_name() -> Iterator[None]:
    """Print the characters that the terminal does not know as escapes, such as those of a name that is not UTF-8."""
    before = getattr(sys.stdout, "errors", None)
    if before is None or not hasattr(sys.stdout, "reconfigure"):
        yield
        return
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        sys.stdout.reconfigure(errors=before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cuslayer", description="Train spiking neural networks with SLAYER.")
    parser.add_argument("--version", action="version", version=f"cuslayer {installed('cuslayer')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        description = " ".join(getattr(command, "DESCRIPTION", f"{command.HELP[0].upper()}{command.HELP[1:]}.").split())
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=description))
    return parser


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    errors.say(f"warning: {errors.one_line(message)}")
