"""Tables and charts that scripts write between marks of the pages in docs/."""

from __future__ import annotations

import os
from pathlib import Path

PERFORMANCE = Path(__file__).parents[1] / "docs" / "performance.md"


def marks(name: str) -> tuple[str, str]:
    """Return the marks before and after the text of a script."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def fill(page: Path, name: str, lines: list[str], chart: Path | None, caption: str) -> None:
    """Write lines, and a chart before them, between the marks of a name.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, close = marks(name)
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, end, after = rest.partition(close)
    if not mark or not end:
        raise ValueError(f"{page}: no {begin} and {close}")
    if chart:
        lines = [*image(page, chart, caption), *lines]
    page.write_text("\n".join([before + mark, "", *lines, "", end + after]), encoding="utf-8")


def image(page: Path, chart: Path, caption: str) -> list[str]:
    """Return the lines that show a chart on a page."""
    way = Path(os.path.relpath(chart.resolve(), page.resolve().parent)).as_posix()
    return [f"![{caption}]({way})", ""]


def table(heads: list[str], rows: list[list[str]], left: int) -> list[str]:
    """Return the lines of a Markdown table whose first columns are text and whose others are numbers."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]

    def line(cells: list[str]) -> str:
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * w) if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(heads), line(rule), *(line(row) for row in rows)]
