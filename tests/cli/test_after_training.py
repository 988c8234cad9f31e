"""The commands that read a run: test, predict, report; and a run that is finished."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.cli import COMMANDS, main
from cuslayer.cli import predict as module
from cuslayer.cli.arguments import print_json
from cuslayer.data import Loader, open_folder, write_events
from cuslayer.training import Config, Run, Stats, evaluate, load_run, load_stats, predict, predict_test, train
from cuslayer.training.checkpoint import Checkpoint
from cuslayer.training.stats import EpochStats
from tests.support.refused import refuses
from tests.support.tiny import COUNTS, TIMES, no_figures, recording, silent, write_folder, write_pair

pytestmark = pytest.mark.all


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A run with spike times."""
    data = str(write_pair(tmp_path / "pair"))
    no_figures(monkeypatch)
    layers, out = ("5", "8", "5"), str(tmp_path / "times")
    train(
        Config(error=TIMES, duration=30.0, layers=layers, epochs=1, batch=1, data=data, out=out),
        log=silent,
    )
    return tmp_path / "times"


def test_the_score_is_that_of_the_last_epoch(finished, command, refused):
    row = load_stats(finished / "metrics.csv")[-1]
    code, out, err = command("test", finished)
    assert (code, err) == (0, "")
    assert out == f"run at epoch 2: 3 recordings, loss {row.test_loss:.4g}, accuracy {row.test_accuracy:.2%}\n"
    score, recordings = evaluate(load_run(finished))
    assert score[:2] == pytest.approx((row.test_loss, row.test_accuracy), rel=1e-9)
    assert recordings == 3
    (finished / "best.npz").unlink()  # which --best reads
    refused("has no best.npz", "test", finished, "--best")


def test_other_recordings(finished, command, refused, tmp_path):
    other = write_folder(tmp_path / "other", (0, 1), (2,), events=90)
    code, out, _ = command("test", finished, "--data", other, "--device", "cpu")
    assert code == 0
    run = load_run(finished)
    x, labels = next(iter(Loader(open_folder(other)[1], 1, steps=30)))
    assert f"1 recording, loss {run.config.loss()(run.net(x), labels).item():.4g}" in out
    # A checkpoint file names the run as well as its folder.
    assert command("test", finished / "checkpoint.npz")[1].startswith("run/checkpoint.npz at epoch 2: 3 recordings")
    write_folder(tmp_path / "four", (0, 3), (1,))
    refused("test: the network has 3 outputs, the recordings have 4 classes", "test", finished, "--data", "four")


def test_a_run_of_spike_times(pair, command, refused, tmp_path):
    row = load_stats(pair / "metrics.csv")[-1]
    code, out, _ = command("test", pair)
    assert code == 0
    found = re.fullmatch(rf"{pair} at epoch 1: 1 recording, loss (\S+)\n", out)
    assert float(found[1]) > 0
    assert float(found[1]) <= row.train_loss * 1.5
    refused("learned spike times, it has no classes", "predict", pair, tmp_path / "pair" / "input.bs1")
    refused("learned spike times, it has no classes", "predict", pair, "--test", 0)
    assert command("report", pair)[0] == 0
    assert "output" in (pair / "report.html").read_text("utf-8")


