"""Every notebook runs from top to bottom, shows its pictures, and says what is true."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import numpy as np
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def cells(path, kind):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


@pytest.fixture
def run(monkeypatch):
    """Run a notebook's cells in one namespace; return it, with the axes of each picture as "shown"."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: (plt.gcf().canvas.draw(), shown.append(plt.gcf().axes), plt.close("all")))

    def execute(path):
        space = {"__name__": "__main__"}
        for number, source in enumerate(cells(path, "code")):
            exec(compile(source, f"{path.name}, cell {number}", "exec"), space)
        assert not plt.get_fignums(), "a picture was drawn and not shown"
        return space | {"shown": shown}

    return execute


def lines(axes):
    return {line.get_label(): line.get_data() for line in axes.get_lines()}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_sound_and_small(path):
    assert path.stat().st_size < 500_000
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.from_dict(notebook))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_teaches(path):
    text, code = "\n".join(cells(path, "markdown")), "\n".join(cells(path, "code"))
    assert text.startswith("# ")
    assert len(text.split()) > 300
    assert "cs." in code
    # What is claimed is checked.
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code)))


def test_the_spike_response_model(run, capsys):
    (path,) = NOTEBOOKS.glob("*spike_response*")
    start = time.perf_counter()
    space = run(path)
    assert time.perf_counter() - start < 60
    first, intervals, stream, filters, parts, rates = space["shown"]
    assert lines(first[0])["spikes"][0].tolist() == [20.0]
    assert lines(first[1])["potential"][1].max() == pytest.approx(6.0)
    assert lines(intervals[1])["_child0"][1][[0, -1]] == pytest.approx([12.0, 6.0], abs=0.2)
    assert 5 < space["longest"] < 30
    assert lines(stream[1])["$w\\,r\\,e\\,\\tau_{sr}$"][1][0] == pytest.approx(0.8 * 0.25 * np.e * 10)
    assert len(filters[0].get_lines()) == 3
    # The two parts that are drawn make the potential that is drawn.
    a, debt = lines(parts[1])["a: what arrives"][1], lines(parts[1])["the debt"][1]
    assert debt.max() <= 0
    assert np.allclose(a + debt, lines(parts[2])["potential"][1], atol=1e-4)
    # The deeper the debt, the lower the rate.
    ends = [curve[1][-1] for name, curve in lines(rates[0]).items() if name.startswith("scale_ref")]
    assert ends == sorted(ends, reverse=True)
    assert "differ by" in capsys.readouterr().out


def test_watching_a_potential_learn(run, capsys):
    (path,) = NOTEBOOKS.glob("*watching*")
    start = time.perf_counter()
    space = run(path)
    assert time.perf_counter() - start < 60
    before, errors, learning, _, _, after = space["shown"]
    assert not len(lines(before[1])["spikes"][0])
    # The error is reassigned to earlier times: its centre moves to the left.
    on_potential, on_input = (np.abs(axis.get_lines()[0].get_ydata()) for axis in errors[2:])
    centres = [(np.arange(200) * size).sum() / size.sum() for size in (on_potential, on_input)]
    assert centres[1] < centres[0] - 3
    fired = lines(after[1])["spikes"][0]
    assert len(fired) == 3
    assert np.abs(fired - space["wanted"]).max() <= 3
    assert space["losses"][-1] < space["losses"][0] / 20
    time_drawn, round_drawn = learning[0].get_lines()[0].get_data()
    assert (time_drawn[round_drawn == 299]).tolist() == fired.tolist()
    assert "it fires at" in capsys.readouterr().out
