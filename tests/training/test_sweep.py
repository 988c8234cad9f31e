"""Sweeps: the points of a search, runs that fail or are pruned, and a sweep that goes on where it was interrupted."""

from __future__ import annotations

import os
import re
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import yaml

from cuslayer import cli
from cuslayer.training import EpochStats, Stopped, load_config, train
from cuslayer.training import sweep as module
from cuslayer.training.lock import Lock
from cuslayer.training.sweep import DONE, FAILED, PRUNED, WAITING, Result, load_sweep, reporter, sweep, table
from tests.support.deaths import tiny
from tests.support.refused import refuses
from tests.support.tiny import no_figures, silent

pytestmark = pytest.mark.all

optuna = pytest.importorskip("optuna")

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


def test_a_configuration_by_its_name(write):
    assert (
        load_sweep(write(config="digits", keys={BATCH: [2]})).base["layer"] == load_config("digits").document()["layer"]
    )


@pytest.fixture
def trained(monkeypatch):
    """Train the runs in this process; return the list of the numbers of those that were begun and of those resumed."""
    no_figures(monkeypatch)
    calls = []

    def run(arguments, cores):
        resume, out, trial = arguments[0] == "--resume", arguments[-1], arguments[-3]
        calls.append(f"{'+' * resume}{out[-3:]}")
        config = load_config(os.path.join(out, "config.yaml") if resume else arguments[0])
        report = reporter(trial, config.epochs)
        try:
            train(config.with_options(out=out), log=silent, resume=resume, report=report)
        except Stopped:
            pass
        except ValueError as problem:
            return str(problem)
        return None

    monkeypatch.setattr(module, "train_run", run)
    return calls


def study_of(given):
    storage, names = module._storage(optuna, str(given.out / "study.log"))
    assert names == ["sweep"]
    return optuna.load_study(study_name=names[0], storage=storage)


def test_a_grid(write):
    found = load_sweep(write(keys={LR: [0.1, 0.01], WIDTH: [4, "5"], BATCH: [2]}))
    assert found.points == ((0.1, 4, 2), (0.1, "5", 2), (0.01, 4, 2), (0.01, "5", 2))
    assert [found.config(point).optimizer.lr for point in found.points] == [0.1, 0.1, 0.01, 0.01]
    assert [found.config(point).layers[1].text for point in found.points] == ["4", "5", "4", "5"]
    # A tenth is for validation, unless the configuration says otherwise.
    assert found.base["training"]["validation"] == 0.1
    # Of the usual configuration, and of one within the file.
    assert load_sweep(write(config=None, keys={BATCH: [4]})).config((4,)).layers[1].text == "256"
    inside = {"layer": [{"dim": "6x6x2"}, {"dim": 7}], "training": {"validation": 0.3}}
    config = load_sweep(write(config=inside, keys={BATCH: [4]})).config((4,))
    assert (config.layers[1].text, config.validation) == ("7", 0.3)
    inside = load_config("psmnist").document()
    found = load_sweep(write(config=inside, keys={"simulation.tSample": [50, 500]}))
    assert [found.config(point).steps for point in found.points] == [5, 50]


def test_a_random_search(write, tmp_path, monkeypatch):
    """Points are in their intervals, whole where the ends are; each seed has its own, of which more runs have more."""
    keys = {
        LR: {"low": 1e-4, "high": 1.0, "log": True},
        BATCH: {"low": 1, "high": 3},
        "training.optimizer.momentum": {"low": "2e-1", "high": 0.4},
        WIDTH: [3, 4],
    }
    monkeypatch.setattr(module, "train_run", lambda arguments, cores: "no")

    def points(runs, seed):
        shutil.rmtree(tmp_path / "sweep", ignore_errors=True)
        return [r.point for r in sweep(load_sweep(write(search="random", runs=runs, seed=seed, keys=keys)), log=silent)]

    found = points(12, 5)
    assert points(8, 5) == found[:8]
    assert not {*points(12, 6), *points(12, 4)} & {*found}
    lr, batch, momentum, width = map(np.array, zip(*found, strict=True))
    assert 0.1 < (lr < 0.01).mean() < 0.9
    assert (set(batch), set(width)) == ({1, 2, 3}, {3, 4})
    assert 0.2 <= momentum.min() < momentum.max() <= 0.4
    keys["training.optimizer.type"] = ["Adam", "Adm", "SGD"]
    assert "Adm" in [point[-1] for point in points(9, 5)]  # its run fails, and stops no other


