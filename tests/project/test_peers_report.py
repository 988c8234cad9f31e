"""What benchmarks/peers.py writes: aims, tables, charts, the page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from comparison import aims, charts, report, works  # noqa: E402
from page import fill, marks, table  # noqa: E402

BEGIN, END = marks("peers")


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "performance.md"
    path.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    return path


def row(peer, step, times=None, rates=(0.011, 0.05), **more):
    parts = {"step": step, "forward": step / 2, "backward": step / 3, "optimizer": step / 6, "seconds": [step] * 3}
    return {
        "peer": peer,
        "form": "a form",
        "rates": list(rates),
        **parts,
        **({"times": times} if times else {}),
        **more,
    }


def work(*rows, **checked):
    return {"rows": list(rows), "gradients": {"error": 1e-7, "dtype": "float32", **checked}}


def of_aims(**found):
    return [(r["aim"], r["found"], r["met"]) for r in aims.aims(found)]


def test_aims_of_times():
    rows = [row("ours", 0.01), row("norse", 0.2, 20.0), row("sinabs", 0.1, 11.9), row("spyx", 0.05, 6.0)]
    found = {"mlp8": work(*rows), "cnn8-initial": work(row("ours", 1.0), row("norse", 4.0, 4.0))}
    assert of_aims(works=found) == [
        ("12 times", "11.9 times", False),
        ("6 times", "6.0 times", True),
        ("4 times", "4.0 times", True),
    ]
    assert [r["what"].split(": ")[1] for r in aims.aims({"works": found})] == [
        "faster than sinabs, the fastest of Norse, sinabs",
        "faster than Spyx, the only peer measured",
        "faster than Norse, the only peer measured",
    ]
    assert aims.aims({"works": {}}) == []


def test_the_aim_at_every_activity_is_that_of_the_worst():
    found = {
        "cnn8-2": work(row("ours", 0.1), row("norse", 0.5, 5.0), row("spyx", 0.3, 3.0)),
        "cnn8-60": work(row("ours", 0.1), row("norse", 0.41, 4.1), row("lava", 0.9, 9.0)),
    }
    assert of_aims(works=found) == [
        ("4 times", "4.1 times, than Norse at 60 %", True),
        ("4 times", "3.0 times, than Spyx at 2 %", False),
    ]
    torch, jax = (r["what"].split(", ", 2)[2] for r in aims.aims({"works": found}))
    assert torch == "2, 60 % of steps: faster than the fastest of lava-dl, Norse"
    assert jax == "2 % of steps: faster than the only peer measured"


def test_aims_of_memory():
    rows = [row("ours", 1.0, bytes=10), row("ours", 1.0, 1.0, bytes=5), row("norse", 1.0, bytes=29)]
    found = {"cnn8": work(*rows, row("sinabs", 1.0, bytes=50), {"peer": "spyx", "problem": "gone"})}
    assert of_aims(works=found) == [("3 times", "2.9 times", False)]
    what = aims.aims({"works": found})[0]["what"]
    assert what.endswith("less memory than Norse (a form), the leanest of Norse, sinabs")


def test_aims_of_cuslayer_alone():
    found = {
        "stream": {"seconds": 40e-6},
        "inference": {"seconds": [0.002, 0.002, 0.9]},
        "loading": {
            "batch": 32,
            "seconds": {"batch": [0.011], "step_from_loader": [0.022], "step_from_memory": [0.020]},
        },
    }
    scaling = {
        "T": {"sizes": [100, 30000], "exponent_of_seconds": 1.004},
        "batch": {"sizes": [1, 128], "exponent_of_seconds": 1.02},
        "width": {"sizes": [1, 128], "exponent_of_seconds": 2.0},
    }
    assert of_aims(works=found, scaling=scaling) == [
        ("1.0", "1.00", True),
        ("1.0", "1.02", False),
        ("100 us", "40.0 us", True),
        ("3 ms", "2.00 ms", True),
        ("10 ms", "11.00 ms", False),
        ("5.5 ms", "2.00 ms", True),
    ]
    assert "time steps, 100 to 30000" in aims.aims({"works": {}, "scaling": scaling})[0]["what"]


def test_the_table_of_a_work():
    gone = {"peer": "spyx", "form": "plain", "problem": "ImportError: no spyx"}
    found = work(row("ours", 0.01), row("norse", 0.2, 20.0), row("lava", 12.0, 1200.0, seconds=[12.0]), gone)
    lines = report.training("mlp8", found)
    assert lines[0] == (
        "**MLP 2312-512-10, batch 8**, a training step. Gradients equal those of the plain matrix path to 1e-07"
        " (float32). Medians of 3 steps. A step of lava-dl was timed once."
    )
    assert lines[4].split("|")[3:9] == [
        "      10.0 ",
        "     5.0 ",
        "      3.3 ",
        "       1.7 ",
        "               ",
        "            1.1 5.0 ",
    ]
    assert "20.0x" in lines[5]
    assert lines[-1] == "- Spyx (plain): not run: ImportError: no spyx"
    apart = report.training("mlp8", work(row("ours", 0.01), default=3e-4))[0]
    assert apart.endswith("to 1e-07 (float32); with potentials kept as by default, to 3e-04.")


def test_the_table_over_activities():
    gone = {"peer": "brainevent", "form": "events", "problem": "no convolutions"}
    ends = {"rates": (0.0055, 0.005)}
    found = {
        "cnn8": work(row("ours", 0.1), row("lava", 4.0, 40.0)),
        "cnn8-0.5": work(row("ours", 0.1, **ends), row("norse", 0.5, 5.0, **ends), gone),
        "cnn8-10": work(row("ours", 0.2, rates=(0.1, 0.095)), row("norse", 0.5, 2.5, rates=(0.1, 0.095)), gone),
        "cnn8-60": work(
            row("ours", 0.4, rates=(0.6, 0.6)),
            row("norse", 0.6, 1.5, rates=(0.66, 0.6)),
            row("lava", 5.0, 12.5, rates=(0.6, 0.6)),
            gone,
            dtype="float64",
            error=3e-7,
        ),
    }
    lines = report.sweep("cnn8", found)
    assert lines[0] == (
        "**CNN 16c5-2a-32c3-2a-64c3-10, batch 8, by activity**, a training step in ms, and how many times cuslayer's."
        " Gradients equal those of the plain matrix path to 3e-07 (float32 and float64). Medians of 3 steps."
        " Random spikes; cuslayer's layers, pooling too, fire 0.95 to 1.10 times as often as the input, the peers'"
        " layers 1.00 to 1.10 times as often as cuslayer's."
        " lava-dl takes as long as at the trained activity within 25 %."
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:7]]
    assert cells[0] == ["library", "form", "0.5 %", "10 %", "60 %"]
    assert cells[2:] == [
        ["cuslayer", "a form", "100.0", "200.0", "400.0"],
        ["Norse", "a form", "500.0 (5.0x)", "500.0 (2.5x)", "600.0 (1.5x)"],
        ["lava-dl", "a form", "", "", "5000.0 (12.5x)"],
    ]
    assert lines[7:] == ["", "- brainevent (events): not run: no convolutions"]
    assert report.sweep("mlp8", found) == []


def test_the_table_of_memory_begins_with_the_leanest():
    found = work(
        row("ours", 1.0, bytes=30_000_000), row("norse", 1.0, bytes=90_000_000), row("ours", 1.0, bytes=10_000_000)
    )
    rows = [[cell.strip() for cell in line.split("|")[3:5]] for line in report.memory("cnn8", found)[4:]]
    assert rows == [["10", "0.3x"], ["30", "1.0x"], ["90", "3.0x"]]
    assert report.memory("cnn8", work(row("ours", 1.0))) == []


def test_the_rates_of_the_peers_are_said():
    found = {"mlp8": work(row("ours", 1.0), row("norse", 1.0, rates=(0.0099, 0.06))), "mlp32": work(row("ours", 1.0))}
    assert report.rates(found)[2:] == ["- MLP 2312-512-10, batch 8: 0.90 to 1.20", ""]
    assert report.rates({}) == []


def test_a_table():
    assert table(["a", "bcd"], [["longer", "1"]], 1) == [
        "| a      | bcd |",
        "| ------ | --: |",
        "| longer |   1 |",
    ]


def test_the_page_is_changed_between_its_marks_alone(page, tmp_path):
    for line in ("first", "second"):
        fill(page, "peers", [line], tmp_path / "results" / "chart.png", "A chart")
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith(f"second\n\n{END}\n\nAfter.\n")
    assert "](results/chart.png)" in text
    assert "old" not in text
    assert "first" not in text
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no <!-- peers -->"):
        fill(page, "peers", [], None, "")
    assert page.read_text() == "nothing"


def test_the_bars(tmp_path):
    gone = {"peer": "spyx", "problem": "gone"}
    found = {"works": {"mlp8": work(row("norse", 0.2), row("ours", 0.01), gone)}}
    ((title, unit, drawn),) = charts.panels(found)
    assert title.endswith("a training step")
    assert unit == "ms"
    assert drawn == [("cuslayer\na form", 10.0, True), ("Norse\na form", 200.0, False)]
    path = charts.bars(tmp_path / "new" / "chart.png", found)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert charts.bars(path, {"works": {}}) is None
    found["works"]["mlp32"] = work(row("ours", 0.01, bytes=5e6))
    assert charts.panels(found)[-1][1:] == ("MB", [("cuslayer\na form", 5.0, True)])


def test_the_chart_over_activities(tmp_path):
    found = {
        "works": {
            "mlp8-0.5": work(row("ours", 0.01), row("spyx", 0.3), row("spyx", 0.1)),
            "mlp8-10": work(row("ours", 0.02), {"peer": "spyx", "form": "a", "problem": "gone"}),
        }
    }
    assert charts.lines(found, "mlp8") == {"ours": [(0.5, 10.0), (10.0, 20.0)], "spyx": [(0.5, 100.0)]}
    path = charts.activity(tmp_path / "chart.png", found)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert charts.activity(path, {"works": {}}) is None
    assert set(charts._LINES) == set(works.NAMES)
    assert len(set(charts._LINES.values())) == len(works.NAMES)
