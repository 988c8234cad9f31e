"""Draw the pictures of docs/recipes.md into docs/images/recipes/, by the code of the recipes.

    python benchmarks/recipes.py                    # all, in half a minute
    python benchmarks/recipes.py pruning recall     # these

A recipe is what follows a heading `###`. It runs after the first block of the page and draws on the axes `ax`: the
picture is their figure.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import common
import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

IMAGES = common.DOCS / "images" / "recipes"
PAGE = "recipes.md"


def recipes() -> dict[str, list[str]]:
    """Return the blocks of code of each recipe, the first of the page before them, by the name of its picture."""
    start, *parts = re.split(r"(?m)^### ", (common.DOCS / PAGE).read_text("utf-8"))
    first = _blocks(start)
    return {re.findall(r"images/recipes/([\w-]+)\.png", part)[0]: first + _blocks(part) for part in parts}


def _blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(name: str, blocks: list[str]) -> dict[str, Any]:
    """Run blocks of code one after another, and return their names."""
    space: dict[str, Any] = {"__name__": "page"}
    with matplotlib.rc_context():  # the page sets an option
        for number, block in enumerate(blocks):
            file = f"block {number} of {name}"
            linecache.cache[file] = len(block), None, block.splitlines(keepends=True), file  # a step's source is read
            exec(compile(block, file, "exec", dont_inherit=True), space)
        plt.close("all")
    return space


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures of these names, by default all."""
    every = recipes()
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # for the files that a recipe writes
        try:
            for name in (sys.argv[1:] if arguments is None else arguments) or every:
                figure = run(name, every[name])["ax"].figure
                picture = IMAGES / f"{name}.png"
                figure.savefig(picture, dpi=110, facecolor="white", metadata={"Software": None})
                print(f"docs/images/recipes/{picture.name}: {picture.stat().st_size / 1000:.0f} kB", flush=True)
        finally:
            os.chdir(home)


if __name__ == "__main__":
    main()
