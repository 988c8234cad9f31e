"""The command line: one file per command, with `HELP`, `add_arguments(parser)` and `run(options)`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.version import __version__
from cuslayer.cli import (
    completion,
    convert,
    convert_ann,
    demo,
    errors,
    export_c,
    info,
    predict,
    quantize,
    report,
    sweep,
    test,
    train,
)

# A new command is a file in this folder and its name here.
COMMANDS = {
    "train": train,
    "sweep": sweep,
    "test": test,
    "predict": predict,
    "report": report,
    "demo": demo,
    "export-c": export_c,
    "quantize": quantize,
    "convert": convert,
    "convert-ann": convert_ann,
    "info": info,
    "completion": completion,
}
_CODES = "; ".join(f"{code} {meaning}" for code, meaning in errors.EXIT_CODES.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    See `errors.EXIT_CODES` for the codes. An error is one line, unless the environment variable CUSLAYER_TRACEBACK is
    set.
    """
    command: Any = None
    with warnings.catch_warnings(), _any_file_name():
        warnings.showwarning = _show_warning
        try:
            try:
                parser = make_parser()
                if "_ARGCOMPLETE" in os.environ:  # the Tab key was pressed: the shell wants words
                    optional("argcomplete", "completion").autocomplete(parser)
                if not (sys.argv[1:] if arguments is None else arguments):
                    parser.print_help(sys.stderr)  # with the list of commands
                    return errors.INVALID
                options = parser.parse_args(arguments)
                command = COMMANDS[options.command]
                code: int | None = check.operation(options.command)(command.run)(options)
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
    """Print characters that the terminal does not support as escapes, such as in a name that is not UTF-8."""
    before = getattr(sys.stdout, "errors", None)
    if before is None or not hasattr(sys.stdout, "reconfigure"):
        yield
        return
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        sys.stdout.reconfigure(errors=before)


class _Help(argparse.HelpFormatter):
    """Help that keeps the lines of examples, and wraps other text."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose options are written in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        errors.say(errors.one_line(f"{message}; see {self.prog} --help"))
        raise SystemExit(errors.INVALID)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="cuslayer",
        description="Train spiking neural networks with SLAYER. `cuslayer COMMAND --help` has examples.",
        epilog=f"Exit codes: {_CODES}.",
    )
    parser.add_argument("--version", action="version", version=f"cuslayer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = " ".join(getattr(command, "DESCRIPTION", f"{command.HELP[0].upper()}{command.HELP[1:]}.").split())
        examples = "\n  ".join(("examples:" if len(command.EXAMPLES) > 1 else "example:", *command.EXAMPLES))
        command.add_arguments(
            commands.add_parser(name, help=command.HELP, description=about, epilog=examples, formatter_class=_Help)
        )
    return parser


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    errors.say(errors.one_line(message), kind="warning: ")
