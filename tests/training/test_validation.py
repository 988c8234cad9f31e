"""Validation: what is split off, the best epoch, early stopping, the schedule plateau, and one test at the end."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.cli import main
from cuslayer.training import (
    Config,
    Score,
    Stopped,
    Trainer,
    evaluate,
    load_checkpoint,
    load_config,
    load_run,
    load_stats,
    train,
)
from cuslayer.training.data_of_run import described, load_data
from cuslayer.training.optimizer import OptimizerConfig
from tests.support.deaths import results
from tests.support.tiny import COUNTS, TIMES, memory, no_figures, silent, weights, write_folder


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A short run, a quarter of whose 12 recordings are for validation."""
    no_figures(monkeypatch)
    data, out = str(write_folder(tmp_path / "data", (0, 1, 2) * 4)), str(tmp_path / "out")
    given = {
        "layers": ("34x34x2", "8", "3"),
        "error": COUNTS,
        "data": data,
        "out": out,
        "validation": 0.25,
    }
    return Config(duration=30.0, epochs=3, batch=4, **given)


@pytest.fixture
def looked(monkeypatch):
    """Give validation chosen accuracies; return the list of these, and the titles of all evaluations."""
    real, accuracies, titles = Trainer.test, [], []

    def test(self, batches, *, title="test", **options):
        titles.append(title)
        score = real(self, batches, title=title, **options)
        return Score(1.0, accuracies.pop(0)) if title == "validation" and accuracies else score

    monkeypatch.setattr(Trainer, "test", test)
    return accuracies, titles


def files(loader):
    return {loader.dataset.where(i).rpartition("/")[2] for i in range(len(loader.dataset))}


def test_recordings_are_split_off_by_class_and_seed(config, tmp_path):
    parts = {}
    for seed in range(4):
        data = load_data(config.with_options(seed=seed), config.network(), train=True)
        assert np.bincount(data.train.dataset.labels).tolist() == [3, 3, 3]
        assert np.bincount(data.validation.dataset.labels).tolist() == [1, 1, 1]
        parts[seed] = files(data.validation)
        assert files(data.train) == {f"{n}.bs2" for n in range(1, 13)} - parts[seed]
        assert data.train.shuffle
        assert not data.validation.shuffle
    assert len({frozenset(each) for each in parts.values()}) > 1
    assert files(load_data(config, config.network(), train=True).validation) == parts[0]
    assert len(load_data(config, config.network()).train.dataset) == 12  # of a run that is read
    # A run goes on with its own recordings alone.
    before = described(data.train, config)
    for name in files(data.train):
        file = tmp_path / "data" / name
        raw = file.read_bytes()
        file.write_bytes(raw[::-1])
        assert described(data.train, config) != before
        file.write_bytes(raw)


def test_a_list_of_recordings(config, tmp_path):
    """They are taken from the training set where they are in its list."""
    (tmp_path / "data" / "validation.txt").write_text("2 1\n3 2\n14 1\n")
    config = config.with_options(validation="validation.txt")
    assert load_config(config.document()).validation == "validation.txt"
    data = load_data(config, config.network(), train=True)
    assert files(data.validation) == {"2.bs2", "3.bs2", "14.bs2"}
    assert files(data.train) == {f"{n}.bs2" for n in range(1, 13)} - files(data.validation)
    assert load_stats(train(config, log=silent) / "metrics.csv")[0].validation_loss > 0
    for wrong, message in (
        (config.with_options(validation="none.txt"), "none.txt does not exist"),
        (config.with_options(validation="train.txt"), "a training recording must be left"),
        (Config(validation="a.txt"), "validation must be a share of recordings, a list is for a folder, got a.txt"),
    ):
        with pytest.raises(ValueError, match=message):
            load_data(wrong, wrong.network(), train=True)


def test_the_test_set_is_read_once_with_the_weights_of_the_best_epoch(config, looked):
    accuracies, titles = looked
    accuracies += [0.2, 0.9, 0.5]
    said = []
    out = train(config, log=said.append)
    assert titles == ["validation"] * 3 + ["test"]
    rows = load_stats(out / "metrics.csv")
    assert [row.validation_accuracy for row in rows] == [0.2, 0.9, 0.5]
    assert [row.test_loss is not None for row in rows] == [False, True, False]
    best = load_run(out, best=True)
    assert (best.epoch, load_run(out).stats.best) == (2, rows[1])
    assert evaluate(best)[0][:2] == pytest.approx((rows[1].test_loss, rows[1].test_accuracy), rel=1e-9)
    assert evaluate(load_run(out))[0].loss != pytest.approx(rows[1].test_loss, rel=1e-9)
    assert said[-1] == f"epoch   2 | test loss {rows[1].test_loss:.4g}, accuracy {rows[1].test_accuracy:.2%}"
    # The run goes on from its last epoch, and reads the test set again where another epoch is better.
    titles.clear()
    accuracies += [0.3]
    train(config.with_options(epochs=4), resume=True, log=said.append)
    assert titles == ["validation"]
    assert said[-1].startswith("epoch   2 | test loss ")
    accuracies += [0.95]
    train(config.with_options(epochs=5), resume=True, log=said.append)
    assert titles == ["validation"] * 2 + ["test"]
    assert said[-1].startswith("epoch   5 | test loss ")
    assert any(line.startswith("the test set was read with the weights of epoch 2; it is read again") for line in said)


