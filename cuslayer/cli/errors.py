"""Errors on the command line: one line, an exit code, and colours on a terminal."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress
from typing import TextIO

from cuslayer._base import check

BOLD, RED, YELLOW = "1", "1;31", "1;33"
# Exit codes of errors, and as in a shell, of a program that a signal has ended.
INVALID, BUG, INTERRUPTED, TERMINATED, BROKEN_PIPE = 2, 1, 130, 143, 141
EXIT_CODES = {
    0: "done",
    BUG: "an error in cuslayer, please report it",
    INVALID: "something to change: arguments, a file, a full disk, memory, a missing library",
    INTERRUPTED: "interrupted by Ctrl-C",
    BROKEN_PIPE: "the reader of the output has ended",
    TERMINATED: "ended by SIGTERM",
}
# With this variable an error has Python's traceback.
TRACEBACK = "CUSLAYER_TRACEBACK"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WRITING = (*_FULL, errno.EFBIG, errno.EBADF)


def one_line(text: object) -> str:
    """Return a text in one line."""
    return " ".join(str(text).split())


def say(line: str, kind: str = "") -> None:
    """Print a line on standard error, if there is one, after a kind such as "warning: "."""
    if sys.stderr is None:
        return
    shown = check.visible(line)
    head = painted(f"cuslayer: {kind}", YELLOW if kind else RED, sys.stderr)
    try:
        print(f"{head}{shown}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        close(sys.stderr)


def show(text: str) -> None:
    """Print a result, whose names of files may have characters that a terminal obeys."""
    print(check.visible(text, keep="\n"))


def describe(problem: BaseException) -> tuple[str, int]:
    """Return the line for an error and the exit code: `INVALID` for what the user can change, `BUG` otherwise."""
    text = one_line(problem)
    if isinstance(problem, OSError):
        return _of_system(problem), INVALID
    if isinstance(problem, MemoryError):
        own = text and text.partition(": ")[0].isidentifier()
        return text if own else f"not enough memory{text and ': ' + text}; a smaller --batch needs less", INVALID
    if isinstance(problem, OverflowError):
        return f"a number is too large: {text}", INVALID
    if isinstance(problem, RecursionError):
        return f"the input is nested too deeply: {text}", INVALID
    if isinstance(problem, (ValueError, TypeError, LookupError, ImportError)):
        return text or type(problem).__name__, INVALID
    line = f"error in cuslayer{_where(problem)}: {type(problem).__name__}{text and ': ' + text}"
    return f"{line}; please report it with what {TRACEBACK}=1 shows", BUG


def close(stream: TextIO) -> None:
    """Drop unwritten output of standard output or error, so that the end of the program does not fail."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


def _of_system(problem: OSError) -> str:
    """Return the line for an error of the operating system, with the file, and with advice if the disk is full."""
    text = one_line(problem)
    if problem.filename is not None and problem.strerror:
        text = f"{one_line(os.fsdecode(problem.filename))}: {problem.strerror}"
    elif type(problem) is OSError and problem.errno in _WRITING:  # files are written by functions that name them
        close(sys.stdout)
        text = f"standard output cannot be written ({problem.strerror})"
    if problem.errno in _FULL and "; " not in text:  # the error may have its own advice
        return f"{text}; free some space, or write to another folder"
    return text or type(problem).__name__


def _where(problem: BaseException) -> str:
    """Return the innermost place in this package at which an error was raised."""
    package = os.path.dirname(os.path.dirname(__file__))
    found = traceback.extract_tb(problem.__traceback__)
    frames = [f for f in found if f.filename.startswith(package) and f.name not in ("door", "steps")]
    if not frames:
        return ""
    return f", {os.path.relpath(frames[-1].filename, os.path.dirname(package))} line {frames[-1].lineno}"


def colored(stream: TextIO) -> bool:
    """Return whether a stream shows colours: none where NO_COLOR is set (https://no-color.org)."""
    # The console of old versions of Windows prints escape sequences; its Terminal sets this variable.
    plain = os.name == "nt" and not os.environ.get("WT_SESSION")
    if plain or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is no stream, or it is closed
        return False


def painted(text: str, style: str, stream: TextIO) -> str:
    """Return a text in a style if the stream shows it, else the text."""
    return f"\x1b[{style}m{text}\x1b[0m" if colored(stream) else text
