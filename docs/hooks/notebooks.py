"""A notebook as a Markdown page: its text, its code, and what its cells have printed and drawn."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any


def convert(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return the Markdown of a notebook, and its pictures by the name of their file."""
    pictures: dict[str, bytes] = {}
    blocks: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip("\n")
        if cell["cell_type"] == "markdown":
            blocks.append(source)
            heading = source
        elif cell["cell_type"] == "code":
            blocks.append(f"```python\n{source}\n```")
            for output in cell["outputs"]:
                blocks.append(_output(output, path.stem, pictures, _alt(heading)))
    title, _, rest = "\n\n".join(blocks).partition("\n")
    note = f"The notebook `examples/notebooks/{path.name}`, with its outputs; it runs in the tests."
    return f"{title}\n\n{note}\n{rest}\n", pictures


def _output(output: dict[str, Any], stem: str, pictures: dict[str, bytes], alt: str) -> str:
    """Return an output of a cell as Markdown, and add its picture to `pictures`."""
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}_{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![{alt}, picture {len(pictures)}]({name})"
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip("\n")
    return f'<div class="output" markdown="1">\n\n```text\n{text}\n```\n\n</div>' if text else ""


def _alt(text: str) -> str:
    """Return the last heading of a cell of text, or its first words, as the description of the pictures after it."""
    headings = re.findall(r"(?m)^#+ (.*)", text)
    words = headings[-1] if headings else " ".join(text.split()[:12])
    return re.sub(r"[\[\]`$\\*]", "", words)
