"""The commands that read a run: test, predict, report; and a run that is finished."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Digits, Loader, open_folder, write_events
from cuslayer.training import Config, evaluate, load_run, load_stats, predict, predict_test, train
from tests.support.tiny import no_figures, recording, silent, write_folder, write_pair


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A run with spike times."""
    data = write_pair(tmp_path / "pair")
    no_figures(monkeypatch)
    layers, out = ("5", "8", "5"), str(tmp_path / "times")
    train(
        Config(error="SpikeTime", duration=30.0, layers=layers, epochs=1, batch=1, data=str(data), out=out), log=silent
    )
    return tmp_path / "times"


def test_the_score_is_that_of_the_last_epoch(finished, command, refused):
    row = load_stats(finished / "metrics.csv")[-1]
    code, out, err = command("test", finished)
    assert (code, err) == (0, "")
    assert out == f"run at epoch 2: 3 recordings, loss {row.test_loss:.4g}, accuracy {row.test_accuracy:.2%}\n"
    score, recordings = evaluate(load_run(finished))
    assert score == pytest.approx((row.test_loss, row.test_accuracy), rel=1e-9)
    assert recordings == 3
    (finished / "best.npz").unlink()  # which --best reads
    refused("has no best.npz", "test", finished, "--best")


def test_other_recordings(finished, command, tmp_path, master):
    other = write_folder(tmp_path / "other", (0, 1), (2,), events=90)
    code, out, _ = command("test", finished, "--data", other, "--device", "cpu")
    assert code == 0
    run = load_run(finished)
    x, labels = next(iter(Loader(open_folder(other)[1], 1, steps=30)))
    assert f"1 recording, loss {run.config.loss()(run.net(x), labels).item():.4g}" in out
    # A checkpoint file names the run as well as its folder.
    assert command("test", finished / "checkpoint.npz")[1].startswith("run/checkpoint.npz at epoch 2: 3 recordings")


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
    times = np.where(decided, cs.decision_time(spikes, classes), None)
    assert [each["file"] for each in found] == files
    assert [each["class"] for each in found] == labels.tolist()
    assert [each["counts"] for each in found] == counts.tolist()
    assert [each["time_ms"] for each in found] == times.tolist()
    assert [each["confidence"] for each in found] == np.where(decided, cs.confidence(spikes), None).tolist()
    # The result of a recording does not depend on those beside it.
    assert predict(run, files, batch=1) == predict(run, files, batch=3)


def test_recordings_of_the_test_set(finished, command, files, refused):
    for number, file in enumerate(files):
        code, out, err = command("predict", finished, "--test", number)
        assert (code, out, err) == (0, command("predict", finished, file)[1], "")
        assert json.loads(command("predict", finished, "--test", number, "--json")[1]) == json.loads(
            command("predict", finished, file, "--json")[1]
        )
    refused("predict: test must be from 0 to 2 in this test set, got 3", "predict", finished, "--test", 3)
    refused("predict: test must be at least 0, got -1", "predict", finished, "--test", -1)
    refused("predict: either FILE or --test N must be given, got both", "predict", finished, files[0], "--test", 0)
    refused("predict: either FILE or --test N must be given, got none", "predict", finished)
    with pytest.raises(TypeError, match=r"^predict: test must be an integer, got str$"):
        predict_test(load_run(finished), "1")


def test_a_recording_of_the_embedded_test_set_has_a_name(finished):
    run = load_run(finished)
    config = replace(run.config, data=None, layers=("34x34x2", "8", "10"))
    run = replace(run, config=config, net=config.network())
    found = predict_test(run, 359)
    events, _ = Digits("test")[359]
    with cs.no_grad():
        counts = run.net(events.to_spikes((34, 34, 2), 30)[:, None]).numpy().sum(axis=0)[0]
    assert (found.file, found.counts) == ("test recording 359", counts.tolist())
    with pytest.raises(ValueError, match=r"^predict: test must be from 0 to 359 in this test set, got 360$"):
        predict_test(run, 360)


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
    (tmp_path / "half.bs2").write_bytes(b"1234567")
    refused("read_events: half.bs2 is 7 bytes, not a multiple of 5", "predict", finished, "half.bs2")
    write_events(tmp_path / "wide.bs2", cs.Events([1.0], [40], [2], [1]))
    refused("predict: wide.bs2: events must lie within the sensor (34, 34, 2)", "predict", finished, "wide.bs2")
    write_events(tmp_path / "flat.bs1", cs.Events([1.0], [4], None, [1]))
    refused("predict: flat.bs1: shape must be a number of neurons", "predict", finished, "flat.bs1")
    refused("report: wide.bs2: events must lie within the sensor", "report", finished, "wide.bs2")
    (tmp_path / "notes.txt").write_text("no events")
    refused("must end in one of .bs2", "predict", finished, "notes.txt")


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