def test_predictions(finished, command, files):
    code, out, err = command("predict", finished, *files, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert out.count("\n") == len(files) + 2  # one line each
    run = load_run(finished)
    x = np.stack([cs.read_events(file).to_spikes((34, 34, 2), 30) for file in files], axis=1)
    with cs.no_grad():
        spikes = run.net(x)
    counts, classes = spikes.data.sum(axis=0), cs.classify(spikes)
    decided = counts.any(axis=1)
    assert decided.any()
    labels = np.where(decided, classes, None)
    times = np.where(decided, cs.loss.decision_time(spikes, classes), None)
    assert [each["file"] for each in found] == files
    assert [each["class"] for each in found] == labels.tolist()
    assert [each["counts"] for each in found] == counts.tolist()
    assert [each["time_ms"] for each in found] == times.tolist()
    assert [each["confidence"] for each in found] == np.where(decided, cs.loss.confidence(spikes), None).tolist()
    # The result of a recording does not depend on those beside it.
    assert predict(run, files, batch=1) == predict(run, files, batch=3)


def test_recordings_of_the_test_set(finished, command, files, refused):
    for number, file in enumerate(files):
        for more in ([], ["--json"]):
            found = command("predict", finished, "--test", number, *more)
            assert found == (0, command("predict", finished, file, *more)[1], "")
    refused("predict: test must be from 0 to 2 in this test set, got 3", "predict", finished, "--test", 3)
    refused("predict: test must be at least 0, got -1", "predict", finished, "--test", -1)
    refused("predict: either FILE or --test N must be given, got both", "predict", finished, files[0], "--test", 0)
    refused("predict: either FILE or --test N must be given, got none", "predict", finished)
    with refuses("predict: test must be an integer"):
        predict_test(load_run(finished), "1")


def test_the_table(finished, command, files):
    code, out, _ = command("predict", finished, *files)
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split() == ["file", "class", "confidence", "time", "(ms)", "counts"]
    ends = {head.index(name) + len(name) for name in ("class", "confidence", "time (ms)")}
    for file, row, found in zip(files, rows, predict(load_run(finished), files), strict=True):
        said = ["-"] * 3
        if found.label is not None:
            said = [str(found.label), f"{found.confidence:.1%}", f"{found.time:g}"]
        assert row.split() == [file, *said, *map(str, found.counts)]
        assert all(row[end - 1] != " " and row[end : end + 2] == "  " for end in ends)
    assert len({len(row) for row in rows}) == 1


def test_a_recording_without_output(finished, command, tmp_path):
    """Before the first spike nothing is decided: neither a class nor a time is said."""
    write_events(tmp_path / "dark.bs2", cs.Events([1.0], [0], [0], [0]))
    assert [w for w in command("predict", finished, "dark.bs2")[1].splitlines()[1].split()] == [
        *("dark.bs2", "-", "-", "-"),
        *("0", "0", "0"),
    ]
    (found,) = json.loads(command("predict", finished, "dark.bs2", "--json")[1])
    assert found == {"file": "dark.bs2", "class": None, "counts": [0, 0, 0], "time_ms": None, "confidence": None}


def test_recordings_that_do_not_fit(finished, refused, files, tmp_path):
    refused("read_events: none.bs2 does not exist", "predict", finished, files[0], "none.bs2")
    write_events(tmp_path / "wide.bs2", cs.Events([1.0], [40], [2], [1]))
    refused("predict: wide.bs2: events must lie within the sensor (34, 34, 2)", "predict", finished, "wide.bs2")
    write_events(tmp_path / "flat.bs1", cs.Events([1.0], [4], None, [1]))
    refused("predict: flat.bs1: shape must be a number of neurons", "predict", finished, "flat.bs1")
    refused("report: wide.bs2: events must lie within the sensor", "report", finished, "wide.bs2")


def test_the_page(finished, command, files):
    code, out, err = command("report", finished)
    assert (code, out, err) == (0, "run/report.html\n", "")
    page = (finished / "report.html").read_text("utf-8")
    assert "<title>34x34x2-8-3: input, class 0</title>" in page
    code, out, _ = command("report", finished, *files[:2], "--out", "two.html")
    assert (code, out) == (0, "two.html\n")
    assert "34x34x2-8-3: 7.bs2, 8.bs2" in (finished.parent / "two.html").read_text("utf-8")
    command("report", finished / "checkpoint.npz", "--data", os.path.dirname(files[0]), "--out", "own.html")
    assert (finished.parent / "own.html").exists()


def test_the_demonstration(finished, command, tmp_path):
    assert command("demo", finished) == (0, "run/demo.html\n", "")
    page = (finished / "demo.html").read_text("utf-8")
    found = json.loads(re.search(r'id="contents">(.*?)</script>', page)[1])
    assert (found["title"], found["steps"], found["dt"]) == ("34x34x2-8-3", 30, 1.0)
    assert [layer["shape"] for layer in found["layers"]] == [[34, 34, 2], [8], [3]]
    assert found["layers"][1]["neurons"]["theta"] == load_run(finished).net[1].theta == 0.5
    assert command("demo", finished / "checkpoint.npz", "--out", "own.html") == (0, "own.html\n", "")
    assert (tmp_path / "own.html").read_bytes() == (finished / "demo.html").read_bytes()


def test_pages_that_cannot_be_written(finished, refused, files):
    for name in ("report", "demo"):
        refused(f"{name}: folder nowhere does not exist", name, finished, "--out", "nowhere/page.html")
    refused("report: --data must not be given with files", "report", finished, files[0], "--data", ".")
    refused("open_folder: folder nowhere does not exist", "report", finished, "--data", "nowhere")


@pytest.mark.parametrize("name", ["test", "predict", "report", "demo"])
def test_runs_that_are_none(finished, refused, name, files):
    more = files[:1] if name == "predict" else []
    refused("load_run: nowhere does not exist", name, "nowhere", *more)
    refused("load_run: . has no checkpoint.npz", name, ".", *more)
    (finished / "config.yaml").unlink()
    refused("load_run: run has no config.yaml", name, finished, *more)


def test_a_finished_run_says_where_it_stands(finished, command, monkeypatch):
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in finished.iterdir()}
    code, out, err = command("train", "--resume", "--out", finished)
    assert (code, err) == (0, "")
    stands, score = out.splitlines()
    assert stands == "run stands at epoch 2, nothing is left to train; to go on, give --epochs N, N above 2"
    assert score == load_stats(finished / "metrics.csv")[1].text("train", "validation", "test")
    assert command("train", "--resume", "--out", finished, "--epochs", 1)[1] == out
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in finished.iterdir()} == before
    no_figures(monkeypatch)
    assert command("train", "--resume", "--out", finished, "--epochs", 3)[0] == 0
    assert len(load_stats(finished / "metrics.csv")) == 3
    # What draws the figures may have been stopped: a missing one is drawn, the results stay.
    (finished / "raster.png").unlink()
    assert command("train", "--resume", "--out", finished)[1].count("\n") == 2
    assert (finished / "raster.png").exists()


