"""Write a self-contained HTML page from a template, scripts and styles of the package."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cuslayer.files import write_whole


def write_page(
    path: str | os.PathLike[str],
    template: Path,
    *,
    title: str,
    styles: Sequence[Path],
    scripts: Sequence[Path],
    contents: Mapping[str, Any],
    **others: str,
) -> Path:
    """Write a page, and return its path.

    Args:
        path: the file to write or replace.
        template: the HTML with placeholders: ``{{title}}``, ``{{style}}``, ``{{scripts}}``, ``{{contents}}``.
        title: the title, plain text.
        styles: style sheets in order.
        scripts: scripts in order.
        contents: the data of the page, as JSON values.
        others: the text for further placeholders.
    """
    parts = {
        "title": escape(title),
        "style": "\n".join(map(read, styles)),
        "scripts": "\n".join(map(read, scripts)),
        # Escaped so that no text in it can end the enclosing script element.
        "contents": json.dumps(contents, separators=(",", ":")).replace("<", "\\u003c"),
        **others,
    }
    # One substitution for all parts, so that text inside a part is never taken for a placeholder.
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], read(template))
    where = Path(path)
    write_whole(where, lambda file: file.write(page.encode("utf-8", "backslashreplace")))
    return where


def page_title(op: str, net: Any, title: Any) -> str:
    """Return the title of a page, given or the network's notation; raise TypeError unless it is a string."""
    if title is None:
        return str(getattr(net, "notation", type(net).__name__))
    if not isinstance(title, str):
        raise TypeError(f"{op}: title must be text, got {type(title).__name__}")
    return title


def read(path: Path) -> str:
    """Return the text of a file of the package."""
    return path.read_text("utf-8")