def within(key, **interval):
    return {"keys": {key: interval}, "search": "tpe", "runs": 1}


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"keys": {"layer[9].dim": [1]}}, ValueError, "keys.layer[9].dim is no key of the configuration"),
        ({"keys": {"training.batchs": [1]}}, ValueError, "run 1 (training.batchs 1): load_config: training.batchs is"),
        ({"keys": {BATCH: [1, 0]}}, ValueError, "run 2 (training.batch 0): load_config: training.batch must be"),
        ({"keys": {BATCH: 4}}, TypeError, "keys.training.batch must be a list of values, got 4"),
        ({"keys": {BATCH: {"low": 1, "high": 3}}}, TypeError, "keys.training.batch must be a list of values, got {"),
        ({"keys": {BATCH: [1]}, "search": "all"}, ValueError, "search must be one of grid, random, tpe, got 'all'"),
        ({"keys": {BATCH: [1]}, "search": "random"}, ValueError, "runs is missing"),
        ({"keys": {BATCH: [2] * 400, LR: [0.1] * 400}}, ValueError, "at most 100000 runs, got 160000"),
        (within(BATCH, low=3, high=3), ValueError, "keys.training.batch.low must be under high, 3, got 3"),
        (within(LR, low=0, high=3, log=True), ValueError, "keys.training.optimizer.lr.low must be positive, got 0"),
        (within(BATCH, low=0, high=3), ValueError, "(training.batch 0): load_config: training.batch must be at least"),
    ],
)
def test_what_is_no_sweep(write, given, kind, message):
    path = write(**given)
    with pytest.raises(kind, match=rf"^load_sweep: {re.escape(str(path))}: .*{re.escape(message)}"):
        load_sweep(path)


def test_a_sweep_goes_on(write, trained, monkeypatch):
    given = load_sweep(write(keys={LR: [0.05, 0.01], BATCH: [2, 4]}))
    whole, fails, lines = module.train_run, ["002"], []
    monkeypatch.setattr(module, "train_run", lambda a, c: "it burns" if a[-1][-3:] in fails else whole(a, c))
    found = sweep(given, log=lines.append)
    assert [result.status for result in found] == [DONE, FAILED, DONE, DONE]
    assert any(line == "run 2 (training.optimizer.lr 0.05, training.batch 4) failed: it burns" for line in lines)
    rows = (given.out / "results.csv").read_text().splitlines()
    assert rows[0] == f"run,{LR},{BATCH},status,accuracy,loss,epoch,error"
    assert rows[2] == "2,0.05,4,failed,,,,it burns"
    assert rows[1] == f"1,0.05,2,done,{found[0].accuracy:.10g},{found[0].loss:.10g},1,"
    assert (given.out / "results.png").exists()
    assert not [*given.out.glob("*lock")]
    fails.clear()
    trained.clear()
    again = sweep(given, log=silent)
    assert [result.status for result in again] == [DONE] * 4
    assert again[1].best.epoch == 1
    assert again[1].best.test_loss is None
    assert trained == ["002"]
    # More points are added; others are refused.
    trained.clear()
    assert len(sweep(load_sweep(write(keys={LR: [0.05, 0.01, 0.1], BATCH: [2, 4]})), log=silent)) == 6
    assert trained == ["005", "006"]
    with refuses("sweep: jobs must be at least 1"):
        sweep(given, jobs=0, log=silent)