def test_another_network(finished, command, refused, monkeypatch, tmp_path, master):
    no_figures(monkeypatch)
    shutil.copy(finished / "config.yaml", "net.yaml")
    options = ("--network", "34x34x2-4a-5-3", "--epochs", 1)
    code, out, _ = command("train", "net.yaml", *options, "--out", "other")
    assert code == 0
    assert out.startswith("34x34x2-4a-5-3: ")
    run = load_run("other")
    assert (run.net.notation, run.config.error, run.config.epochs) == ("34x34x2-4a-5-3", COUNTS, 1)
    assert command("test", "other")[0] == 0
    refused("Network: '5q' in '34x34x2-5q' is no layer; known words: HxWxC", "train", "--network", "34x34x2-5q")
    refused("train: the network expects input (2, 34", "train", "net.yaml", "--network", "2x34x2-3", "--out", "runs/7")
    assert not (tmp_path / "runs").exists()


def test_warnings_and_interrupts_are_one_line(finished, command, files, monkeypatch):
    def warn(options):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("all times\nlie past the window", stacklevel=1)

    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", warn)
    assert command("predict", finished, *files) == (0, "", "cuslayer: warning: all times lie past the window\n")
    monkeypatch.setattr(module, "run", interrupt)
    assert command("predict", finished, *files) == (130, "", "cuslayer: interrupted\n")


def test_recordings_of_other_formats(finished, command, tmp_path):
    events = recording(1, np.random.default_rng(5))
    write_events(tmp_path / "a.npy", events)
    write_events(tmp_path / "a.bs3", events)
    one, two = json.loads(command("predict", finished, "a.npy", "a.bs3", "--json")[1])
    assert one["counts"] == two["counts"]


# Predictions in steps that are not a millisecond, and of a population vote.