def test_pages_that_cannot_be_written(finished, refused, files):
    refused("report: folder nowhere does not exist", "report", finished, "--out", "nowhere/page.html")
    refused("report: --data must not be given with files", "report", finished, files[0], "--data", ".")
    refused("open_folder: folder nowhere does not exist", "report", finished, "--data", "nowhere")


@pytest.mark.parametrize("name", ["test", "predict", "report"])
def test_runs_that_are_none(finished, refused, name, files, tmp_path):
    more = files[:1] if name == "predict" else []
    refused("load_run: nowhere does not exist", name, "nowhere", *more)
    refused("load_run: . has no checkpoint.npz", name, ".", *more)
    (finished / "config.yaml").unlink()
    refused("load_run: run has no config.yaml", name, finished, *more)


def test_other_recordings_of_another_sensor(finished, refused, tmp_path):
    write_folder(tmp_path / "four", (0, 3), (1,))
    refused("test: the network has 3 outputs, the recordings have 4 classes", "test", finished, "--data", "four")


def test_a_finished_run_says_where_it_stands(finished, command, monkeypatch):
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in finished.iterdir()}
    code, out, err = command("train", "--resume", "--out", finished)
    assert (code, err) == (0, "")
    assert out == "run stands at epoch 2, nothing is left to train; to go on, give --epochs N, N above 2\n"
    assert command("train", "--resume", "--out", finished, "--epochs", 1)[1] == out
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in finished.iterdir()} == before
    no_figures(monkeypatch)
    assert command("train", "--resume", "--out", finished, "--epochs", 3)[0] == 0
    assert len(load_stats(finished / "metrics.csv")) == 3
    # What draws the figures may have been stopped: a missing one is drawn, the results stay.
    (finished / "raster.png").unlink()
    assert command("train", "--resume", "--out", finished)[1].count("\n") == 1
    assert (finished / "raster.png").exists()


def test_another_network(finished, command, refused, monkeypatch, tmp_path, master):
    no_figures(monkeypatch)
    shutil.copy(finished / "config.yaml", "net.yaml")
    options = ("--network", "34x34x2-4a-5-3", "--epochs", 1)
    code, out, _ = command("train", "net.yaml", *options, "--out", "other")
    assert code == 0
    assert out.startswith("34x34x2-4a-5-3: ")
    run = load_run("other")
    assert (run.net.notation, run.config.true, run.config.epochs) == ("34x34x2-4a-5-3", 6.0, 1)
    assert command("test", "other")[0] == 0
    refused("Network: '5q' in '34x34x2-5q' is no layer; known words: HxWxC", "train", "--network", "34x34x2-5q")
    refused(
        "train: the network expects input (2, 34, 2)", "train", "net.yaml", "--network", "2x34x2-3", "--out", "runs/7"
    )
    assert not (tmp_path / "runs").exists()


def test_warnings_are_one_line(finished, command, files, monkeypatch):
    import warnings

    from cuslayer.cli import predict as module

    def warn(options):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("all times\nlie past the window", stacklevel=1)

    monkeypatch.setattr(module, "run", warn)
    assert command("predict", finished, *files) == (0, "", "cuslayer: warning: all times lie past the window\n")


def test_an_interrupt_of_another_command(finished, command, files, monkeypatch):
    from cuslayer.cli import predict as module

    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", interrupt)
    assert command("predict", finished, *files) == (130, "", "cuslayer: interrupted\n")


def test_recordings_of_other_formats(finished, command, tmp_path):
    events = recording(1, np.random.default_rng(5))
    write_events(tmp_path / "a.npy", events)
    write_events(tmp_path / "a.bs3", events)
    one, two = json.loads(command("predict", finished, "a.npy", "a.bs3", "--json")[1])
    assert one["counts"] == two["counts"]