def test_a_smaller_or_another_sweep_keeps_the_table(write, trained):
    """More points are added to a sweep; fewer, or other keys, values and configurations, are another sweep."""
    given = load_sweep(write(keys={BATCH: [2, 4, 1]}))
    sweep(given, log=silent)
    before = {p.name: p.read_bytes() for p in given.out.iterdir() if p.is_file()}
    trained.clear()
    others = [{"keys": {BATCH: values}} for values in ([2, 4], [2, 1, 4], [2, 4, 12])]
    others += [{"keys": {"training.epochs": [2, 4, 1]}}, {"config": None, "keys": {BATCH: [2, 4, 1]}}]
    others += [{"search": "tpe", "runs": 9, "keys": {BATCH: [2, 4, 1]}}]
    for other in others:
        with pytest.raises(ValueError, match=f"^sweep: {given.out} holds another sweep; name another folder$"):
            sweep(load_sweep(write(**other)), log=silent)
    assert {p.name: p.read_bytes() for p in given.out.iterdir() if p.is_file()} == before
    assert not trained
    shutil.rmtree(given.out)
    for runs in (2, 1):
        few = load_sweep(write(search="random", runs=runs, keys={BATCH: [2, 4]}))
        if runs == 2:
            sweep(few, log=silent)
    with pytest.raises(ValueError, match="holds another sweep"):
        sweep(few, log=silent)


@pytest.mark.parametrize("name", ["results.csv", "results.png", "002.yaml", "study.log"])
def test_files_of_the_user_are_kept(write, trained, tmp_path, name):
    given = load_sweep(write(keys={BATCH: [2, 4]}))
    given.out.mkdir()
    (given.out / name).write_text("mine\n")
    with pytest.raises(ValueError, match=rf"^sweep: .*({name} is of no sweep|{name} cannot be opened)"):
        sweep(given, log=silent)
    assert {p.name: p.read_text() for p in given.out.iterdir()} in ({name: "mine\n"}, {name: "mine\n", "study.log": ""})
    # A run would count as one of the sweep, whatever it was trained by.
    shutil.rmtree(given.out)
    train(tiny(tmp_path, epochs=1).with_options(out=str(given.out / "002")), log=silent)
    for added in (False, True):  # a new sweep, and a run that is added
        if added:
            sweep(load_sweep(write(keys={BATCH: [2]})), log=silent)
        with pytest.raises(ValueError, match=r"^sweep: .*002.checkpoint\.npz is of no sweep"):
            sweep(load_sweep(write(keys={BATCH: [2, 4]})), log=silent)


@pytest.mark.parametrize("name", ["study.log", "001", "002"])
def test_links_out_of_the_folder_are_not_followed(write, trained, tmp_path, name):
    """Neither the study nor a run is written elsewhere, whether the other place exists or not."""
    given, outside = load_sweep(write(keys={BATCH: [2, 4]})), tmp_path / "outside"
    for exists in (False, True):
        given.out.mkdir(exist_ok=True)
        if exists and name == "study.log":
            outside.write_text("")
        elif exists:
            outside.mkdir()
        (given.out / name).symlink_to(outside)
        with pytest.raises(
            ValueError, match=rf"^sweep: .*{name} (must be a file, not a link|is a link, through which)"
        ):
            sweep(given, log=silent)
        assert not exists or (outside.read_text() == "" if outside.is_file() else not [*outside.iterdir()])
        assert exists or not outside.exists()
        shutil.rmtree(given.out)


@pytest.mark.parametrize(
    "noted",
    [
        *({"run": run} for run in ("1", 0, -5, 10**9)),
        *({"point": point} for point in ([2, 4], 3)),
        {"error": 3},
        *({"best": best} for best in ([1, 2.0], [1, None, 5.0, None, None, 1.0], ["a"] * 8)),
    ],
)
def test_a_damaged_study_is_one_line(write, trained, noted):
    given = load_sweep(write(keys={BATCH: [2]}))
    sweep(given, log=silent)
    study = study_of(given)
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"run": 1, "point": [2]} | noted))
    with pytest.raises((ValueError, TypeError), match=r"^sweep: .* has a damaged study: ") as problem:
        sweep(given, log=silent)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("lock", ["001.lock", "001/lock"], ids=["sweep", "run"])
def test_a_run_whose_process_has_died_is_resumed(write, trained, monkeypatch, lock):
    """Its trial still runs, and its folder has a checkpoint.

    The run of another process that lives, be it that of its sweep or its own, is left to it.
    """
    given = load_sweep(write(keys={"training.optimizer.momentum": [0.5, 0.6]}, pruning="median"))
    whole = module.train_run

    def dies(arguments, cores):
        config = given.config((0.5,))
        stops = iter([False, True])
        with pytest.raises(Stopped):
            train(config.with_options(out=arguments[-1]), log=silent, stop=lambda: next(stops))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_run", dies)
    with pytest.raises(KeyboardInterrupt):
        sweep(given, log=silent)
    study = study_of(given)
    assert [trial.state.name for trial in study.trials] == ["RUNNING"]
    monkeypatch.setattr(module, "train_run", whole)
    held = Lock(given.out / lock, given.out)
    assert [r.status for r in sweep(given, log=silent)] == ["started", DONE]
    assert trained == ["002"]
    held.release()
    assert [r.status for r in sweep(given, log=silent)] == [DONE, DONE]
    assert trained == ["002", "+001"]


