"""benchmarks/gpu.py as a command: what it runs, how long, and what it saves, prints and returns."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cuslayer import backend
from cuslayer.files import alive
from tests.support import fake_cupy

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import gpu  # noqa: E402
import gpu_stages  # noqa: E402
from card import Cuda  # noqa: E402
from gpu_stages import Run, Sizes, Skipped, Stage, perform  # noqa: E402


def performed(work: Callable[[Run], None]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the entry of a stage on the stand-in, and what was saved on the way."""
    saved: list[Any] = []
    with fake_cupy.in_use():
        stage = Stage("it", "it", 10, work)
        entry = perform(stage, Cuda(), Sizes(), lambda entry: saved.append(json.loads(json.dumps(entry))), 1.5)
    return entry, saved


def test_a_stage_saves_what_it_finds_before_it_fails() -> None:
    def work(run: Run) -> None:
        run.note(first=1)
        run.add("rows", {"a": 1})
        run.add("rows", {"a": 2})
        run.check("it holds", False, "3")
        raise RuntimeError("\n  a line\nand more")

    entry, saved = performed(work)
    assert (entry["status"], entry["reason"]) == ("failed", "RuntimeError: a line")
    checks = [{"what": "it holds", "met": False, "found": "3"}]
    assert entry["found"] == {"first": 1, "rows": [{"a": 1}, {"a": 2}], "checks": checks}
    assert entry["where"]["card"] == "stand-in"
    assert {"cupy", "cuda", "driver"} <= entry["where"].keys()
    assert (entry["limit"], len(entry["date"])) == (10, len("2026-11-25T23:00:00"))
    assert entry["seconds"] >= 1.5
    assert saved[-1] == entry
    assert [len(each["found"]) for each in saved] == [0, 1, 2, 2, 3, 3]
    assert {each["status"] for each in saved[:-1]} == {"running"}


def test_a_stage_that_lacks_something_says_what() -> None:
    def work(run: Run) -> None:
        raise Skipped("no torch")

    entry, _ = performed(work)
    assert (entry["status"], entry["reason"]) == ("skipped", "no torch")


def test_a_stage_knows_how_much_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []
    clock = [100.0]
    monkeypatch.setattr(gpu_stages, "time", SimpleNamespace(monotonic=lambda: clock[0], strftime=time.strftime))

    def work(run: Run) -> None:
        for seconds in (0.0, 2.0, 3.0):
            clock[0] += seconds
            found.append(run.left())

    performed(work)
    left = 10 - 1.5 - gpu_stages.MARGIN
    assert found == [left, left - 2, left - 5]


def test_an_unusable_device_is_no_problem_of_the_next_stage() -> None:
    card: Any = None

    def work(run: Run) -> None:
        nonlocal card
        card = run.card
        card.describe = lambda: 1 / 0

    entry, _ = performed(work)
    assert entry["status"] == "done"
    assert entry["where"]["card"] == "stand-in"


