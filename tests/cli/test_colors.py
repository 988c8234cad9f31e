"""Colours: on a terminal, and nowhere else."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuslayer.cli.colors import BOLD, colored, painted

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
ROOT = Path(__file__).parents[2]
RED, YELLOW = "\x1b[1;31m", "\x1b[1;33m"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def plain(**variables):
    """Return the environment without the variables on colours, and with others."""
    names = ("NO_COLOR", "TERM", "FORCE_COLOR", "PYTHON_COLORS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", **variables}


# One command after another in one process, for most of its time goes by before the first begins.
SEVERAL = """
import sys
from cuslayer.cli import main
for arguments in sys.argv[1:]:
    try:
        main(arguments.split())
    except SystemExit:
        pass
"""


def on_a_terminal(*commands, **variables):
    """Run commands with standard output and standard error on a terminal; return what they said there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SEVERAL, *commands], env=plain(**variables), stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        while more := os.read(ours, 1 << 16):
            said += more
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    process.wait()
    return said.decode()


def test_an_error_is_red_on_a_terminal():
    said = on_a_terminal("test no/run")
    assert said.startswith(f"{RED}cuslayer: \x1b[0mload_run: no/run does not exist")


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours_are_refused(variables):
    said = on_a_terminal("test no/run", "--help", "train --help", "train --epochs x", **variables)
    assert said.startswith("cuslayer: load_run: no/run does not exist")
    assert said.count("usage: ") == 3
    assert "\x1b" not in said


def test_a_pipe_has_no_colours():
    command = [sys.executable, "-c", SEVERAL, "test no/run", "info", "--help", "predict"]
    found = subprocess.run(command, env=plain(), capture_output=True, text=True)
    assert found.stdout.count("usage: ") == found.stderr.count("usage: ") == 1
    assert "\x1b" not in found.stdout + found.stderr


def test_the_head_of_a_table(finished, files, monkeypatch, command):
    from cuslayer.cli import predict

    _, expected, _ = command("predict", finished, *files)
    monkeypatch.setattr(predict, "painted", lambda text, style, stream: f"<{style}>{text}")
    assert command("predict", finished, *files)[1] == f"<{BOLD}>{expected}"


def test_which_streams_have_colours(monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    closed = Terminal()
    closed.close()
    monkeypatch.setattr(os, "name", "posix")
    assert colored(Terminal())
    assert painted("a", BOLD, Terminal()) == "\x1b[1ma\x1b[0m"
    for stream in (io.StringIO(), None, object()):
        assert not colored(stream)
        assert painted("a", BOLD, stream) == "a"
    monkeypatch.setenv("NO_COLOR", "")
    assert colored(Terminal())  # an empty variable is none
    monkeypatch.setattr(os, "name", "nt")
    assert not colored(Terminal())
    monkeypatch.setenv("WT_SESSION", "1")
    assert colored(Terminal())


def test_a_warning_is_yellow(monkeypatch):
    from cuslayer.cli import errors

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    errors.say("the disk is slow", kind="warning: ")
    assert terminal.getvalue() == f"{YELLOW}cuslayer: warning: \x1b[0mthe disk is slow\n"