def test_several_processes_divide_the_runs(write, trained, monkeypatch):
    """While one trains a run, another one takes the next."""
    given = load_sweep(write(keys={BATCH: [1, 2, 3, 4]}))
    whole, others = module.train_run, []

    def run(arguments, cores):
        if arguments[-1].endswith("002"):
            monkeypatch.setattr(module, "train_run", whole)
            others.extend(sweep(given, log=silent))
        return whole(arguments, cores)

    monkeypatch.setattr(module, "train_run", run)
    assert [r.status for r in sweep(given, log=silent)] == [DONE] * 4
    assert [r.status for r in others] == [DONE, "started", DONE, DONE]
    assert trained == ["001", "003", "004", "002"]


def test_a_database(write, trained, tmp_path):
    given, url = load_sweep(write(keys={BATCH: [2, 4]})), f"sqlite:///{tmp_path / 'study.db'}"
    assert len(sweep(given, study=url, log=silent)) == 2
    assert not (given.out / "study.log").exists()
    assert len(optuna.load_study(study_name=f"cuslayer {given.out}", storage=url).trials) == 2
    trained.clear()
    assert len(sweep(given, study=url, log=silent)) == 2
    assert not trained
    with refuses('sweep: the study nosuch://here cannot be opened: "Can\'t load plugin: sqlalchemy.dialects:nosuch"'):
        sweep(given, study="nosuch://here", log=silent)


def test_a_search_by_results(write, trained):
    keys = {LR: {"low": 1e-3, "high": 1.0, "log": True}, "layer[1].dim": {"low": 2, "high": 9}, BATCH: [2, 4]}
    given = load_sweep(write(search="tpe", runs=3, seed=2, keys=keys))
    found = sweep(given, log=silent)
    assert [result.status for result in found] == [DONE] * 3
    assert len({result.point for result in found}) == 3
    study = study_of(given)
    assert study.direction.name == "MAXIMIZE"
    assert [trial.value for trial in study.trials] == [result.accuracy for result in found]
    reported = [trial.intermediate_values for trial in study.trials]
    assert reported == [{1: result.best.validation_accuracy} for result in found]
    config = load_config(given.out / "002" / "config.yaml")
    assert (config.optimizer.lr, int(config.layers[1].text), config.batch) == found[1].point


def test_a_run_that_does_worse_is_pruned(write, trained, monkeypatch):
    """After two good runs a third is ended at its first epoch; its results so far are kept."""
    values = {"002": 0.9, "003": 0.1}

    def scores(row):
        return values.get("".join(trained[-1:]), 0.8), 1.0

    monkeypatch.setattr(EpochStats, "scores", property(scores))
    monkeypatch.setitem(module._PRUNERS, "median", "PatientlessMedian")
    pruner = lambda: optuna.pruners.MedianPruner(n_startup_trials=1)  # noqa: E731
    monkeypatch.setattr(optuna.pruners, "PatientlessMedianPruner", pruner, raising=False)
    given = load_sweep(write(keys={"training.epochs": [3], BATCH: [1, 2, 3]}, pruning="median"))
    lines = []
    found = sweep(given, log=lines.append)
    assert [result.status for result in found] == [DONE, DONE, PRUNED]
    assert [result.best.epoch for result in found][2] == 1
    assert "run 3 (training.epochs 3, training.batch 3) was pruned: epoch   1" in lines[3]
    trained.clear()
    assert [r.status for r in sweep(given, log=silent)] == [DONE, DONE, PRUNED]
    assert not trained