@pytest.fixture
def run(tmp_path):
    """A run in steps of half a millisecond, of a network whose output copies its two inputs; nothing is trained."""
    config = Config(neuron=cs.SRM(theta=1.0, tau_sr=0.5, dt=0.5), duration=10.0, layers=("2", "2"))
    net = config.network()
    net[0].weight.data[...] = 10 * np.eye(2)
    Checkpoint.of(1, net, cs.SGD(net.parameters())).save(tmp_path / "checkpoint.npz")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    Stats([EpochStats(1, 1.0, 0.5, None, None, 1.0)]).save(tmp_path / "metrics.csv")
    return load_run(tmp_path)


def test_times_are_milliseconds(run, tmp_path, command):
    """Input 0 at 1 ms, input 1 at 4 and 6 ms: the second spike of output 1 decides."""
    write_events(tmp_path / "a.bs1", cs.Events([1.0, 4.0, 6.0], [0, 1, 1], None, [1, 1, 1]))
    (found,) = predict(run, [tmp_path / "a.bs1"])
    x = cs.read_events(tmp_path / "a.bs1").to_spikes(2, 20, 0.5)[:, None]
    spikes = run.net(x).numpy()[:, 0]
    counts = spikes.cumsum(axis=0)
    wins = counts[:, 1] > counts[:, 0]
    assert wins[-1]
    last = 0.5 * (1 + np.flatnonzero(~wins)[-1])
    assert found[:4] == (str(tmp_path / "a.bs1"), 1, counts[-1].tolist(), last)
    assert 6.0 <= last < 8.0
    assert f"{last:g}" in command("predict", tmp_path, tmp_path / "a.bs1")[1]


def test_a_population_vote(run, tmp_path, command):
    """The outputs of a vote are means: their counts need not be whole."""
    vote = Config(neuron=run.config.neuron, duration=10.0, layers=("2", "6", "2avg"))
    net = vote.network()
    net[0].weight.data[...] = 0
    net[0].weight.data[1, 3:5] = 10
    write_events(tmp_path / "a.bs1", cs.Events([4.0], [1], None, [1]))
    (found,) = predict(Run(net, vote, run.stats, 1, tmp_path), [tmp_path / "a.bs1"])
    spikes = net(cs.read_events(tmp_path / "a.bs1").to_spikes(2, 20, 0.5)[:, None]).numpy()
    assert found.label == 1
    np.testing.assert_allclose(found.counts, spikes.sum(axis=0)[0])
    assert found.counts[0] == 0 < found.counts[1]
    assert json.loads(json.dumps(found.counts)) == found.counts


# `--json`: one document on standard output and nothing else there, with the names that the command declares.


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


def test_of_test_and_predict(finished, files, answer):
    found, err = answer("predict", finished, *files)
    assert ([each["file"] for each in found], err) == (files, "")
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


@pytest.mark.parametrize("name", ["report", "demo"])
def test_of_pages(finished, answer, name):
    found, _ = answer(name, finished)
    assert found == {"page": f"run/{name}.html", "bytes": (finished / f"{name}.html").stat().st_size}


def test_of_convert(answer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cs.write_events("a.npy", cs.Events([1.0004, 2.0], [3, 4], [4, 5], [1, 0]))
    found, _ = answer("convert", "a.npy", "b.bs2")
    assert found == {"input": "a.npy", "output": "b.bs2", "events": 2, "lost": ["times rounded by up to 0.4 us"]}


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
    config = Config(duration=30.0, layers=("34x34x2", "8", "3"), epochs=2, batch=4, data=data)
    (tmp_path / "net.yaml").write_text(config.to_yaml(), encoding="utf-8")
    return "net.yaml"


def test_of_train(yaml, answer):
    found, err = answer("train", yaml, "--out", "out")
    last = load_stats("out/metrics.csv")[-1]
    assert (found["run"], found["network"], found["epoch"]) == ("out", "34x34x2-8-3", 2)
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert found[name] == pytest.approx(getattr(last, name))
    assert (found["best_epoch"], found["validation_loss"], found["validation_accuracy"]) == (2, None, None)
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
    assert err.count("\n") == 3  # of validation, and of each run


def test_after_an_error_nothing_is_on_standard_output(command):
    for name in COMMANDS.keys() - {"info", "completion"}:
        more = {"convert": ("b.npy",), "predict": ("b.npy",), "convert-ann": ("--data", "no")}.get(name, ())
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
