"""Every notebook runs from top to bottom, shows its pictures, and says what is true."""

from __future__ import annotations

import ast
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def cells(path, kind):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


@pytest.fixture
def run(monkeypatch):
    """Run the one notebook of a name in a namespace and return it, with the axes of its pictures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: (plt.gcf().canvas.draw(), shown.append(plt.gcf().axes), plt.close("all")))

    def execute(pattern):
        (path,) = NOTEBOOKS.glob(pattern)
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
    space = run("*spike_response*")
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
    space = run("*watching*")
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


def test_why_did_it_fire(run, capsys):
    space = run("*why_did_it_fire*")
    _, waterfall, later, maps, why_not, silenced, story = space["shown"]
    why, again = space["why"], space["again"]
    # The bars of the waterfall are the parts, and the last is their sum.
    widths = [bar.get_width() for bar in waterfall[0].patches]
    assert sum(widths[:-1]) == pytest.approx(widths[-1], abs=1e-3)
    assert widths[-1] == pytest.approx(why.potential, abs=1e-3)
    u = dict(zip(*lines(later[0])["potential"], strict=True))
    assert (u[why.time], u[again.time]) == pytest.approx((why.potential, again.potential), abs=1e-4)
    assert why.refractory == 0 > again.refractory
    # The map that is drawn is the explanation of the hidden neuron's spike, and the events of the trace lie on it.
    (image,) = maps[2].images
    assert float(image.get_array().sum()) == pytest.approx(space["deeper"].filtered, abs=1e-3)
    circles = [tuple(int(at[0]) for at in line.get_data()) for line in maps[2].get_lines()]
    assert all(image.get_array()[row, column] for column, row in circles)
    assert {(column, row) for _, (row, column, _) in space["trace"].events} >= set(circles)
    # What a silenced neuron takes away is what it was said to contribute, but where others were fired before.
    apart = [np.abs(np.diff(np.asarray(part.get_offsets()))).max() for part in silenced[0].collections]
    assert apart[0] < 1e-3
    assert apart[1] > 1
    by_chance, by_story = np.asarray(story[0].collections[0].get_offsets()).T
    assert by_story.mean() > 1.5 * by_chance.mean()
    assert not space["why_not"].fired
    assert len(why_not[0].collections[0].get_offsets()) == 64
    said = capsys.readouterr().out
    assert f"the {space['needed']} weakest drivers" in said


def test_slayer_against_exact_gradients(run, capsys):
    space = run("*slayer_against*")
    surrogate, ways, reassigned, errors, _, moves, limit = space["shown"]
    assert [line.get_ydata().max() for line in surrogate[0].get_lines()[:3]] == pytest.approx([1.0, 1 / 3, 0.1])
    # Both ways back reach the input before the wanted spike and not after it, and only the exact one changes its sign.
    slayer, exact = (lines(ways[1])[f'gradient="{mode}"'][1] for mode in ("slayer", "exact"))
    assert slayer.min() < 0 == slayer.max()
    assert exact.min() < 0 < exact.max()
    assert not slayer[space["wanted"] + 1 :].any()
    assert not exact[space["wanted"] + 1 :].any()
    assert lines(reassigned[4])["potential_error"][1].tolist() == errors[0].get_lines()[0].get_ydata().tolist()
    comparison = space["comparison"]
    assert comparison[1, "weight"].ratio("slayer") > comparison[3, "weight"].ratio("slayer") > 5
    assert 0.5 < comparison[1, "weight"].cosine("slayer") < 0.95
    foretold, measured = np.asarray(moves[0].collections[0].get_offsets()).T
    assert np.median(measured - foretold) == pytest.approx(space["square"], rel=1e-3)
    # The loop is stable up to the limit, and beyond it grows.
    calm, near, wild = (np.abs(line.get_ydata()) for line in limit[0].get_lines()[:3])
    assert max(calm[-1], near[-1]) < 0.1 < 1 < wild[-1]
    for line in limit[1].get_lines()[:4]:
        shares, ratio = line.get_data()
        assert ratio[shares <= 1].max() < 1 < ratio[shares >= 3].min()
    left_over = space["left_over"]
    shallow = [left_over["shallow refraction", mode].mean() for mode in ("slayer", "exact")]
    assert shallow[1] == pytest.approx(shallow[0], rel=0.2)
    assert (left_over["deep and long", "exact"] < left_over["deep and long", "slayer"]).sum() >= 4
    assert (left_over["beyond the limit", "exact"] > left_over["beyond the limit", "slayer"]).sum() >= 4
    assert "exact is better in" in capsys.readouterr().out


def test_the_limit_of_the_loop_is_where_its_roots_leave_the_unit_circle():
    for tau_ref in (1.0, 4.0, 20.0):
        d, limit = np.exp(-1 / tau_ref), 2 + 2 * np.cosh(1 / tau_ref)
        sizes = [abs(np.roots([1, -(2 - share * limit) * d, d * d])).max() for share in (0.01, 0.5, 0.999, 1.001)]
        assert max(sizes[:3]) < 1 < sizes[3]


def test_from_event_camera_to_class(run, capsys):
    space = run("*event_camera*")
    camera, varied, _, mistakes, known, health = space["shown"]
    # The camera rests between its saccades.
    rates = [sum(patch.get_data().values[at] for patch in camera[1].patches) for at in (10, 20, 30, 40)]
    assert max(rates[1], rates[3]) < min(rates[0], rates[2]) / 5
    assert [text.get_text() for text in varied[0].texts] == [text.get_text() for text in varied[2].texts]
    pictures = [np.asarray(axis.images[0].get_array()) for axis in varied]
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(pictures))
    assert (space["out"].sum(axis=0).argmax(axis=1) != space["labels"]).sum() == len(space["wrong"])
    shares = np.diag(np.asarray(mistakes[0].images[0].get_array()))
    assert np.average(shares, weights=np.bincount(space["labels"])) == pytest.approx(1 - len(space["wrong"]) / 360)
    now, stays = lines(known[1])["right at this time"][1], space["known"]
    assert now[-1] == pytest.approx(len(stays) / 360)
    assert all((stays <= at).mean() * len(stays) / 360 <= now[at] + 1e-9 for at in range(300))
    as_is, moved = space["found"]["varied"]
    assert as_is > 0.85
    assert moved > space["found"]["as they are"][1]
    assert len(health) == 3
    said = capsys.readouterr().out
    assert "weight_scale" in said
    assert "the same answers as before: True" in said


def test_after_training(run, capsys):
    space = run("*after_training*")
    curves, confusion, counts = space["shown"]
    assert [len(line.get_xdata()) for line in curves[1].get_lines()[:2]] == [3, 3]
    shares = np.diag(np.asarray(confusion[0].images[0].get_array()))
    assert np.average(shares, weights=np.bincount(space["labels"])) == pytest.approx(space["score"].accuracy)
    assert (counts[0].get_lines()[7].get_ydata() == space["out"][:, 0, 7].cumsum()).all()
    said = capsys.readouterr().out
    assert "rate before" in said
    assert "the same spikes: True" in said
    assert "hidden weights changed: False" in said


def test_spoken_digits(run, capsys):
    space = run("*spoken_digits*")
    bands, rasters, course, _, waterfall = space["shown"]
    # The upper formant of "ai" rises: the loudest of the upper bands moves up.
    first = np.asarray(bands[0].images[0].get_array())[10:]
    loud = first.max(axis=0) > 0.7
    upper = first.argmax(axis=0)[loud]
    assert upper[-5:].mean() > upper[:5].mean()
    assert len(rasters) == 3
    assert lines(course[0])["feed-forward"][1][-1] == space["courses"]["feed-forward"][-1] > 0.9
    widths = [bar.get_width() for bar in waterfall[0].patches]
    assert sum(widths[:-1]) == pytest.approx(widths[-1], abs=1e-3)
    assert "test recordings are right" in capsys.readouterr().out


def test_what_a_step_costs(run, capsys):
    space = run("*step_costs*")
    times, moved = space["shown"]
    assert len(times[0].get_lines()[0].get_ydata()) == len(space["shares"])
    assert sum(bar.get_width() for bar in moved[0].patches) == pytest.approx(space["total"] / 1e6)
    # The counts of docs/kernels.md, from the kernels themselves.
    page = (NOTEBOOKS.parents[1] / "docs" / "kernels.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| bytes moved on the device"))
    number, unit = row.split("|")[2].split()
    assert unit == "M"
    assert space["total"] / 1e6 == pytest.approx(float(number), rel=0.25)
    assert "no GPU here" in capsys.readouterr().out
