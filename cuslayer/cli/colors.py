"""Colours of a terminal: none in a file or a pipe, nor where NO_COLOR is set (https://no-color.org)."""

from __future__ import annotations

import os
from typing import Any

BOLD, RED, YELLOW = "1", "1;31", "1;33"


def colored(stream: Any) -> bool:
    """Return whether a stream shows colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    # The console of old versions of Windows shows escape sequences as they are; its Terminal sets this variable.
    if os.name == "nt" and not os.environ.get("WT_SESSION"):
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is no stream, or it is closed
        return False


def painted(text: str, style: str, stream: Any) -> str:
    """Return a text in a style if the stream shows it, else the text.

    >>> import io
    >>> painted("result", BOLD, io.StringIO())
    'result'
    """
    return f"\x1b[{style}m{text}\x1b[0m" if colored(stream) else text