def test_a_run_that_has_all_its_epochs_is_not_pruned(write, trained, monkeypatch):
    class Always(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return True

    monkeypatch.setattr(optuna.pruners, "MedianPruner", Always)
    given = load_sweep(write(keys={"training.epochs": [1, 2]}, pruning="median"))
    assert [r.status for r in sweep(given, log=silent)] == [DONE, PRUNED]


def test_a_loss_is_minimized_where_there_are_no_classes(write, monkeypatch):
    monkeypatch.setattr(module, "train_run", lambda arguments, cores: "no")
    base = yaml.safe_load(tiny(write().parent).to_yaml())
    base["training"]["error"] = {"type": "SpikeTime"}
    given = load_sweep(write(config=base, keys={BATCH: [1]}))
    sweep(given, log=silent)
    study = study_of(given)
    assert study.direction.name == "MINIMIZE"
    assert module._value(study, EpochStats(1, 3.0, None, None, None, 1.0)) == 3.0


def test_the_table():
    """The best run is first. Of an epoch with validation its scores count, of one without those of training."""
    best = EpochStats(3, 2.0, 0.75, 0.1, 1.0, 1.0), EpochStats(4, 9.0, 0.9, None, None, 1.0, 1.0, 0.5)
    found = [Result(1, (1,), DONE, replace(best[1], validation_loss=2.0)), Result(2, (2,), DONE, best[1])]
    found += [Result(3, (3,), DONE, best[0]), Result(4, (0.1,), WAITING)]
    assert [(r.accuracy, r.loss) for r in found[1:3]] == [(0.5, 1.0), (0.75, 2.0)]
    assert [line.split() for line in table(("n",), found).splitlines()] == [
        ["run", "n", "accuracy", "loss", "epoch"],
        ["3", "3", "0.75", "2", "3"],
        ["2", "2", "0.5", "1", "4"],
        ["1", "1", "0.5", "2", "4"],
        ["4", "0.1", "waiting"],
    ]
    assert Result(1, (1,), DONE, EpochStats(3, 2.0, None, None, None, 1.0, 1.0)).accuracy is None


def test_runs_are_processes(write, tmp_path, capsys, monkeypatch):
    """The command trains one, and the other is killed."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    program = module._PROGRAM.replace(
        "from cus", f"if '002' in sys.argv[-1]: os.kill(os.getpid(), {signal.SIGKILL})\nfrom cus"
    )
    monkeypatch.setattr(module, "_PROGRAM", program)
    assert cli.main(["sweep", str(write(keys={LR: [0.05, 0.01]})), "--jobs", "2"]) == 2
    printed = capsys.readouterr().out
    assert "run 2 (training.optimizer.lr 0.01) failed: it said nothing (signal 9)" in printed
    assert re.search(r"run 1 \(training.optimizer.lr 0.05\): epoch   1 \| train loss", printed)
    assert re.search(r"(?m)^  1 +0.05 +[\d.]+ +[\d.]+ +1$", printed)


def test_a_sweep_that_loses_its_folder(write, tmp_path, monkeypatch, capsys):
    """Another sweep may be in its place: nothing is written there."""
    path, out = write(keys={BATCH: [1, 2]}), tmp_path / "sweep"

    def lose(arguments, cores):
        if not (tmp_path / "moved").exists():
            out.rename(tmp_path / "moved")
            shutil.copytree(tmp_path / "moved", out)
        return "it burns"

    monkeypatch.setattr(module, "train_run", lose)
    assert cli.main(["sweep", str(path)]) == 2
    assert "sweep is no longer in use by this process" in capsys.readouterr().err
    assert (out / "study.log").read_bytes() == (tmp_path / "moved" / "study.log").read_bytes()


def test_without_optuna(write, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert cli.main(["sweep", str(write(keys={BATCH: [1]}))]) == 2
    assert capsys.readouterr().err == "cuslayer: sweep: optuna is not installed; pip install 'cuslayer[sweep]'\n"


def test_a_large_grid_is_read_at_once(write, monkeypatch):
    """Of each key, every value is tested; not all their combinations."""
    made = []
    monkeypatch.setattr(module, "load_config", lambda given: made.append(given) or load_config(given))
    assert load_sweep(write(keys={BATCH: [*range(1, 200)], "training.seed": [*range(200)]})).runs == 39_800
    assert len(made) < 600
    with pytest.raises(ValueError, match=r"training\.batch must be at least 1, got -1"):
        load_sweep(write(keys={BATCH: [*range(1, 200), -1, 4], "training.seed": [*range(200)]}))
