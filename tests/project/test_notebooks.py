"""Every notebook runs from top to bottom and shows its pictures. What it claims, it asserts itself."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def code_of(path):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def lines(axes):
    return {line.get_label(): line.get_data() for line in axes.get_lines()}


def spike_response(space):
    first, _, _, _, parts, _ = space["shown"]
    assert lines(first[1])["potential"][1].max() == pytest.approx(6.0)
    # The two parts that are drawn make the potential that is drawn.
    a, debt = lines(parts[1])["a: what arrives"][1], lines(parts[1])["the debt"][1]
    assert np.allclose(a + debt, lines(parts[2])["potential"][1], atol=1e-4)


def watching(space):
    fired = lines(space["shown"][-1][1])["spikes"][0]
    assert np.abs(fired - space["wanted"]).max() <= 3
    assert space["losses"][-1] < space["losses"][0] / 20


def why_did_it_fire(space):
    widths = [bar.get_width() for bar in space["shown"][1][0].patches]
    assert sum(widths[:-1]) == pytest.approx(widths[-1], abs=1e-3)
    assert widths[-1] == pytest.approx(space["why"].potential, abs=1e-3)
    assert not space["why_not"].fired


def slayer_against(space):
    comparison = space["comparison"]
    assert comparison[1, "weight"].ratio("slayer") > comparison[3, "weight"].ratio("slayer") > 5
    calm, near, wild = (np.abs(line.get_ydata()) for line in space["shown"][-1][0].get_lines()[:3])
    assert max(calm[-1], near[-1]) < 0.1 < 1 < wild[-1]


def event_camera(space):
    assert (space["out"].sum(axis=0).argmax(axis=1) != space["labels"]).sum() == len(space["wrong"])
    assert space["found"]["varied"][1] > space["found"]["as they are"][1]


def step_costs(space):
    # The counts of docs/kernels.md, from the kernels themselves.
    page = (NOTEBOOKS.parents[1] / "docs" / "kernels.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| bytes moved on the device"))
    assert space["total"] / 1e6 == pytest.approx(float(row.split("|")[2].split()[0]), rel=0.25)


MORE = (spike_response, watching, why_did_it_fire, slayer_against, event_camera, step_costs)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: (plt.gcf().canvas.draw(), shown.append(plt.gcf().axes), plt.close("all")))
    space = {"__name__": "__main__"}
    for number, source in enumerate(code_of(path)):
        exec(compile(source, f"{path.name}, cell {number}", "exec"), space)
    assert not plt.get_fignums(), "a picture was drawn and not shown"
    assert shown
    for more in MORE:
        if more.__name__ in path.stem:
            more(space | {"shown": shown})


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_sound_and_small(path):
    assert path.stat().st_size < 500_000
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.from_dict(notebook))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    # What is claimed is checked.
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse("\n".join(code_of(path)))))
