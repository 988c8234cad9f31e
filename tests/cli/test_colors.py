"""Colours: on a terminal, and nowhere else."""

from __future__ import annotations

import io
import os
import sys

from cuslayer.cli import errors
from cuslayer.cli.errors import BOLD, colored, painted


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_which_streams_have_colours(monkeypatch):
    for name in ("NO_COLOR", "TERM", "WT_SESSION"):
        monkeypatch.delenv(name, raising=False)
    closed = Terminal()
    closed.close()
    monkeypatch.setattr(os, "name", "posix")
    assert painted("a", BOLD, Terminal()) == "\x1b[1ma\x1b[0m"
    for stream in (io.StringIO(), None, object()):
        assert painted("a", BOLD, stream) == "a"
    for name, value, shown in (("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)):
        monkeypatch.setenv(name, value)
        assert colored(Terminal()) is shown
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "name", "nt")
    assert not colored(Terminal())
    monkeypatch.setenv("WT_SESSION", "1")
    assert colored(Terminal())


def test_errors_and_warnings_have_colours(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for kind, color in (("", "\x1b[1;31m"), ("warning: ", "\x1b[1;33m")):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        errors.say("the disk is slow", kind=kind)
        assert terminal.getvalue() == f"{color}cuslayer: {kind}\x1b[0mthe disk is slow\n"


def test_the_head_of_a_table(finished, files, monkeypatch, command):
    from cuslayer.cli import predict

    _, expected, _ = command("predict", finished, *files)
    monkeypatch.setattr(predict, "painted", lambda text, style, stream: f"<{style}>{text}")
    assert command("predict", finished, *files)[1] == f"<{BOLD}>{expected}"
