"""benchmarks/peers.py at sizes that mean nothing, with no peer: what it starts, measures, refuses and writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny import write_folder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import peers  # noqa: E402
from comparison import environment, recordings, report, worker, works  # noqa: E402
from comparison.models import ours, stages  # noqa: E402
from comparison.processes import NotRun, Process  # noqa: E402
from page import fill, marks, table  # noqa: E402

BEGIN, END = marks("peers")
LAYERS = {
    "dense": [["dense", 6], ["dense", 10]],
    "conv": [["conv", 3, 5, 1], ["pool", 2], ["conv", 4, 3, 1], ["dense", 10]],
}
STEPS, BATCH = 40, 3


@pytest.fixture
def folder(tmp_path):
    return str(write_folder(tmp_path / "data", events=4000, duration=float(STEPS)))


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "performance.md"
    path.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    return path


def network(kind, folder):
    x, labels = next(recordings.batches(folder, BATCH, STEPS))
    made = ours.Network({"layers": LAYERS[kind]}, "events", x, labels)
    made.settle()
    return made


class Fake:
    """A process that answers at once, and says which one was asked for a step."""

    def __init__(self, model, asked, error=1e-7, fails=()):
        self.model, self.asked, self.error, self.fails = model, asked, error, fails

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, do, **arguments):
        if (self.model, do) in self.fails:
            raise NotRun(self.model, f"no {do}")
        if do == "step":
            self.asked.append(self.model)
            # A warm-up that took long would show in the medians.
            seconds = (
                9.0 if self.asked.count(self.model) == 1 else {"ours": 0.01, "norse": 0.2, "spyx": 0.1}[self.model]
            )
            return {"forward": seconds, "backward": 2 * seconds, "optimizer": seconds}
        rates = arguments.get("rates") or [0.01, 0.05]
        return {
            "build": {"rates": rates, "form": "a form"},
            "check": {"error": self.error, "dtype": "float32"},
            "peak": {"bytes": {"ours": 10, "norse": 25, "spyx": 40}[self.model]},
        }[do]


@pytest.fixture
def compare(monkeypatch, folder, tmp_path):
    """Return a function that gives a Comparison of fakes, and the list of who was asked for a step."""
    work = works.Work("Tiny", LAYERS["dense"], BATCH, (("norse", "plain"), ("spyx", "hoisted")))
    monkeypatch.setattr(peers, "TRAINING", {"mlp8": work})
    monkeypatch.setattr(works, "MEMORY", ("mlp8",))
    monkeypatch.setattr(environment, "install", lambda *_: {})

    def make(**options):
        asked = []
        parsed = peers.arguments_of(["--data", folder, "--steps", str(STEPS), "--repeats", "2"])
        comparison = peers.Comparison(parsed, tmp_path)
        monkeypatch.setattr(comparison, "start", lambda name: Fake(name, asked, **options))
        return comparison, asked

    return make


def test_steps_in_turn_and_the_first_does_not_count(compare):
    comparison, asked = compare()
    found = comparison.training("mlp8")
    assert asked == ["ours", "norse"] * 3 + ["ours", "spyx"] * 3
    mine, norse, spyx = found["rows"]
    assert (mine["peer"], norse["peer"], spyx["peer"]) == ("ours", "norse", "spyx")
    assert norse["seconds"] == pytest.approx([0.8, 0.8])
    assert norse["backward"] == pytest.approx(0.4)
    assert (norse["times"], spyx["times"]) == (pytest.approx(20), pytest.approx(10))
    assert norse["rates"] == mine["rates"]


def test_wrong_gradients_are_not_timed(compare):
    comparison, asked = compare(error=2e-5)
    with pytest.raises(SystemExit, match="gradients differ"):
        comparison.training("mlp8")
    assert asked == []


def test_a_peer_that_fails_is_written_down_and_cuslayer_failing_is_an_error(compare, capsys):
    comparison, _ = compare(fails=[("norse", "step"), ("spyx", "peak")])
    rows = comparison.training("mlp8")["rows"]
    assert [row.get("problem") for row in rows] == [None, "no step", None]
    assert [row.get("problem") for row in comparison.memory()["works"]["mlp8"]] == [None, None, "no peak"]
    assert "not run: no step" in capsys.readouterr().out
    for failure in (("ours", "step"), ("ours", "check")):
        with pytest.raises(NotRun, match=f"no {failure[1]}"):
            compare(fails=[failure])[0].training("mlp8")
    with pytest.raises(NotRun, match="no peak"):
        compare(fails=[("ours", "peak")])[0].memory()


def test_the_whole_script_without_a_peer(monkeypatch, folder, page, tmp_path, capsys):
    work = works.Work("Tiny", LAYERS["dense"], BATCH, (("absent", "plain"),))
    for module in (peers, report, works):
        monkeypatch.setattr(module, "TRAINING", {"mlp8": work})
        monkeypatch.setattr(module, "NAMES", {"ours": "cuslayer", "absent": "Absent"})
    monkeypatch.setattr(works, "MEMORY", ("mlp8",))
    monkeypatch.setattr(environment, "install", lambda *_: {})
    monkeypatch.setattr(environment, "python_of", lambda _: Path(sys.executable))
    out = tmp_path / "new" / "peers.json"
    given = ["--data", folder, "--steps", str(STEPS), "--repeats", "2", "--out", str(out), "--docs", str(page)]
    measured = ["mlp8", "memory"] if sys.platform == "linux" else ["mlp8"]
    peers.main([*given, "--works", *measured])
    found = json.loads(out.read_text())["works"]
    mine, absent = found["mlp8"]["rows"]
    assert 0 < mine["forward"] < mine["step"]
    assert all(0 < rate < 1 for rate in mine["rates"])
    assert absent["problem"] == "ModuleNotFoundError: No module named 'comparison.models.absent'"
    assert found["mlp8"]["gradients"]["error"] <= 1e-5
    if "memory" in found:
        assert 0 < found["memory"]["works"]["mlp8"][0]["bytes"] < 1e9
    run = found["mlp8"]["run"]
    assert run["versions"]["cuslayer"] == run["machine"]["cuslayer"]
    assert run["command"].startswith("python benchmarks/peers.py --data data --steps 40 ")
    assert str(tmp_path) not in out.read_text() + page.read_text()
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "](new/peers.png)" in text
    assert "- Absent (plain): not run: ModuleNotFoundError" in text
    assert "**Tiny**, a training step" in capsys.readouterr().out


def test_works_measured_before_are_kept(monkeypatch, compare, page, tmp_path):
    out = tmp_path / "peers.json"
    monkeypatch.setattr(report, "TRAINING", peers.TRAINING)
    monkeypatch.setattr(works, "TRAINING", works.TRAINING | peers.TRAINING)
    monkeypatch.setattr(peers.Comparison, "start", lambda self, name: Fake(name, []))
    for name in ("mlp8", "memory"):
        peers.main(["--repeats", "2", "--out", str(out), "--docs", str(page), "--works", name])
    assert set(json.loads(out.read_text())["works"]) == {"mlp8", "memory"}


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_are_those_of_the_matrix_path(kind, folder):
    made = network(kind, folder)
    weights = [p.numpy().copy() for p in made.net.parameters()]
    found = ours.check(made)
    assert found["error"] <= recordings.GRADIENT_TOLERANCE
    assert found["dtype"] == "float32"
    for p, w in zip(made.net.parameters(), weights, strict=True):
        assert p.data.dtype == np.float32
        assert (p.data == w).all()
    # The check sees a gradient that is off by a thousandth, in either type.
    backward = made.gradients
    made.gradients = lambda output, dtype: [
        g * (1.001 if output.__code__.co_argcount == 0 else 1.0) for g in backward(output, dtype)
    ]
    found = ours.check(made)
    assert found["error"] == pytest.approx(1e-3, rel=0.1)
    assert found["dtype"] == "float64"


def test_nothing_is_learned_once_it_has_settled(folder):
    made = network("dense", folder)
    before = made.rates()
    for _ in range(5):
        made.train()
    assert made.rates() == pytest.approx(before, rel=0.02)


def test_inference_and_loading(folder):
    made = network("dense", folder)
    seconds = ours.inference(made, folder, STEPS, 9)["seconds"]
    assert len(seconds) == 9
    assert min(seconds) > 0
    found = ours.loading(made, folder, STEPS, 2, 2)["seconds"]
    # Six recordings are three batches of two.
    assert {name: len(values) for name, values in found.items()} == {
        "batch": 6,
        "step_from_loader": 6,
        "step_from_memory": 6,
    }


def test_the_networks_are_those_of_the_examples():
    shapes = stages.shapes(works.TRAINING["cnn8"].layers, (34, 34, 2))
    assert [out for _, out in shapes] == [(32, 32, 16), (16, 16, 16), (16, 16, 32), (8, 8, 32), (8, 8, 64), (10,)]
    spikes = np.zeros((STEPS, 1, 34, 34, 2), bool)
    made = {name: ours.Network({"layers": w.layers}, "events", spikes, [0]).net for name, w in works.TRAINING.items()}
    sizes = {name: [p.shape for p in net.parameters()] for name, net in made.items()}
    assert sizes["mlp8"] == sizes["mlp32"] == [(2312, 512), (512, 10)]
    assert sizes["cnn8"] == [(5, 5, 2, 16), (3, 3, 16, 32), (3, 3, 32, 64), (4096, 10)]
    assert [np.abs(p.numpy()).max() for p in made["cnn8"].parameters()] == pytest.approx(
        [7 / 50**0.5, 3 / 144**0.5, 3 / 288**0.5, 2 / 64], rel=0.01
    )


def test_weights_are_scaled_until_the_rates_are_as_wanted():
    gains = [0.01, 1.0, 300.0]
    layers = [["conv", 4, 3, 0], ["pool", 2], ["dense", 10]]

    def rates():
        first = min(0.9, 0.1 * gains[0])
        return [first, first, min(0.9, first * gains[2])]

    def scale(k, factor):
        gains[k] *= factor

    stages.calibrate(layers, [0.02, 0.5, 0.005], rates, scale)
    assert rates()[0] == pytest.approx(0.02, rel=stages.TOLERANCE)
    assert rates()[2] == pytest.approx(0.005, rel=stages.TOLERANCE)
    assert gains[1] == 1.0


def test_what_the_outputs_shall_do():
    assert stages.wanted(np.array([1, 0]), 2).tolist() == [
        pytest.approx([10 / 300, 60 / 300]),
        pytest.approx([60 / 300, 10 / 300]),
    ]


def test_a_short_step_is_taken_once_before_it_is_timed():
    class Network:
        trained = 0
        seconds = 0.1

        def train(self):
            self.trained += 1

        def step(self):
            return {"forward": self.seconds}

    one = worker.Worker("ours")
    one.network = made = Network()
    one.step()
    assert made.trained == 1
    made.seconds = 5.0
    one.step()
    one.step()
    assert made.trained == 2


def test_a_process_says_what_went_wrong(tmp_path):
    process = Process(Path(sys.executable), "absent", 1, tmp_path / "log")
    with process, pytest.raises(NotRun, match=r"^ModuleNotFoundError: No module named 'comparison.models.absent'$"):
        process.ask("hello")
    with Process(Path(sys.executable), "absent", 1, tmp_path / "log") as process:
        process.process.kill()
        process.process.wait()
        (tmp_path / "log").write_text("a line\nout of memory\n")
        with pytest.raises(NotRun, match=r"^ended with .*: out of memory$"):
            process.ask("hello")


def test_a_peer_that_cannot_be_installed_keeps_no_other_out(monkeypatch, tmp_path):
    asked = []

    def run(command):
        asked.append(command)
        if "norse" in command:
            raise RuntimeError("ERROR: no norse")

    monkeypatch.setattr(environment, "_run", run)
    environment.python_of(tmp_path).parent.mkdir()
    environment.python_of(tmp_path).touch()
    wanted = {"norse": "not installed: ERROR: no norse"}
    assert environment.install(tmp_path, ["norse", "lava"]) == wanted
    assert [command[3:] for command in asked[-2:]] == [
        ["install", "--quiet", *words] for words in environment.REQUIREMENTS["lava"]
    ]
    before = len(asked)
    assert environment.install(tmp_path, ["norse", "lava"]) == wanted
    assert len(asked) == before + 1


def test_every_peer_has_a_model_and_requirements():
    models = {path.stem for path in (BENCHMARKS / "comparison" / "models").glob("*.py")}
    assert set(works.NAMES) <= models
    assert set(works.NAMES) - {"ours"} == set(environment.REQUIREMENTS)
    for work in works.TRAINING.values():
        assert {peer for peer, _ in work.peers} == {"ours", *environment.REQUIREMENTS}
        for peer, form in work.peers:
            assert f'"{form}"' in (BENCHMARKS / "comparison" / "models" / f"{peer}.py").read_text()


def test_the_embedded_digits_become_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(recordings, "_DIGITS", {"train": 4, "test": 1})
    folder = recordings.folder_of(None, tmp_path)
    x, labels = next(recordings.batches(folder, 32, 50))
    assert x.shape == (50, 4, 34, 34, 2)
    assert sorted(labels) == sorted(recordings.training_set(folder).labels)
    assert recordings.folder_of(folder, tmp_path / "other") == folder


def row(peer, step, times=None):
    parts = {"step": step, "forward": step / 2, "backward": step / 3, "optimizer": step / 6}
    return {"peer": peer, "form": "a form", "rates": [0.011, 0.05], **parts, **({"times": times} if times else {})}


PEAKS = [("ours", 20), ("ours", 10), ("norse", 31), ("sinabs", 50)]


def test_aims():
    found = {
        "mlp8": {"rows": [row("ours", 0.01), row("norse", 0.2, 20.0), row("sinabs", 0.1, 9.9), row("spyx", 0.05, 5.0)]},
        "memory": {"works": {"cnn8": [{"peer": p, "form": "a", "bytes": n} for p, n in PEAKS]}},
        "inference": {"seconds": [0.002, 0.002, 0.9]},
        "loading": {
            "batch": 32,
            "seconds": {"batch": [0.011], "step_from_loader": [0.022], "step_from_memory": [0.020]},
        },
    }
    rows = works.aims(found)
    assert [(r["aim"], r["found"], r["met"]) for r in rows] == [
        ("4 times", "5.0 times", True),
        ("10 times", "9.9 times", False),
        ("3 times", "3.1 times", True),
        ("3 ms", "2.00 ms", True),
        ("10 ms", "11.00 ms", False),
        ("5.5 ms", "2.00 ms", True),
    ]
    assert [row["what"].split(": ")[1] for row in rows[:3]] == [
        "faster than Spyx, the fastest of Norse, sinabs, Spyx",
        "faster than sinabs, the fastest of Norse, sinabs",
        "less memory (a) than Norse (a), the leanest of Norse, sinabs",
    ]
    alone = {"works": {"cnn8": [{"peer": p, "form": "a", "bytes": n} for p, n in PEAKS[:3]]}}
    assert works.aims({"memory": alone})[0]["what"].endswith("than Norse (a), the only peer measured")
    assert works.aims({}) == []


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


def test_the_chart(tmp_path):
    found = {"works": {"mlp8": {"rows": [row("norse", 0.2), row("ours", 0.01), {"peer": "spyx", "problem": "gone"}]}}}
    ((title, unit, drawn),) = report.bars(found)
    assert title.endswith("a training step")
    assert unit == "ms"
    assert drawn == [("cuslayer\na form", 10.0, True), ("Norse\na form", 200.0, False)]
    path = report.draw(tmp_path / "new" / "chart.png", found)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert report.draw(path, {"works": {}}) is None


def test_the_projects_page_has_the_marks():
    text = (BENCHMARKS.parent / "docs" / "performance.md").read_text()
    for name in ("peers", "scaling", "kernels"):
        assert [text.count(mark) for mark in marks(name)] == [1, 1]
