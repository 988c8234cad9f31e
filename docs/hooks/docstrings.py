"""An extension of Griffe: docstrings of this package as Markdown.

Examples `>>> ...` become blocks of code, `formula::` with an indented block becomes a sentence with a block, and the
double backticks of formulas stay what they are in Markdown: code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Rewrite the docstring of every object."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was just read."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add the module of `cuslayer.kernel`: Griffe passes over folders without `__init__.py`, such as its own."""
        if pkg.name != "cuslayer":
            return
        kernels = pkg["kernels"]
        path = kernels.filepath.parent / "cuda" / "own.py"
        cuda = griffe.Module("cuda", filepath=path.with_name("__init__.py"), parent=kernels)
        extensions = griffe.Extensions(self)
        own = griffe.visit("own", path, path.read_text(encoding="utf-8"), parent=cuda, extensions=extensions)
        cuda.set_member("own", own)
        kernels.set_member("cuda", cuda)


def as_markdown(text: str) -> str:
    """Return a docstring with its examples and formulas as blocks of code.

    Examples at the end stand under a section `Examples:`, which mkdocstrings shows under that title.
    """
    lines, out, example = text.splitlines(), list[str](), False
    for line in lines:
        if line.startswith(">>>") and not example:
            out += ["", "```pycon"]
            example = True
        elif example and not line.strip():
            out.append("```")
            example = False
        out.append(line)
    if example:
        out.append("```")
    return re.sub(r"(?m)^(?!>>>|\.\.\. )(.*\S)?::$", lambda found: f"{found[1]}:" if found[1] else "", "\n".join(out))
