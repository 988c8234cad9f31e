"""Sweeps: the points of a search, runs that fail, and a sweep that goes on where it was interrupted."""

from __future__ import annotations

import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from cuslayer import cli
from cuslayer.plot import sweep_results
from cuslayer.training import EpochStats, load_config, train
from cuslayer.training.sweep import Result, load_sweep, runs, sweep
from cuslayer.training.sweep.table import DONE, FAILED, WAITING, table
from tests.support.deaths import tiny
from tests.support.tiny import no_figures, silent

LR, BATCH, WIDTH = "training.optimizer.lr", "training.batch", "layer[1].dim"


@pytest.fixture
def write(tmp_path):
    """Write the file of a sweep of a tiny run, and return its path."""
    (tmp_path / "base.yaml").write_text(tiny(tmp_path, epochs=1, checkpoint_steps=None).to_yaml())

    def write(**given):
        document = {"config": "base.yaml", "out": str(tmp_path / "sweep"), **given}
        (tmp_path / "sweep.yaml").write_text(
            yaml.safe_dump({k: v for k, v in document.items() if v is not None}, sort_keys=False)
        )
        return tmp_path / "sweep.yaml"

    return write


@pytest.fixture
def within(monkeypatch):
    """Train the runs in this process; return the list of their arguments."""
    no_figures(monkeypatch)
    calls = []

    def run(arguments, cores=None):
        calls.append(arguments)
        resume = arguments[0] == "--resume"
        config = load_config(os.path.join(arguments[-1], "config.yaml") if resume else arguments[0])
        try:
            train(config.with_options(out=arguments[-1]), log=silent, resume=resume)
        except ValueError as problem:
            return str(problem)
        return None

    monkeypatch.setattr(runs, "train_run", run)
    return calls


def test_a_grid(write):
    found = load_sweep(write(keys={LR: [0.1, 0.01], WIDTH: [4, "5"], BATCH: [2]}))
    assert found.points == ((0.1, 4, 2), (0.1, "5", 2), (0.01, 4, 2), (0.01, "5", 2))
    assert [config.optimizer.lr for config in found.configs] == [0.1, 0.1, 0.01, 0.01]
    assert [config.layers[1].text for config in found.configs] == ["4", "5", "4", "5"]


def test_a_random_search(write):
    keys = {
        LR: {"low": 1e-4, "high": 1.0, "log": True},
        BATCH: {"low": 1, "high": 3},
        "training.epochs": {"low": 1, "high": 100, "log": True},
        "training.optimizer.momentum": {"low": 0.2, "high": 0.4},
        WIDTH: [3, 4],
    }
    found = load_sweep(write(search="random", runs=200, seed=5, keys=keys))
    assert load_sweep(write(search="random", runs=201, seed=5, keys=keys)).points[:200] == found.points
    assert load_sweep(write(search="random", runs=200, seed=6, keys=keys)).points != found.points
    for other in (4, 6, 7, 5 + 199):
        others = load_sweep(write(search="random", runs=200, seed=other, keys=keys)).points
        assert not {*others} & {*found.points}
    lr, batch, epochs, momentum, width = map(np.array, zip(*found.points, strict=True))
    assert 0.3 < (lr < 0.01).mean() < 0.7
    assert set(batch) == {1, 2, 3}
    assert {1, 2} <= set(epochs) <= set(range(1, 101))
    assert 0.3 < (epochs <= 10).mean() < 0.7
    assert 0.2 <= momentum.min() < momentum.max() <= 0.4
    assert set(width) == {3, 4}


