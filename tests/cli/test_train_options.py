"""Options of `cuslayer train` change what they name, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from cuslayer.cli import main
from cuslayer.training import load_checkpoint, load_config, train
from cuslayer.training.optimizer import OptimizerConfig
from tests.support.deaths import results, tiny
from tests.support.tiny import no_figures, silent
from tests.training.test_run_stopped import stopped

pytestmark = pytest.mark.all


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Train with some arguments in a folder; return the exit code and stderr."""
    no_figures(monkeypatch)

    def run(out, *arguments):
        code = main(["train", *map(str, arguments), "--out", str(tmp_path / out)])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def file(tmp_path):
    """Write the configuration of a short run."""

    def file(**options):
        path = tmp_path / "run.yaml"
        path.write_text(tiny(tmp_path, initialization="calibrated", **options).to_yaml())
        return path

    return file


@pytest.mark.parametrize("kind", ["Adam", "SGD", "NAdam"])
def test_a_rate_of_the_same_value_changes_nothing(run, file, tmp_path, kind):
    config = file(optimizer=OptimizerConfig(kind))
    lr = load_config(config).optimizer.lr
    assert run("without", config) == run("with", config, "--lr", lr) == (0, "")
    assert results(tmp_path / "without") == results(tmp_path / "with")


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("--lr", 0.02, "optimizer.lr"),
        ("--clip-norm", 3.0, "optimizer.clip_norm"),
        ("--clip-value", 3.0, "optimizer.clip_value"),
        ("--optimizer", "NAdam", "optimizer.type"),
        ("--batch", 3, "batch"),
        ("--epochs", 1, "epochs"),
        ("--seed", 4, "seed"),
        ("--validation", 0.5, "validation"),
        ("--micro", 1, "micro"),
        ("--checkpoint-steps", 3, "checkpoint_steps"),
        ("--truncate", 50, "truncate"),
        ("--recompute", 50, "recompute"),
        ("--online", "eprop", "online"),
        ("--checkpoint-minutes", 3.0, "checkpoint_minutes"),
    ],
)
def test_an_option_changes_one_key(run, file, tmp_path, option, value, name):
    optimizer = OptimizerConfig(lr=0.5, schedule="step", warmup=2)
    before = load_config(file(optimizer=optimizer, epochs=2))
    assert run("out", tmp_path / "run.yaml", option, value) == (0, "")
    part, _, inner = name.partition(".")
    changed = optimizer.changed(**{inner: value}) if inner else value
    expected = dataclasses.replace(before, **{part: changed}, out=str(tmp_path / "out"))
    assert load_config(tmp_path / "out" / "config.yaml") == expected


@pytest.mark.filterwarnings("always:train")
def test_another_optimizer_has_no_options_of_the_first(run, file, tmp_path):
    optimizer = OptimizerConfig("SGD", lr=0.05, momentum=0.9, clip_norm=2.0)
    config = file(optimizer=optimizer)
    said = "cuslayer: warning: train: Adam has no momentum, which the configuration sets; dropped\n"
    assert run("adam", config, "--optimizer", "adam") == (0, said)
    used = load_config(tmp_path / "adam" / "config.yaml").optimizer
    assert used == optimizer.changed(type="Adam")
    config = file(optimizer=OptimizerConfig("NAdam", amsgrad=False, momentum_decay=None))
    said = "cuslayer: warning: train: SGD has no amsgrad, momentumDecay, which the configuration sets; dropped\n"
    assert run("sgd", config, "--optimizer", "SGD") == (0, said)
    # The same one keeps all.
    assert run("same", config, "--optimizer", "nadam") == (0, "")
    assert load_config(tmp_path / "same" / "config.yaml").optimizer == load_config(config).optimizer
    with pytest.raises(SystemExit):
        run("none", config, "--optimizer", "lion")


def test_options_of_a_resumed_run(run, file, tmp_path):
    """They are used from here on, or refused in a line where they come too late."""
    config = file(optimizer=OptimizerConfig(lr=0.05))
    assert run("out", config, "--lr", 0.02, "--epochs", 1) == (0, "")
    before = results(tmp_path / "out")
    for option, value, key in (
        ("--seed", 4, "training.seed"),
        ("--optimizer", "SGD", "training.optimizer.type"),
        ("--network", "6x6x2-5-2", "the network"),
    ):
        code, err = run("out", "--resume", "--epochs", 2, option, value)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith(f"cuslayer: train: {key} of a resumed run cannot change")
    assert results(tmp_path / "out") == before
    # What the first command line has changed stays, and a rate of its own counts from the next step.
    assert run("out", "--resume", "--epochs", 2, "--batch", 1, "--optimizer", "Adam") == (0, "")
    used = load_config(tmp_path / "out" / "config.yaml")
    assert (used.optimizer.lr, used.batch, used.epochs) == (0.02, 1, 2)
    assert int(load_checkpoint(tmp_path / "out" / "checkpoint.npz").optimizer["steps"]) == 2 + 4
    first = results(tmp_path / "out")
    assert run("out", "--resume", "--epochs", 3, "--lr", 1e-30) == (0, "")
    last = results(tmp_path / "out")
    assert last["checkpoint.npz 0.weight"] == first["checkpoint.npz 0.weight"]


def test_the_run_that_a_configuration_names_is_resumed(file, tmp_path, monkeypatch, capsys):
    no_figures(monkeypatch)
    monkeypatch.chdir(tmp_path)
    config = file(out="mine", epochs=1)
    train(tiny(tmp_path, out="runs/1", epochs=1), log=silent)
    assert main(["train", str(config)]) == 0
    assert main(["train", str(config), "--resume", "--epochs", "2"]) == 0
    assert [load_checkpoint(f"{name}/checkpoint.npz").epoch for name in ("mine", "runs/1")] == [2, 1]


@pytest.mark.parametrize(("name", "option"), [("train", "--epochs"), ("train", "--lr"), ("predict", "--test")])
def test_digits_of_other_scripts(name, option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, *(["--out"] if name == "train" else []), str(tmp_path / "out"), option, "٣"])
    assert stop.value.code == 2
    assert f"argument {option}: invalid" in capsys.readouterr().err


def test_a_run_in_the_middle_of_an_epoch_takes_another_rate(run, tmp_path):
    no_rate = tiny(tmp_path, out=str(tmp_path / "out"), optimizer=OptimizerConfig("SGD", lr=0.05))
    assert stopped(no_rate, 1).batches == 1
    before = load_checkpoint(tmp_path / "out" / "checkpoint.npz").network
    assert run("out", "--resume", "--lr", 1e-30) == (0, "")
    after = load_checkpoint(tmp_path / "out" / "checkpoint.npz").network
    assert all((after[name] == before[name]).all() for name in before)
