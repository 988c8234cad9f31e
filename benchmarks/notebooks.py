"""Run the notebooks of examples/ from top to bottom, and write what they print and draw into them.

    python benchmarks/notebooks.py              # all, one after the other
    python benchmarks/notebooks.py 6_after      # those whose name begins so

Needs no Jupyter: cells run in one namespace in this process, as tests/project/test_notebooks.py runs them. The value of
a last expression, what is printed, and pictures that `plt.show()` shows are the outputs. A notebook of which a cell
fails is left as it was.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"


def pieces(source: str, name: str) -> tuple[Any, Any]:
    """Return the code of a cell, and that of its last expression, or None."""
    tree = ast.parse(source)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        last = compile(ast.Expression(tree.body.pop().value), name, "eval")  # type: ignore[attr-defined]
    return compile(tree, name, "exec"), last


def shown(value: Any, number: int) -> dict[str, Any]:
    """Return the output of the value of a cell."""
    data: dict[str, Any] = {"text/plain": lines(repr(value))}
    html = getattr(value, "_repr_html_", None)
    if html is not None and (text := html()) is not None:
        data["text/html"] = lines(text)
    return {"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}}


def picture(figure: Any) -> dict[str, Any]:
    """Return the output of a figure."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=80, facecolor="white", metadata={"Software": None})
        code = base64.b64encode(file.getvalue()).decode()
    size = [f"<Figure size {' x '.join(f'{n:.0f}' for n in 80 * figure.get_size_inches())}>"]
    return {"output_type": "display_data", "data": {"image/png": code, "text/plain": size}, "metadata": {}}


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def run(notebook: dict[str, Any], name: str) -> None:
    """Run the cells of a notebook and replace their outputs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    outputs: list[dict[str, Any]] = []
    said = io.StringIO()

    def flush() -> None:
        if said.getvalue():
            outputs.append({"output_type": "stream", "name": "stdout", "text": lines(said.getvalue())})
            said.seek(0)
            said.truncate()

    def show() -> None:
        flush()
        outputs.extend(picture(plt.figure(number)) for number in plt.get_fignums())
        plt.close("all")

    space: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    before, plt.show = plt.show, show
    try:
        for number, cell in enumerate(code, 1):
            body, last = pieces("".join(cell["source"]), f"{name}, cell {number}")
            with contextlib.redirect_stdout(said):
                exec(body, space)
                value = eval(last, space) if last is not None else None
            flush()
            if value is not None:
                outputs.append(shown(value, number))
            cell["outputs"], cell["execution_count"] = list(outputs), number
            outputs.clear()
    finally:
        plt.show = before


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the notebooks whose names begin with one of the arguments."""
    wanted = tuple(sys.argv[1:] if arguments is None else arguments) or ("",)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if path.name.startswith(wanted):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            start = time.perf_counter()
            run(notebook, path.stem)
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
            print(f"{path.stem}: {time.perf_counter() - start:.1f} s, {len(text) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