def test_the_usual_configuration_and_one_within(write):
    assert load_sweep(write(config=None, keys={BATCH: [4]})).configs[0].layers[1].text == "256"
    inside = {"layer": [{"dim": "6x6x2"}, {"dim": 7}]}
    assert load_sweep(write(config=inside, keys={BATCH: [4]})).configs[0].layers[1].text == "7"


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"keys": {"training.batches.x": [1]}}, ValueError, "keys.training.batches.x is no key of the configuration"),
        ({"keys": {"layer[9].dim": [1]}}, ValueError, "keys.layer[9].dim is no key of the configuration: 9 is missing"),
        ({"keys": {"training.batch.x": [1]}}, ValueError, "keys.training.batch.x is no key of the configuration"),
        ({"keys": {"training.batchs": [1]}}, ValueError, "run 1 (training.batchs 1): load_config: training.batchs is"),
        ({"keys": {BATCH: [1, 0]}}, ValueError, "run 2 (training.batch 0): load_config: training.batch must be"),
        ({"keys": {BATCH: 4}}, TypeError, "keys.training.batch must be a list of values, got 4"),
        ({"keys": {BATCH: []}}, TypeError, "keys.training.batch must be a list of values, got []"),
        ({"keys": [1]}, TypeError, "keys must be a mapping of keys of the configuration, got list"),
        ({"keys": {BATCH: [1]}, "search": "all"}, ValueError, "search must be one of grid, random, got 'all'"),
        ({"keys": {BATCH: [1]}, "search": "random"}, ValueError, "runs is missing"),
        ({"keys": {BATCH: [1]}, "search": "random", "runs": 10**6}, ValueError, "runs must be at most 100000"),
        ({"keys": {BATCH: [2] * 400, LR: [0.1] * 400}}, ValueError, "a grid must have at most 100000 runs, got 160000"),
        ({"keys": {BATCH: [1]}, "out": 3}, TypeError, "out must be a path, got 3"),
        (
            {"keys": {BATCH: {"low": 3, "high": 3}}, "search": "random", "runs": 1},
            ValueError,
            "keys.training.batch.low must be under high, 3, got 3",
        ),
        (
            {"keys": {LR: {"low": 0, "high": 3, "log": True}}, "search": "random", "runs": 1},
            ValueError,
            "keys.training.optimizer.lr.low must be positive, got 0",
        ),
    ],
)
def test_what_is_no_sweep(write, given, kind, message):
    path = write(**given)
    with pytest.raises(kind, match=re.escape(f"load_sweep: {path}: {message}")):
        load_sweep(path)


def test_a_sweep_goes_on(write, within, monkeypatch):
    path = write(keys={LR: [0.05, 0.01], BATCH: [2, 4]})
    given = load_sweep(path)
    whole, fails = runs.train_run, ["002"]
    monkeypatch.setattr(
        runs, "train_run", lambda arguments, cores=None: "it burns" if arguments[-1][-3:] in fails else whole(arguments)
    )
    lines = []
    found = sweep(given, jobs=2, log=lines.append)
    assert [result.status for result in found] == [DONE, FAILED, DONE, DONE]
    assert any(line == "run 2 (training.optimizer.lr 0.05, training.batch 4) failed: it burns" for line in lines)
    rows = (given.out / "results.csv").read_text().splitlines()
    assert rows[0] == f"run,{LR},{BATCH},status,accuracy,loss,epoch,error"
    assert rows[2] == "2,0.05,4,failed,,,,it burns"
    assert (given.out / "results.png").stat().st_size > 1000
    fails.clear()
    within.clear()
    assert [result.status for result in sweep(given, log=silent)] == [DONE] * 4
    assert len(within) == 1
    # More epochs go on from the checkpoints; more points are added, others are refused.
    longer = load_sweep(write(keys={LR: [0.05, 0.01, 0.1], BATCH: [2, 4]}))
    within.clear()
    assert len(sweep(longer, log=silent)) == 6
    assert len(within) == 2
    with pytest.raises(ValueError, match="holds another sweep; name another folder"):
        sweep(load_sweep(write(keys={LR: [0.06], BATCH: [2, 4]})), log=silent)
    with pytest.raises(ValueError, match="sweep: jobs must be at least 1, got 0"):
        sweep(given, jobs=0, log=silent)


def test_a_smaller_or_another_sweep_keeps_the_table(write, within):
    """More points are added to a sweep; fewer, or other keys and values, are another sweep."""
    given = load_sweep(write(keys={BATCH: [2, 4, 1]}))
    sweep(given, log=silent)
    before = {p.name: p.read_bytes() for p in given.out.iterdir() if p.is_file()}
    within.clear()
    for keys in (
        {BATCH: [2, 4]},
        {BATCH: [2]},
        {BATCH: [2, 1, 4]},
        {BATCH: [2, 4, 12]},
        {"training.epochs": [2, 4, 1]},
    ):
        with pytest.raises(ValueError, match=f"^sweep: {given.out} holds another sweep; name another folder$"):
            sweep(load_sweep(write(keys=keys)), log=silent)
    assert {p.name: p.read_bytes() for p in given.out.iterdir() if p.is_file()} == before
    assert not within


@pytest.mark.parametrize("name", ["points.csv", "results.csv", "results.png", "002.yaml"])
def test_files_of_the_user_are_kept(write, within, name):
    given = load_sweep(write(keys={BATCH: [2, 4]}))
    given.out.mkdir()
    for text in ("mine\n", ""):
        (given.out / name).write_text(text)
        with pytest.raises(ValueError, match=f"^sweep: .*(holds another sweep|{name} is of no sweep)"):
            sweep(given, log=silent)
        assert [(p.name, p.read_text()) for p in given.out.iterdir()] == [(name, text)]
    assert not within


