"""The benchmarks of the CPU run, at sizes that mean nothing, and say what they promise."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _beside(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


def files(folder, out, name):
    """Return options for where results go, and make a page with the marks of a script."""
    (folder / "page.md").write_text(f"Before.\n<!-- {name} -->\n<!-- /{name} -->\nAfter.\n")
    return ["--out", str(folder / out), "--docs", str(folder / "page.md")]


def test_kernels(tmp_path, capsys):
    import kernels

    from tests.kernels.test_topics import NAMES, whole_name

    kernels.main(["--columns", "512", "--steps", "20", "--repeats", "1", *files(tmp_path, "k.json", "kernels")])
    found = json.loads((tmp_path / "k.json").read_text())
    names = [row["kernel"] for row in found["rows"]]
    # Not what calls a function that is timed, nor what works on few numbers: sums of an epoch, the loss of the output,
    # a number for each neuron.
    calls = ("adam_all", "sgd_all", "deferred_input_adjoint")
    few = ("fused", "score", "spike_count", "dropout")
    timed = [pair for pair in NAMES if pair[0] not in few and pair[1] not in (*calls, "delay_steps")]
    assert {whole_name(*names) for names in timed} <= set(names)
    assert all(row["share_of_a_copy"] > 0 and row["megabytes"] > 0 for row in found["rows"])
    bound = {row["kernel"]: row["share_of_arithmetic"] for row in found["rows"]}
    assert bound["psp"] is None
    assert all(bound[name] > 0 for name in ("fir", "fir_adjoint", "loihi_adjoint", "dense", "conv_input_adjoint"))
    assert found["machine"]["cores"] >= 1
    printed = capsys.readouterr().out
    page = (tmp_path / "page.md").read_text()
    for text in (printed, page):
        assert all(name in text for name in names)
    assert "`python benchmarks/kernels.py`" in page


def test_parts(tmp_path, capsys):
    import parts

    parts.main(["--works", "mlp8", "--steps", "20", "--repeats", "1", *files(tmp_path, "p.json", "parts")])
    found = json.loads((tmp_path / "p.json").read_text())["works"]["mlp8"]
    assert {"spikes.cpu: pack", "optim.cpu: adam_pieces", "fused.dense_neuron: forward"} <= set(found["kernels"])
    assert all(time > 0 for time, _ in found["kernels"].values())
    assert found["kernels"]["spikes.cpu: pack"][1] >= 20 * 8 * 34 * 34 * 2
    assert found["kernels"]["optim.cpu: adam_pieces"][1] >= 28 * 512 * (34 * 34 * 2 + 10)
    page = (tmp_path / "page.md").read_text()
    assert capsys.readouterr().out.strip() in page
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    assert [row[1].strip() for row in rows[-2:]] == ["Python, waiting", "a step"]
    assert sum(int(row[3]) for row in rows[1:-1]) == pytest.approx(int(rows[-1][3]), abs=len(rows))


def test_crossover(tmp_path, capsys):
    import crossover

    options = ["--small", "--seconds", "0", *files(tmp_path, "c.json", "crossover")]
    assert crossover.main(options) in (0, 1)
    found = json.loads((tmp_path / "c.json").read_text())
    works = [work for source in crossover.SOURCES for work in source(True)]
    assert [row["work"] for row in found["rows"]] == [work.name for work in works]
    for row in found["rows"]:
        assert len(row["walk_ms"]) == len(row["product_ms"]) == len(crossover.ACTIVITIES)
        assert row["loss"] >= 0
        assert not row["busy"][0]
        assert row["busy"][-1] == (row["constant"] <= 1)
    printed, page = capsys.readouterr().out, (tmp_path / "page.md").read_text()
    assert all(work.name in text for work in works for text in (printed, page))
    assert "`python benchmarks/crossover.py`" in page


def test_the_crossing_lies_between_two_activities():
    import crossover

    activities = [0.01, 0.1, 0.4]
    assert crossover.crossing(activities, [1.0, 10.0, 40.0], [2.0, 5.0, 5.0]) == pytest.approx(0.01 * 10**0.5)
    assert crossover.crossing(activities, [1.0, 10.0, 40.0], [50.0, 50.0, 50.0]) is None
    assert crossover.crossing(activities, [1.0, 10.0, 40.0], [0.5, 0.5, 0.5]) == 0
    # Where noise lets it cross twice, the last one counts.
    assert crossover.crossing(activities, [3.0, 4.0, 16.0], [2.0, 8.0, 8.0]) == pytest.approx(0.2)


def test_the_choice_that_loses_is_reported(tmp_path, monkeypatch):
    import crossover
    from crossover_dense import Ways, Work

    def wrong(rate):
        calls = []
        return Ways(lambda: sum(range(200_000)), lambda: calls.append(rate), busy=False)

    monkeypatch.setattr(crossover, "SOURCES", [lambda small: [Work("a work", 0.5, wrong)]])
    assert crossover.main(["--seconds", "0", *files(tmp_path, "c.json", "crossover")]) == 1


def test_recording(tmp_path, capsys):
    import recording

    small = ["--steps", "20", "--batch", "1", "--rounds", "1", "--only", "mlp", "--out", str(tmp_path / "r.json")]
    recording.main(small)
    found = json.loads((tmp_path / "r.json").read_text())["mlp"]
    assert all(found[f"{kind}_ms"] > 0 for kind in ("free", "closed", "one_neuron", "everything", "explain"))
    assert found["explain_sum_error"] < 1e-4
    assert "one_neuron_over_closed" in capsys.readouterr().out


def test_scaling(tmp_path, capsys):
    import scaling

    scaling.main(["--small", "--only", "T", *files(tmp_path, "s.json", "scaling")])
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["T"]["sizes"] == [20, 40]
    assert all(v > 0 for v in found["T"]["seconds"])
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "exponents: time" in capsys.readouterr().out
    page = (tmp_path / "page.md").read_text()
    assert "](s.png)" in page
    assert f"| 20 to 40 | {1e3 * found['T']['seconds'][0]:.1f} to " in " ".join(page.split())


def test_the_exponent_is_that_of_the_upper_half():
    import scaling

    sizes = [1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0]
    values = [5.0, 5.0, 5.0, *(3 * np.array(sizes[3:]) ** 0.8)]
    assert scaling.exponent(sizes, values) == pytest.approx((0.8, 0))
    assert scaling.exponent([2.0, 4.0], [3.0, 12.0]) == pytest.approx((2, 0))
    # Of three points at 1, e, e^2 whose logarithms are 0, 1.5, 2: the slope is 1, the residues are -1/6, 1/3, -1/6.
    slope, error = scaling.exponent([1.0, np.e, np.e**2], [1.0, np.exp(1.5), np.exp(2.0)])
    assert slope == pytest.approx(1)
    assert error == pytest.approx(np.sqrt((1 / 36 + 1 / 9 + 1 / 36) / 2))


def test_cliffs(tmp_path, capsys, monkeypatch):
    import cliffs

    small = {"silence": [cliffs.changed(cliffs.Dense(steps=20, inputs=60, hidden=8), "no spikes", spikes="zeros")]}
    conv = cliffs.Conv(steps=20, batch=1, side=(6, 6), pool=2)
    small["types"] = [cliffs.changed(conv, "float64", dtype="float64")]
    monkeypatch.setattr(cliffs, "cases", lambda: small)
    cliffs.main(["--seconds", "0", *files(tmp_path, "c.json", "cliffs")])
    rows = json.loads((tmp_path / "c.json").read_text())["rows"]
    assert [row["case"] for row in rows] == ["no spikes", "float64"]
    assert rows[0]["forward_work"] < 1
    assert rows[1]["training_work"] == 2
    for row in rows:
        times = row["training_ms"] / row["neighbour_training_ms"]
        assert row["training_ratio"] == pytest.approx(times / row["training_work"])
    page = (tmp_path / "page.md").read_text()
    assert "no spikes" in capsys.readouterr().out
    assert "2 cases, " in page
    assert "`python benchmarks/cliffs.py`" in page


def test_all_cases_of_cliffs_differ_from_their_neighbours():
    import cliffs

    cases = [case for group in cliffs.cases().values() for case in group]
    assert len({case.name for case in cases}) == len(cases) > 50
    assert all(case.odd != case.smooth for case in cases)


def test_the_work_of_a_dense_layer():
    import cliffs

    setup = cliffs.Dense(steps=10, batch=1, inputs=4, hidden=3, spikes="zeros")
    # Bins, neurons and the byte that each writes; then neurons, their five numbers, gradients of weights and input.
    forward = 2 * 40 + 10 * 30 + 2 * 30 + 10 * 100 + 130
    backward = 12 * 130 + 4 * 5 * 130 + 4 * (4 * 3 + 3 * 10) + 30 * (10 / 4 + 4)
    assert cliffs.work(setup, setup.input()) == (forward, forward + backward)
    start = cliffs.Dense(steps=160, batch=1, inputs=4, spikes="start", rate=1.1).input()
    assert start[:2].all()
    assert not start[2:].any()


def test_event_files(tmp_path, capsys):
    import event_files

    event_files.main(["--events", "20000", "--repeats", "1", "--folder", str(tmp_path)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == event_files.SUFFIXES
    assert all(float(number) > 0 for row in rows for number in row[1:])
    assert not list(tmp_path.iterdir())


def test_latency(tmp_path, capsys, monkeypatch):
    import latency

    # Whether bars are met, this machine does not say while it runs tests.
    monkeypatch.setattr(latency, "BARS", {name: bar._replace(seconds=1e9) for name, bar in latency.BARS.items()})
    only = ["import", "explain", "launch", "read", "stream-cnn"]
    assert latency.main(["--only", *only, "--repeats", "1", "--out", str(tmp_path / "l.json")]) == 0
    found = json.loads((tmp_path / "l.json").read_text())
    assert list(found) == only
    assert all(seconds > 0 for seconds in found.values())
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["what", "bar", "measured", "met"]
    assert [row.split()[-1] for row in rows] == 5 * ["yes"]
    assert all(name in latency.__doc__ for name in latency.BARS)


def test_latency_says_what_is_missed_and_what_is_missing(capsys, monkeypatch):
    import latency

    def missing(repeats):
        raise latency.Missing("no Chromium")

    bars = {"a": (0.002, 0.001), "b": (3e-6, 4e-6)}
    bars = {name: latency.Bar(name, bar, lambda _, took=took: took, 1) for name, (bar, took) in bars.items()}
    monkeypatch.setattr(latency, "BARS", bars | {"c": latency.Bar("c", 60.0, missing, 1)})
    assert latency.main([]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["a", "2", "ms", "1", "ms", "yes"],
        ["b", "3", "us", "4", "us", "no"],
        ["c", "60", "s", "-", "no", "Chromium"],
    ]
    assert latency.main(["--only", "a", "c"]) == 0


def test_files_of_a_step(capsys, monkeypatch):
    import files_of_a_step

    assert files_of_a_step.files_called(lambda: cs.Tensor([1.0])) == ["tape.py", "backend.py", "check.py"]
    for limit, code in ((1000, 0), (1, 1)):
        monkeypatch.setattr(files_of_a_step, "LIMITS", {"MLP": limit})
        assert files_of_a_step.main([]) == code
        head, *files = capsys.readouterr().out.split("\n  ")
        assert head == f"MLP: {len(files)} files, limit {limit}"
        assert {"tape.py", "loss/spike_count.py", "optim/optimizers.py", "kernels/dense/cpu.py"} <= set(
            map(str.strip, files)
        )


def test_step_times(capfd):
    import step_times

    step_times.main([str(BENCHMARKS.parent), "--rounds=2", "--block=1", "--steps=20", "--batch=1"])
    head, *rows = (line.split() for line in capfd.readouterr().out.splitlines())
    assert head == ["this,", "ms", "other,", "ms", "ratio"]
    whats = [name + what for name in ("MLP", "CNN") for what in (" median", " lower quartile")]
    assert [" ".join(row[:-3]) for row in rows] == whats
    for row in rows:
        mine, other, ratio = map(float, row[-3:])
        assert ratio == pytest.approx(mine / other, rel=0.1)


def test_step_times_refuses_a_folder_without_the_package(tmp_path, capfd):
    import step_times

    with pytest.raises(RuntimeError, match="ended with 1"):
        step_times.main([str(tmp_path), "--only=MLP", "--rounds=1", "--steps=20", "--batch=1"])
    assert f"step_times: {tmp_path} has no package" in capfd.readouterr().err


def test_the_page_on_performance_has_the_figures_of_the_results():
    import page
    from comparison import report

    def found(name):
        return json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())

    text = page.PERFORMANCE.read_text()
    begin, end = page.marks("peers")
    bars = "![Times of a training step, and peaks of memory, as bars](../benchmarks/results/peers.png)"
    lines = "![Time of a training step against activity, of each library](../benchmarks/results/peers_activity.png)"
    shown = "\n".join([bars, "", lines, "", *report.text(found("peers") | {"scaling": found("scaling")})]).strip()
    assert text.split(begin)[1].split(end)[0].strip() == shown
    assert re.findall(r"^\| `(\w+)` ", text, re.MULTILINE) == [row["kernel"] for row in found("kernels")["rows"]]
    seconds = found("scaling")["rate"]["seconds"]
    assert f"{1e3 * seconds[0]:.1f} ms" in text
    assert f"{1e3 * seconds[-1]:.1f} ms" in text


def test_sounds(capsys):
    import sounds

    sounds.main(["--waves", "2"])
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["mel", "gammatone"]
    assert all(float(number) > 0 for row in rows for number in row.split()[1:])
