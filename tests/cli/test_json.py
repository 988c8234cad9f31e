"""`--json`: one document on standard output and nothing else there, with the names that the command declares."""

from __future__ import annotations

import json
import math

import pytest

import cuslayer as cs
from cuslayer.cli import COMMANDS, main
from cuslayer.cli.arguments import print_json
from cuslayer.training import Config, evaluate, load_run, load_stats
from tests.support.tiny import no_figures, write_folder


def test_which_commands_have_it():
    """All but the one whose result is a script."""
    assert {name for name, command in COMMANDS.items() if hasattr(command, "JSON")} == COMMANDS.keys() - {"completion"}


@pytest.fixture
def answer(command):
    """Run a command with --json; return what it says, after a look at the names."""

    def answer(name, *arguments, code=0):
        found, out, err = command(name, *arguments, "--json")
        assert found == code
        result = json.loads(out)
        for each in result if isinstance(result, list) else [result]:
            assert list(each) == list(COMMANDS[name].JSON) or name == "info"
            assert each.keys() == COMMANDS[name].JSON.keys()
        return result, err

    return answer


def test_of_test(finished, answer):
    score, recordings = evaluate(load_run(finished))
    found, err = answer("test", finished)
    assert err == ""
    assert found == {
        "run": "run",
        "epoch": 2,
        "batches": 0,
        "recordings": recordings,
        "loss": pytest.approx(score.loss),
        "accuracy": pytest.approx(score.accuracy),
    }


def test_of_predict(finished, files, answer):
    found, err = answer("predict", finished, *files)
    assert ([each["file"] for each in found], err) == (files, "")


@pytest.mark.parametrize("name", ["report", "demo"])
def test_of_pages(finished, answer, name):
    found, _ = answer(name, finished)
    assert found == {"page": f"run/{name}.html", "bytes": (finished / f"{name}.html").stat().st_size}


def test_of_convert(answer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cs.write_events("a.npy", cs.Events([1.0004, 2.0], [3, 4], [4, 5], [1, 0]))
    found, _ = answer("convert", "a.npy", "b.bs2")
    assert found == {"input": "a.npy", "output": "b.bs2", "events": 2, "lost": ["times rounded by up to 0.4 us"]}
    assert answer("convert", "b.bs2", "c.npy")[0]["lost"] == []


def test_of_info(answer):
    found, _ = answer("info")
    assert found["cuslayer"] == cs.__version__
    assert found["device"].startswith("c")
    assert found["warning"] is None


@pytest.fixture
def yaml(tmp_path, monkeypatch):
    """A configuration of a short run in the working directory."""
    monkeypatch.chdir(tmp_path)
    no_figures(monkeypatch)
    data = str(write_folder(tmp_path / "data"))
    config = Config(duration=30.0, layers=("34x34x2", "8", "3"), region=(0.0, 30.0), epochs=2, batch=4, data=data)
    (tmp_path / "net.yaml").write_text(config.to_yaml(), encoding="utf-8")
    return "net.yaml"


def test_of_train(yaml, answer):
    found, err = answer("train", yaml, "--out", "out")
    last = load_stats("out/metrics.csv")[-1]
    assert (found["run"], found["network"], found["epoch"]) == ("out", "34x34x2-8-3", 2)
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert found[name] == pytest.approx(getattr(last, name))
    assert found["best_epoch"] in (1, 2)
    # Lines of progress are on standard error.
    assert "epoch   2 | train loss" in err
    # A finished run that is resumed says the same.
    assert answer("train", "--resume", "--out", "out")[0] == found


def test_of_sweep(yaml, answer, tmp_path):
    keys = "keys: {training.batch: [2, 4], training.optimizer.lr: [0.05]}"
    (tmp_path / "sweep.yaml").write_text(f"config: {yaml}\nout: found\nsearch: grid\n{keys}\n")
    found, err = answer("sweep", "sweep.yaml")
    assert [each["run"] for each in found] == [1, 2]
    assert [each["values"] for each in found] == [
        {"training.batch": batch, "training.optimizer.lr": 0.05} for batch in (2, 4)
    ]
    assert {(each["status"], each["error"]) for each in found} == {("done", "")}
    assert all(each["loss"] > 0 and each["epoch"] in (1, 2) for each in found)
    assert err.count("\n") == 2


def test_after_an_error_nothing_is_on_standard_output(command):
    for name in COMMANDS.keys() - {"info", "completion"}:
        more = ("b.npy",) if name in ("convert", "predict") else ()
        code, out, err = command(name, "no/thing.npy", *more, "--json")
        assert (code, out, err.count("\n")) == (2, "", 1), name


def test_what_json_cannot_say_is_null(capsys):
    print_json({"a": math.inf, "b": [math.nan, 1.5], "c": {"d": -math.inf}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": {"d": None}}
    print_json([{"a": 1}, {"a": 2}])
    assert capsys.readouterr().out == '[\n  {"a": 1},\n  {"a": 2}\n]\n'
    print_json([])
    assert json.loads(capsys.readouterr().out) == []


def test_downloads_do_not_speak_in_between(yaml, answer, monkeypatch):
    from cuslayer.cli import train

    monkeypatch.setattr(train, "_download", lambda config: print("Downloading"))
    _, err = answer("train", yaml, "--out", "out", "--epochs", 1, "--download")
    assert err.startswith("Downloading\n")


def test_progress_without_a_standard_error(yaml, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", None)
    assert main(["train", yaml, "--out", "out", "--epochs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epoch"] == 1
