"""What makes the site and checks it: pages of notebooks and docstrings, and the faults that the check finds."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOUND = """<!doctype html><html lang="en"><head><title>t</title><style>body {{ margin: 0 }}</style></head><body>
<h1 id="top">Title</h1><h2>Part</h2><p>Text and <a href="{link}">a link</a>.</p><img src="a.png" alt="a picture">
{more}</body></html>"""

pytestmark = pytest.mark.all


@pytest.fixture
def hooks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    yield
    for name in ("docstrings", "formulas", "notebooks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("", None),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<img src="a.png">', "a picture without a text: a.png"),
        ('<a href="none.html">x</a>', "dead link: none.html"),
        ('<a href="sub/#none">x</a>', "dead link: sub/#none"),
        ('<a href="sub/"></a>', "no name: sub/"),
    ],
)
def test_a_fault_is_found(monkeypatch, tmp_path, more, fault):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import site_check

    (tmp_path / "sub").mkdir()
    for name, extra, link in (("", more, "sub/#top"), ("sub/", "", "../index.html")):
        (tmp_path / f"{name}a.png").write_bytes(b"")
        (tmp_path / f"{name}index.html").write_text(SOUND.format(more=extra, link=link))
    assert site_check.of_html(tmp_path) == {"index.html": [fault] if fault else [], "sub/index.html": []}
    assert site_check.main([str(tmp_path), "--no-browser"]) == int(fault is not None)
    sys.modules.pop("site_check")


def test_a_notebook_becomes_a_page(hooks, tmp_path):
    from notebooks import convert

    png = base64.b64encode(b"png").decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "## A `part` of $x$"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        {"cell_type": "code", "source": ["plot()"], "outputs": [{"data": {"image/png": png, "text/plain": ["<F>"]}}]},
    ]
    path = tmp_path / "1_name.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    text, pictures = convert(path)
    assert pictures == {"1_name_1.png": b"png"}
    for part in ("```python\nprint(1)\n```", "```text\n1\n```", "![A part of x, picture 1](1_name_1.png)"):
        assert part in text


def test_formulas_and_docstrings_become_markdown(hooks):
    pytest.importorskip("latex2mathml")
    pytest.importorskip("griffe")
    from docstrings import as_markdown
    from formulas import with_mathml

    assert with_mathml("of $x_1$ and `$HOME$`, 3$").endswith("</math> and `$HOME$`, 3$")
    text = "Do it.\n\nIn formulas::\n\n    a = b\n\n>>> f(1)\n2\n>>> g()\n\nMore."
    found = as_markdown(text)
    assert found == "Do it.\n\nIn formulas:\n\n    a = b\n\n\n```pycon\n>>> f(1)\n2\n>>> g()\n```\n\nMore."