class Hanging(subprocess.Popen[bytes]):
    """A process that says on its standard output when it begins to hang: its limit of time is over then."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, stdout=subprocess.PIPE, **options)

    def wait(self, timeout: float | None = None) -> int:
        assert self.stdout is not None
        if timeout is None:
            self.stdout.close()
            return super().wait()
        assert self.stdout.readline() == b"hangs\n"
        return super().wait(timeout)


@pytest.mark.parametrize(
    ("written", "then", "expected"),
    [
        ("done", "pass", ("done", None)),
        ("running", "sys.exit(3)", ("failed", "the process ended with 3")),
        ("running", "print('hangs', flush=True); time.sleep(6000)", ("stopped", "the limit of 1 s")),
    ],
    ids=["ends", "breaks", "hangs"],
)
def test_the_process_of_a_stage(
    written: str, then: str, expected: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(name: str, out: Path) -> list[str]:
        entry = {"status": written, "reason": None, "limit": 1, "found": {"first": 1}}
        return [
            sys.executable,
            "-c",
            f"import json, sys, time\nwith open({str(out)!r}, 'w') as f: json.dump({entry}, f)\n{then}",
        ]

    hangs = "sleep" in then
    monkeypatch.setattr(gpu, "command", command)
    if hangs:
        monkeypatch.setattr(gpu.subprocess, "Popen", Hanging)
    entry = gpu.in_process(Stage("it", "it", 1 if hangs else 3600, lambda run: None))
    assert (entry["status"], entry["reason"]) == expected
    assert entry["found"] == {"first": 1}
    assert entry["seconds"] > 0


def test_what_a_stopped_stage_has_started_is_stopped_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    number = tmp_path / "number"
    code = (
        "import subprocess, sys, time\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(6000)'])\n"
        f"with open({str(number)!r}, 'w') as file: file.write(str(inner.pid))\n"
        "print('hangs', flush=True); time.sleep(6000)"
    )
    monkeypatch.setattr(gpu, "command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(gpu.subprocess, "Popen", Hanging)
    entry = gpu.in_process(Stage("it", "it", 1, lambda run: None))
    assert (entry["status"], entry["found"]) == ("stopped", {})
    # A killed process takes a moment to end; the limit is for one that does not.
    limit = time.monotonic() + 300
    while alive(int(number.read_text())) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not alive(int(number.read_text()))


def test_the_process_of_a_stage_runs_it_on_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "STAGES", {"it": Stage("it", "it", 10, lambda run: run.note(device=backend.device()))})
    out = tmp_path / "new" / "entry.json"
    with fake_cupy.strict():
        assert gpu.main(["--child", "it", "--out", str(out)]) == 0
        assert gpu.main(["--child", "card", "--out", str(tmp_path / "card.json")]) == 0
        backend.use("cpu")
    entry = json.loads(out.read_text())
    assert (entry["status"], entry["found"]) == ("done", {"device": "cuda"})
    assert json.loads((tmp_path / "card.json").read_text())["card"] == "stand-in"
    assert gpu.command("it", out)[1:] == [str(BENCHMARKS / "gpu.py"), "--child=it", f"--out={out}"]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of results of a card on which every stage finds what was saved before it."""
    path = tmp_path / "results" / "gpu-nvidia-h100-80gb-hbm3.json"
    monkeypatch.setattr(gpu.gpu_report, "RESULTS", path.parent)
    monkeypatch.setattr(gpu, "described", lambda: {"card": "NVIDIA H100 80GB HBM3"})

    def in_process(stage: Stage) -> dict[str, Any]:
        # What was found before is in the file already, and nothing else is beside it.
        before = json.loads(path.read_text())["stages"] if path.exists() else {}
        assert len(list(path.parent.glob("*"))) == bool(before)
        found: dict[str, Any] = {"before": sorted(before), "checks": []}
        entry = {"status": "done", "reason": None, "limit": stage.seconds, "seconds": 1.0, "found": found}
        if stage.name == "bits":
            found["checks"] = [{"what": "equal bits", "met": False, "found": "other"}]
        if stage.name == "epoch":
            entry |= {"status": "failed", "reason": "ValueError: no"}
        return entry

    monkeypatch.setattr(gpu, "in_process", in_process)
    return path


def test_each_stage_is_saved_before_the_next(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--stages", "speed, probe"]) == 0
    found = json.loads(results.read_text())
    assert found["card"] == "NVIDIA H100 80GB HBM3"
    assert list(found["stages"]) == ["probe", "speed"]
    assert found["stages"]["speed"]["found"]["before"] == ["probe"]
    said = capsys.readouterr().out
    assert "at most 55 s" in said
    assert said.index("probe: done in 1.0 s of 30 s") < said.index("speed: done")
    assert said.endswith("everything is as demanded\n")


def test_the_results_of_other_stages_stay(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--stages", "probe"])
    assert gpu.main(["--stages=bits,epoch"]) == 1
    found = json.loads(results.read_text())["stages"]
    assert list(found) == ["probe", "bits", "epoch"]
    lines = capsys.readouterr().out.splitlines()
    assert "epoch: failed in 1.0 s of 40 s" in lines
    assert lines[-2:] == ["epoch: ValueError: no", "bits: equal bits: other"]
    out = results.with_name("other.json")
    results.unlink()
    gpu.main(["--stages=probe", f"--out={out}"])
    assert list(json.loads(out.read_text())["stages"]) == ["probe"]


def test_all_stages_take_eight_minutes_together(results: Path) -> None:
    gpu.main([])
    names = ["probe", "compile", "tests", "networks", "speed", "steps", "peers", "bits", "epoch", "kernels"]
    assert list(json.loads(results.read_text())["stages"]) == names == list(gpu.STAGES)
    assert all(f"| {name} |" in str(gpu.__doc__) for name in names)
    table = (BENCHMARKS.parent / "docs" / "kernels.md").read_text("utf-8")
    assert all(f"| `{stage.name}` | {stage.seconds} s |" in table for stage in gpu.STAGES.values())
    # A process starts and ends, and the card is described before.
    assert sum(stage.seconds for stage in gpu.STAGES.values()) + 10 <= 480


def test_an_unknown_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--stages", "probe,unknown"])
    assert "'unknown' is none of probe, compile, tests, " in capsys.readouterr().err


@pytest.mark.skipif(backend._driver_problem() is None, reason="this machine has a CUDA device")
def test_without_a_device_it_says_so() -> None:
    found = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py")], capture_output=True, text=True, check=False, cwd=BENCHMARKS
    )
    assert found.returncode == 2
    assert found.stderr.startswith("gpu: device: cuda is out of reach: ")
    assert (found.stderr.count("\n"), found.stdout) == (1, "")
