"""The logs of a run as CSV files: a header that says what they are, and a row an epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from cuslayer.data.files import write_whole


def write_table(path: str | Path, header: list[str], rows: Iterable[Iterable[float | None]]) -> None:
    """Write rows of numbers, what is None being left empty, whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow("" if value is None else f"{value:.10g}" for value in row)
    write_whole(Path(path), lambda file: file.write(text.getvalue().encode()))


def read_table(op: str, path: str | Path, header: list[str]) -> list[list[str]]:
    """Return the rows of a file that `write_table` wrote, as text.

    Raises:
        ValueError: the file is missing, is no CSV, or has another header.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            first, *rows = list(csv.reader(file)) or [[]]
    except OSError:
        raise ValueError(f"{op}: {path} is no file") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{op}: {path} is no CSV") from None
    if first != header:
        raise ValueError(f"{op}: {path} does not begin with {','.join(header)}")
    return rows