def test_validation_changes_nothing_that_is_trained(config, tmp_path):
    """A run without it, on the same training recordings, has the same weights."""
    (tmp_path / "data" / "validation.txt").write_text("".join(f"{n} {(n - 1) % 3}\n" for n in (13, 14)))
    out = train(config.with_options(validation="validation.txt"), log=silent)
    other = train(Config(**{**vars(config), "validation": None, "out": str(tmp_path / "other")}), log=silent)
    assert (weights(out), memory(out)) == (weights(other), memory(other))


def test_early_stopping(config, looked):
    accuracies, titles = looked
    accuracies += [0.5, 0.7, 0.7, 0.6, 0.8]
    said, config = [], config.with_options(epochs=9, patience=2)
    out = train(config, log=said.append)
    assert len(load_stats(out / "metrics.csv")) == 4
    assert said[-2] == "the run ends, as 2 epochs had no better validation score than epoch 2"
    assert said[-1].startswith("epoch   2 | test ")
    assert load_checkpoint(out / "checkpoint.npz").epoch == 4
    train(config, resume=True, log=said.append)
    assert said[-1].startswith("epoch   2 | train loss ")
    assert said[-2] == f"{out} stands at epoch 4, nothing is left to train; to go on, give --patience N, N above 2"
    titles.clear()
    train(config.with_options(patience=3, epochs=5), resume=True, log=said.append)
    assert titles == ["validation", "test"]
    assert "warning: training.patience is 3, was 2" in said


def test_the_schedule_plateau(config, looked, monkeypatch):
    """The rate falls after each two epochs without a better score, also in a run that is resumed."""
    seen, step = {}, cs.SGD.step
    monkeypatch.setattr(cs.SGD, "step", lambda self: seen.setdefault(self.epoch, self.lr) and step(self))
    optimizer = OptimizerConfig("SGD", lr=0.4, schedule="plateau", every=2, factor=0.5)
    config = config.with_options(optimizer=optimizer, epochs=3)
    looked[0].extend([0.5, 0.4, 0.5, 0.5, 0.5, 0.6, 0.6, 0.7])
    train(config, log=silent)
    train(config.with_options(epochs=8), resume=True, log=silent)
    assert [seen[epoch] for epoch in range(8)] == [0.4, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(("epochs", "batch", "warmup"), [(8, 2, 4), (20, 9, 2), (100, 3, 30)])
def test_the_warm_up_is_a_tenth_of_all_epochs(config, monkeypatch, epochs, batch, warmup):
    """Of 9 recordings; 30 steps at most."""
    optimizers, make = [], Config.make_optimizer
    monkeypatch.setattr(Config, "make_optimizer", lambda *a, **o: optimizers.append(make(*a, **o)) or optimizers[-1])
    for resume, last in ((False, 2), (True, 0)):
        questions = iter([False] * last + [True])
        with pytest.raises(Stopped):
            train(
                config.with_options(epochs=epochs, batch=batch),
                resume=resume,
                log=silent,
                stop=lambda questions=questions: next(questions),
            )
    assert [optimizer.warmup for optimizer in optimizers] == [warmup] * 2


def test_a_death_between_the_last_epoch_and_the_test(config, tmp_path, looked):
    """The best epoch is not the last one: its weights are read again, and those of the last one come back."""
    accuracies, titles = looked
    accuracies += [0.2, 0.9, 0.5] * 2
    whole = train(config, log=silent)
    other = config.with_options(out=str(tmp_path / "other"))
    with pytest.raises(Stopped) as stopped:
        train(other, log=silent, stop=lambda: titles.count("test") == 2)
    assert (stopped.value.epoch, stopped.value.batches) == (3, 0)
    assert load_stats(tmp_path / "other" / "metrics.csv")[1].test_loss is None
    assert results(train(other, resume=True, log=silent)) == results(whole)
    assert titles.count("validation") == 6


def test_what_is_refused(config, tmp_path, capsys):
    needs = "needs a validation set, got none; give validation, such as 0.1"
    for options, message in (
        ({"validation": None, "patience": 3}, f"patience {needs}"),
        ({"validation": None, "optimizer": OptimizerConfig(schedule="plateau")}, f"the schedule plateau {needs}"),
        (
            {"error": TIMES},
            "validation is for classes, spike times have one pair of recordings, got 0.25",
        ),
    ):
        with pytest.raises(ValueError, match=f"^Config: {message}$"):
            Config(**{**vars(config), **options})
    out = str(train(config.with_options(epochs=1), log=silent))
    for options, message in (
        (("--resume", "--out", out, "--validation", "0.5"), f"validation of a resumed run cannot change, {out} has"),
        (("--patience", "3", "--out", str(tmp_path / "new")), needs),
        (("--validation", "2"), "--validation must be a share between 0 and 1, or a label list, got 2"),
    ):
        assert main(["train", *options]) == 2
        err = capsys.readouterr().err
        assert (message in err, err.count("\n")) == (True, 1)
