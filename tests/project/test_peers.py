"""benchmarks/peers.py at sizes that mean nothing, with no peer: what it starts, measures, refuses and writes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.support.tiny import write_folder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import peers  # noqa: E402
from comparison import aims, charts, environment, report, works  # noqa: E402
from comparison.processes import NotRun, Process  # noqa: E402
from page import marks  # noqa: E402

BEGIN, END = marks("peers")
LAYERS = {"dense": [["dense", 6], ["dense", 10]]}
STEPS, BATCH = 40, 3


@pytest.fixture
def folder(tmp_path):
    return str(write_folder(tmp_path / "data", events=4000, duration=float(STEPS)))


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "performance.md"
    path.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    return path


class Fake:
    """A process that answers at once, and says which one was asked for a step."""

    def __init__(self, model, asked, error=1e-7, fails=(), norse=0.2):
        self.model, self.asked, self.error, self.fails, self.norse = model, asked, error, fails, norse

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, do, **arguments):
        if (self.model, do) in self.fails:
            raise NotRun(self.model, f"no {do}")
        if do == "build":
            assert {"layers", "batch", "threads", "initial"} == set(arguments["work"])
        if do == "step":
            self.asked.append(self.model)
            # A warm-up that counts would show in the medians.
            first = self.asked.count(self.model) == 1
            seconds = 2.0 if first else {"ours": 0.01, "norse": self.norse, "spyx": 0.1}[self.model]
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
    work = works.Work("Tiny", LAYERS["dense"], BATCH, (("norse", "plain"), ("spyx", "hoisted")), 2)
    monkeypatch.setattr(peers, "TRAINING", {"mlp8": work})
    monkeypatch.setattr(environment, "install", lambda *_: {})

    def make(**options):
        asked = []
        parsed = peers.arguments_of(["--data", folder, "--steps", str(STEPS)])
        comparison = peers.Comparison(parsed, tmp_path, {"works": {}})
        monkeypatch.setattr(comparison, "start", lambda name: Fake(name, asked, **options))
        return comparison, asked

    return make


def test_steps_in_turn_and_the_first_does_not_count(compare):
    comparison, asked = compare()
    found = comparison.training("mlp8")
    assert asked == ["ours", *["ours", "norse"] * 3, *["ours", "spyx"] * 3]
    mine, norse, spyx = found["rows"]
    assert (mine["peer"], norse["peer"], spyx["peer"]) == ("ours", "norse", "spyx")
    assert norse["seconds"] == pytest.approx([0.8, 0.8])
    assert norse["backward"] == pytest.approx(0.4)
    assert (norse["times"], spyx["times"]) == (pytest.approx(20), pytest.approx(10))
    assert norse["rates"] == mine["rates"]
    assert [row["bytes"] for row in found["rows"]] == [10, 25, 40]


def test_a_step_that_takes_long_is_timed_once(compare, monkeypatch):
    monkeypatch.setattr(peers, "LONG", 7.9)
    comparison, asked = compare()
    norse = comparison.training("mlp8")["rows"][1]
    assert asked[:3] == ["ours", "ours", "norse"]
    assert asked.count("norse") == 1
    assert norse["seconds"] == pytest.approx([8.0])


def test_of_each_library_the_fastest_form_is_compared_at_other_activities(compare):
    comparison, _ = compare()
    pairs = (("norse", "plain"), ("norse", "hoisted"), ("spyx", "plain"))
    work = works.Work("Tiny", LAYERS["dense"], BATCH, pairs, 2, like="mlp8")
    assert comparison.peers(work) == list(pairs)
    steps = {("ours", "default"): 0.1, ("norse", "plain"): 3.0, ("norse", "hoisted"): 2.0}
    rows = [{"peer": peer, "key": key, "step": step} for (peer, key), step in steps.items()]
    comparison.found["works"]["mlp8"] = {"rows": [*rows, {"peer": "spyx", "key": "plain", "problem": "gone"}]}
    assert comparison.peers(work) == [("norse", "hoisted"), ("spyx", "plain")]
    comparison.options.only = ["spyx"]
    assert comparison.peers(work) == [("spyx", "plain")]


def test_wrong_gradients_are_not_timed(compare):
    comparison, asked = compare(error=2e-5)
    with pytest.raises(SystemExit, match="gradients differ"):
        comparison.training("mlp8")
    assert asked == []


def test_a_peer_that_fails_is_written_down_and_cuslayer_failing_is_an_error(compare, capsys):
    comparison, _ = compare(fails=[("norse", "step"), ("spyx", "peak")])
    rows = comparison.training("mlp8")["rows"]
    assert [row.get("problem") for row in rows] == [None, "no step", "no peak"]
    assert "not run: no step" in capsys.readouterr().out
    for failure in (("ours", "step"), ("ours", "check"), ("ours", "peak")):
        with pytest.raises(NotRun, match=f"no {failure[1]}"):
            compare(fails=[failure])[0].training("mlp8")


def test_the_whole_script_without_a_peer(monkeypatch, folder, page, tmp_path, capsys):
    made = {
        "mlp8": works.Work("Tiny", LAYERS["dense"], BATCH, (("absent", "plain"),), 2),
        "mlp8-10": works.Work("Busy", LAYERS["dense"], BATCH, (), 2, "activity", 0.1, like="mlp8"),
    }
    for module in (peers, report, aims, charts):
        monkeypatch.setattr(module, "TRAINING", made)
        monkeypatch.setattr(module, "NAMES", {"ours": "cuslayer", "absent": "Absent"})
        monkeypatch.setattr(module, "MEMORY", ("mlp8",), raising=False)
        monkeypatch.setattr(module, "SWEEPS", {"mlp8": ("All", ["mlp8-10"]), "cnn8": ("None", [])}, raising=False)
    monkeypatch.setattr(environment, "install", lambda *_: {})
    monkeypatch.setattr(environment, "python_of", lambda _: Path(sys.executable))
    out = tmp_path / "new" / "peers.json"
    given = ["--data", folder, "--steps", str(STEPS), "--repeats", "2", "--out", str(out), "--docs", str(page)]
    scaling = tmp_path / "scaling.json"
    scaling.write_text(json.dumps({"T": {"sizes": [100, 900], "exponent_of_seconds": 0.987}}))
    peers.main([*given, "--scaling", str(scaling), "--works", "mlp8-10", "mlp8"])
    found = json.loads(out.read_text())["works"]
    mine, absent = found["mlp8"]["rows"]
    assert 0 < mine["forward"] < mine["step"]
    assert all(0 < rate < 1 for rate in mine["rates"])
    assert absent["problem"] == "ModuleNotFoundError: No module named 'comparison.models.absent'"
    assert found["mlp8"]["gradients"]["error"] <= 1e-5
    if sys.platform == "linux":
        assert 0 < mine["bytes"] < 1e9
    busy = found["mlp8-10"]
    assert busy["rows"][0]["rates"] == pytest.approx([0.1, 0.1], rel=0.15)
    assert [found[name]["run"]["recordings"] for name in found] == ["recordings from `--data`", "random spikes"]
    run = found["mlp8"]["run"]
    assert run["versions"]["cuslayer"] == run["machine"]["cuslayer"]
    assert run["command"] == "python benchmarks/peers.py --data data --steps 40 --repeats 2 --works mlp8-10 mlp8"
    assert str(tmp_path) not in out.read_text() + page.read_text()
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "](new/peers.png)" in text
    assert "](new/peers_activity.png)" in text
    assert "**All, by activity**, a training step in ms" in text
    assert re.search(r"growth of a step.s time .* 100 to 900: .* 0.99 +\| yes", text)
    assert "- Absent (plain): not run: ModuleNotFoundError" in text
    assert "**Tiny**, a training step" in capsys.readouterr().out


def test_works_measured_before_are_kept(monkeypatch, compare, page, tmp_path):
    out = tmp_path / "peers.json"
    out.write_text(json.dumps({"works": {"of long ago": {}}}))
    monkeypatch.setattr(peers.Comparison, "start", lambda self, name: Fake(name, []))
    monkeypatch.setattr(peers, "TRAINING", {name: peers.TRAINING["mlp8"] for name in ("mlp8", "mlp32")})
    for name in ("mlp8", "mlp32"):
        peers.main(["--repeats", "2", "--out", str(out), "--docs", str(page), "--works", name])
    assert set(json.loads(out.read_text())["works"]) == {"mlp8", "mlp32"}
    text = page.read_text()
    assert "than Spyx, the only peer measured" in text
    assert "peak memory of the training steps" in text


def test_a_step_of_a_stream_is_that_of_the_script_for_latency(monkeypatch, compare):
    comparison, _ = compare()
    asked = []

    def run(command, **_):
        asked.append(command[1:-1])
        Path(command[-1]).write_text('{"stream": 2.5e-5}')

    monkeypatch.setattr(peers.subprocess, "run", run)
    found = comparison.measure("stream", "a command")
    assert found["seconds"] == 2.5e-5
    assert found["run"]["recordings"] == "random spikes"
    assert asked == [[str(BENCHMARKS / "latency.py"), "--only", "stream", "--out"]]


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
    # Of exchange.py, which trains nothing.
    training = environment.REQUIREMENTS.keys() - {"exchange"}
    assert set(works.NAMES) - {"ours"} == training
    assert set(works.PEERS) == training
    of_two = "recurrent32"
    assert {peer for peer, _ in works.TRAINING[of_two].peers} <= training
    for work in (work for name, work in works.TRAINING.items() if name != of_two):
        left_out = {"ours", *works.SLOW} if work.like else set()
        assert {peer for peer, _ in work.peers} | left_out == {"ours", *training}
        for peer, form in work.peers:
            assert f'"{form}"' in (BENCHMARKS / "comparison" / "models" / f"{peer}.py").read_text()