def test_without_a_test_set_the_training_counts():
    """Of an epoch with a test set the test's accuracy and loss count, and where it has none, those of training."""
    row = EpochStats(3, 2.0, 0.75, None, None, 1.0)
    results = [Result(1, (1,), DONE, row), Result(2, (2,), DONE, EpochStats(3, 9.0, 0.9, 1.0, 0.5, 1.0))]
    assert [(r.accuracy, r.loss) for r in results] == [(0.75, 2.0), (0.5, 1.0)]
    assert [line.split() for line in table(("n",), results).splitlines()[1:]] == [
        ["1", "1", "0.75", "2", "3"],
        ["2", "2", "0.5", "1", "3"],
    ]
    assert Result(1, (1,), DONE, EpochStats(3, 2.0, None, 1.0, None, 1.0)).accuracy is None


def test_a_run_with_a_checkpoint_is_resumed(write, within):
    given = load_sweep(write(keys={"training.epochs": [2]}))
    train(given.configs[0].with_options(epochs=1, out=str(given.out / "001")), log=silent)
    [result] = sweep(given, log=silent)
    assert within == [["--resume", "--out", str((given.out / "001").absolute())]]
    assert result.error == "the run ended before its last epoch"  # the file of the run has one epoch


def test_runs_are_processes(write, tmp_path, capsys, monkeypatch):
    """The command trains one, and the other is killed."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    program = runs._PROGRAM.replace(
        "from cus", f"if '002' in sys.argv[-1]: os.kill(os.getpid(), {signal.SIGKILL})\nfrom cus"
    )
    monkeypatch.setattr(runs, "_PROGRAM", program)
    assert cli.main(["sweep", str(write(keys={LR: [0.05, 0.01]})), "--jobs", "2"]) == 2
    printed = capsys.readouterr().out
    assert "run 2 (training.optimizer.lr 0.01) failed: it said nothing (signal 9)" in printed
    assert re.search(r"run 1 \(training.optimizer.lr 0.05\): epoch   1 \| train loss", printed)
    assert re.search(r"(?m)^  1 +0.05 +[\d.]+ +[\d.]+ +1$", printed)


def test_dask(write, within, monkeypatch):
    """A client of Dask is asked for each run; a worker that is lost is a run that failed."""
    closed = []

    class Client:
        def __init__(self, address):
            assert address == "tcp://here:1"
            self._pool = ThreadPoolExecutor(1)

        def submit(self, work, arguments, *, pure):
            assert not pure
            return self._pool.submit(self._lost if arguments[-1].endswith("002") else work, arguments)

        def _lost(self, arguments):
            raise RuntimeError("the worker was lost")

        def close(self):
            closed.append(True)

    module = SimpleNamespace(Client=Client, as_completed=lambda futures: futures)
    monkeypatch.setitem(sys.modules, "distributed", module)
    found = sweep(load_sweep(write(keys={LR: [0.05, 0.01]})), dask="tcp://here:1", log=silent)
    assert [result.error for result in found] == ["", "RuntimeError: the worker was lost"]
    assert closed == [True]
    module.Client = lambda address: (_ for _ in ()).throw(OSError(f"Timed out trying to\nconnect to {address}"))
    with pytest.raises(
        ValueError, match="sweep: no scheduler of Dask at tcp://here:1: Timed out trying to connect to tcp"
    ):
        sweep(load_sweep(write(keys={LR: [0.05, 0.01]})), dask="tcp://here:1", log=silent)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        ImportError, match=re.escape("sweep: distributed is not installed; pip install 'cuslayer[dask]'")
    ):
        sweep(load_sweep(write(keys={LR: [0.05, 0.01]})), dask="tcp://here:1", log=silent)


def test_a_table_has_the_best_run_first():
    best = [
        SimpleNamespace(test_loss=x, test_accuracy=a, train_loss=x, train_accuracy=a, epoch=3)
        for x, a in ((2, 0.5), (1, 0.5))
    ]
    found = [Result(1, (0.1,), DONE, best[0]), Result(2, (0.01,), DONE, best[1]), Result(3, (1,), WAITING)]
    assert [line.split() for line in table(("lr",), found).splitlines()] == [
        ["run", "lr", "accuracy", "loss", "epoch"],
        ["2", "0.01", "0.5", "1", "3"],
        ["1", "0.1", "0.5", "2", "3"],
        ["3", "1", "waiting"],
    ]


def test_the_plot():
    panels = sweep_results(["lr", "kind"], [((1e-3, "a"), 3.0), ((0.1, "b"), 2.0)], "loss")
    assert panels[0].get_xscale() == "log"
    assert [line.get_ydata().tolist() for line in panels[1].get_lines()] == [[3.0, 2.0], [2.0]]
