"""What makes the site and checks it: pages of notebooks and docstrings, and the faults that the check finds."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from tests.support import browser

ROOT = Path(__file__).parents[2]
SOUND = """<!doctype html><html lang="en"><head><title>t</title><style>body {{ margin: 0 }}</style></head><body>
<h1 id="top">Title</h1><h2>Part</h2><p>Text and <a href="{link}">a link</a>.</p><img src="a.png" alt="a picture">
<label for="x">x</label><input id="x"><label>y <input></label><button aria-label="go"></button>{more}</body></html>"""


@pytest.fixture
def check(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import site_check

    yield site_check
    sys.modules.pop("site_check", None)


@pytest.fixture
def hooks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    yield
    for name in ("docstrings", "formulas", "notebooks"):
        sys.modules.pop(name, None)


@pytest.fixture
def site(tmp_path):
    """Return a function that writes a site of two pages, with something more on the first."""

    def write(more="", link="sub/#top"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        for name in ("a.png", "sub/a.png"):
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "index.html").write_text(SOUND.format(more=more, link=link))
        (tmp_path / "sub" / "index.html").write_text(SOUND.format(more="", link="../index.html"))
        return tmp_path

    return write


def test_a_sound_site_has_no_faults(check, site, capsys):
    folder = site()
    assert check.of_html(folder) == {"index.html": [], "sub/index.html": []}
    assert check.main([str(folder), "--no-browser"]) == 0
    assert capsys.readouterr().out == "2 files, 0 faults\n"


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example/x.css"),
        ('<img src="a.png">', "a picture without a text: a.png"),
        ('<a href="none.html">x</a>', "dead link: none.html"),
        ('<a href="sub/#none">x</a>', "dead link: sub/#none"),
        ('<a href="#none">x</a>', "dead link: #none"),
        ('<script src="none.js"></script>', "dead link: none.js"),
        ('<a href="sub/"><img src="a.png" alt="the other page"></a>', None),
        ('<a href="sub/"></a>', "no name: sub/"),
        ("<button></button>", "no name: a button"),
        ("<button>go</button>", None),
        ('<input id="other">', "no label: input other"),
        ("<select></select>", "no label: select "),
        ('<input type="hidden">', None),
        ("<h1>Again</h1>", "2 first headings"),
        ("<h4>Deep</h4>", "a heading of level 4 after one of level 2"),
    ],
)
def test_a_fault_is_found(check, site, more, fault):
    found = check.of_html(site(more))
    assert found == {"index.html": [fault] if fault else [], "sub/index.html": []}
    assert check.main([str(site(more)), "--no-browser"]) == int(fault is not None)


def test_a_page_without_a_language_and_a_style_from_elsewhere(check, site):
    folder = site()
    page = folder / "index.html"
    page.write_text(page.read_text().replace(' lang="en"', ""))
    (folder / "x.css").write_text("@font-face { src: url(https://fonts.example/x.woff2) }")
    assert check.of_html(folder) == {
        "index.html": ["no language"],
        "sub/index.html": [],
        "x.css": ["loads from another host"],
    }


def test_no_site_is_an_error(check, tmp_path, capsys):
    with pytest.raises(SystemExit):
        check.main([str(tmp_path)])
    assert "mkdocs build" in capsys.readouterr().err


@pytest.mark.skipif(not browser.find(), reason="no Chromium")
def test_a_browser_finds_what_html_does_not_say(check, site, tmp_path):
    more = (
        '<p style="color: #999">pale</p><p style="color: #999; font-size: 30px">pale and large</p>'
        '<p style="color: #767676">just enough</p><div style="width: 1000px">wide</div>'
        "<script>console.error('told')</script>"
    )
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines = check.in_browser(site(more), ["index.html"], pictures)["index.html"]
    assert [line for line in lines if line.startswith("1400 px, light: contrast")] == [
        "1400 px, light: contrast 2.85 p: pale",
        "1400 px, light: contrast 2.85 p: pale and large",
    ]
    assert "390 px, dark: 610 px wider than the window" in lines
    assert not [line for line in lines if "1400 px" in line and "wider" in line]
    assert sum("console: error: told" in line for line in lines) == 4
    assert len(list(pictures.iterdir())) == 4


@pytest.mark.parametrize(("name", "pages"), [("index", ["index.html"]), ("sub", ["sub/index.html"])])
def test_pages_are_chosen_by_their_names(check, site, monkeypatch, name, pages):
    asked = []
    monkeypatch.setattr(browser, "find", lambda: "chromium")
    monkeypatch.setattr(check, "in_browser", lambda folder, chosen, pictures: asked.extend(chosen) or {})
    assert check.main([str(site()), "--pages", name]) == 0
    assert asked == pages


def test_a_notebook_becomes_a_page(hooks, tmp_path):
    from notebooks import convert

    png = base64.b64encode(b"png").decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        {"cell_type": "markdown", "source": ["## A `part` of $x$"]},
        {"cell_type": "code", "source": ["plot()"], "outputs": [{"data": {"image/png": png, "text/plain": ["<F>"]}}]},
        {"cell_type": "code", "source": ["x"], "outputs": [{"data": {"text/plain": ["3"], "text/html": ["<b>"]}}]},
    ]
    path = tmp_path / "1_name.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    text, pictures = convert(path)
    assert pictures == {"1_name_1.png": b"png"}
    assert text.startswith("# Title\n\nThe notebook `examples/notebooks/1_name.ipynb`")
    assert "```python\nprint(1)\n```" in text
    assert "```text\n1\n```" in text
    assert "![A part of x, picture 1](1_name_1.png)" in text
    assert "<b>" not in text


def test_formulas_become_mathml(hooks):
    pytest.importorskip("latex2mathml")
    from formulas import with_mathml

    assert with_mathml("of $x_1$ and `$HOME$`, 3$") == (
        'of <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><msub><mi>x</mi><mn>1</mn></msub>'
        "</mrow></math> and `$HOME$`, 3$"
    )
    assert 'display="block"' in with_mathml("$$\na = b\n$$")
    assert "&#42;" in with_mathml("$a * b$") or "*" not in with_mathml("$a * b$")


def test_docstrings_become_markdown(hooks):
    pytest.importorskip("griffe")
    from docstrings import as_markdown

    text = "Do it.\n\nIn formulas::\n\n    a = b\n\n>>> f(1)\n2\n>>> g()\n\nMore.\n\n>>> h()\n3"
    first, second = "```pycon\n>>> f(1)\n2\n>>> g()\n```", "```pycon\n>>> h()\n3\n```"
    assert as_markdown(text) == f"Do it.\n\nIn formulas:\n\n    a = b\n\n\n{first}\n\nMore.\n\n\n{second}"


def test_ci_builds_the_site():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert '/mkdocs" build --strict' in script
    assert "benchmarks/site_check.py" in script
