"""A run that is stopped, dies or has no disk goes on at the next batch, and ends with the bits of one that has not."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer._base.files import write_whole
from cuslayer.cli import main
from cuslayer.data import Loader
from cuslayer.training import GradientFlow, Stopped, Tally, figures, load_checkpoint, load_run, train
from cuslayer.training.optimizer import OptimizerConfig
from cuslayer.training.run_folder import NAMES
from tests.support.deaths import Disk, dies, results, tiny, with_every_kind
from tests.support.refused import refuses
from tests.support.tiny import no_figures, silent
from tools import fake_cupy
from tools.emulator.driver import in_one_order

pytestmark = pytest.mark.all


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    no_figures(monkeypatch)
    with_every_kind(monkeypatch)


class Stop:
    """Answers that a run is to stop, at one question."""

    def __init__(self, at):
        self.left = at

    def __call__(self):
        self.left -= 1
        return self.left < 0


def stopped(config, at, log=silent, **options):
    """Run until the run asks for the `at`-th time whether it is to stop; return the exception, or None at the end."""
    try:
        train(config, stop=Stop(at), log=log, **options)
    except Stopped as problem:
        return problem
    return None


OPTIMIZERS = {
    "SGD": OptimizerConfig("SGD", lr=0.05, momentum=0.9, schedule="plateau", every=1, factor=0.5),
    "Adam": OptimizerConfig(),
    "NAdam": OptimizerConfig("NAdam", lr=0.02, schedule="step", every=1, factor=0.5, warmup=3, relative=True),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_that_is_stopped_again_and_again(tmp_path, kind):
    """Within training, validation and test, and between epochs; the first layer is calibrated before the first step.

    A run that is stopped after every step still gets on: each stop saves a later place.
    """
    options = {"batch": 1, "initialization": "calibrated", "checkpoint_steps": None, "validation": 0.5, "epochs": 3}
    config = tiny(tmp_path, optimizer=OPTIMIZERS[kind], **options)
    expected = results(train(config.with_options(out=str(tmp_path / "whole")), log=silent))
    assert len({row.split(",", 1)[1] for row in expected["metrics.csv"]}) >= 3
    places = set()
    for first, later in ((1, 3), (4, 3), (1, 1)):
        config, place = config.with_options(out=str(tmp_path / f"out{first}{later}")), (0, 0, 0)
        found = stopped(config, first)
        while found is not None:
            assert found.saved
            places.add((found.epoch, found.batches))
            checkpoint = load_checkpoint(found.folder / "checkpoint.npz")
            assert (checkpoint.epoch, checkpoint.batches) == (found.epoch, found.batches)
            tested = checkpoint.place.tested if checkpoint.place is not None else None
            before, place = place, (found.epoch, found.batches, 0 if tested is None else tested["batches"])
            assert place > before or found.epoch == 3  # the test begins again
            backend.generator().random(3)  # what is drawn in between does not matter
            found = stopped(config, later if found.epoch < 3 else 9, resume=True)
        assert results(tmp_path / f"out{first}{later}") == expected
    assert {epoch for epoch, _ in places} == {0, 1, 2, 3}
    assert {batches for _, batches in places} >= {0, 1, 2}


def test_a_stop_before_the_first_step_leaves_no_folder(tmp_path):
    found = stopped(tiny(tmp_path, out=str(tmp_path / "out")), 0)
    assert (found.saved, found.epoch, found.batches) == (False, 0, 0)
    assert str(found) == f"train: {tmp_path / 'out'} is stopped, it has no checkpoint yet"
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_stopped_is_a_run(tmp_path):
    config = tiny(tmp_path, out=str(tmp_path / "out"), checkpoint_steps=None)
    found = stopped(config, 2)
    assert str(found).endswith("its checkpoint has 0 epochs and 2 batches of the next, --resume goes on from there")
    run = load_run(tmp_path / "out")
    assert (run.epoch, run.batches, run.stats.epochs) == (0, 2, [])
    said = []
    assert stopped(config, 0, resume=True, log=said.append).batches == 2
    assert said[1:] == ["it goes on in epoch 1 after 2 of 2 batches"]


def test_minutes_and_steps_between_checkpoints(tmp_path, monkeypatch):
    saved = []
    from cuslayer.training import saver

    save = saver.Saver._save

    def noted(self, trainer, at=None):
        saved.append(at and at.batches)
        save(self, trainer, at)

    monkeypatch.setattr(saver.Saver, "_save", noted)

    def places(**options):
        saved.clear()
        config = tiny(tmp_path, batch=1, epochs=1, checkpoint_steps=None)
        train(config.with_options(out=str(tmp_path / str(len(list(tmp_path.iterdir()))))), log=silent, **options)
        return saved

    # The last one has the test.
    assert places() == [None, None]
    assert places(checkpoint_steps=3) == [3, None, None]
    assert places(checkpoint_steps=2) == [2, None, None]
    # A clock that moves by half a minute from one look to the next: at the begin, after a step, after a save.
    clock = iter(range(0, 10**6, 30))
    monkeypatch.setattr(saver.time, "monotonic", lambda: next(clock))
    # A step more would end after two minutes, where the third ends after one and a half.
    assert places(checkpoint_minutes=1.5) == [3, None, None]
    assert places(checkpoint_minutes=1.49) == [2, None, None]
    assert places(checkpoint_minutes=1e6) == [None, None]


@pytest.mark.parametrize("resident", [None, "cuda"])
def test_a_loader_goes_on_within_an_epoch(resident):
    generator = np.random.default_rng(3)
    data = cs.data.Arrays(generator.random((7, 12, 4)) < 0.3, generator.integers(0, 3, 7))

    def batches(loader, first):
        loader.epoch = 2
        found = [(np.asarray(x).tobytes(), y.tobytes()) for x, y in loader.batches_from(first)]
        assert loader.epoch == 3
        return found

    with fake_cupy.in_use():
        loader = Loader(data, 2, shuffle=True, seed=4, resident=resident)
        whole = batches(loader, 0)
        assert len(whole) == 4
        assert [batches(loader, first) for first in (1, 3, 4)] == [whole[1:], whole[3:], []]
    with refuses("Loader: first must be at least 0"):
        loader.batches_from(-1)


def test_captured_steps_go_on_within_an_epoch(tmp_path, monkeypatch):
    config = tiny(tmp_path, batch=1, duration=4.0, checkpoint_steps=None)
    monkeypatch.undo()
    no_figures(monkeypatch)
    with in_one_order(), fake_cupy.in_use():
        expected = results(train(config.with_options(out=str(tmp_path / "whole")), log=silent))
        config = config.with_options(out=str(tmp_path / "out"))
        assert stopped(config, 2).batches == 2
        assert stopped(config, 4, resume=True).epoch == 1
        train(config, resume=True, log=silent)
        assert results(tmp_path / "out") == expected


def test_states_of_scores_and_gradients():
    net = cs.Sequential(cs.Dense(2, 2))
    tally, flow = Tally(), GradientFlow(net)
    tally.add(np.ones((1, 2, 2), bool), [0, 1], 0.1)
    net(np.ones((1, 1, 2))).sum().backward()
    flow.add()
    score, sizes = tally.state(), flow.state()
    again = Tally()
    again.load_state(score)
    assert (again.score(), again.batches, again.samples) == (tally.score(), 1, 2)
    other = GradientFlow(net)
    other.load_state(sizes)
    assert other.end_epoch() == flow.end_epoch() == {"0 Dense": 1.0}
    before = again.state()
    for wrong, message in (
        ({}, "the score must have batches, classes, seconds, totals, got {}"),
        (score | {"batches": -1}, "the score's batches must be an integer from 0, got -1"),
        (score | {"classes": 1}, "the score's classes must be a bool, got 1"),
        (score | {"seconds": -1.0}, "the score's seconds must not be negative, got -1.0"),
        (score | {"totals": [1]}, r"the score must have \d sums of a device, got \[1\]"),
        (score | {"totals": {"tpu": [0.0] * 4}}, r"the score must have \d sums of a device, got {'tpu'"),
        (score | {"totals": {"cpu": [0.0] * 3}}, r"the score must have \d sums of a device, got {'cpu'"),
    ):
        with pytest.raises(ValueError, match=f"^load_state: {message}"):
            again.load_state(wrong)
    assert again.state()["totals"] == before["totals"]
    with pytest.raises(ValueError, match=r"^load_state: the gradient flow's steps must be an integer from 0, got 1.5$"):
        other.load_state(sizes | {"steps": 1.5})
    with pytest.raises(ValueError, match=r"^load_state: the gradient flow must have 1 sums of a device, got"):
        other.load_state({"steps": 1, "squares": {"cpu": [1.0, 2.0]}})


def test_the_seconds_before_a_stop_count(tmp_path):
    """Of the training part of an epoch, stopped within it, and after it within validation."""
    config = tiny(tmp_path, batch=1, epochs=1, out=str(tmp_path / "out"), checkpoint_steps=None, validation=0.5)
    assert stopped(config, 1).batches == 1
    path = tmp_path / "out" / "checkpoint.npz"
    checkpoint = load_checkpoint(path)
    checkpoint.place.trained["seconds"] = 1e6
    checkpoint.save(path)
    assert stopped(config, 2, resume=True).batches == 2
    assert load_checkpoint(path).place.tested is not None
    train(config, resume=True, log=silent)
    assert 1e6 < load_checkpoint(path).record.rows[0].seconds < 2e6
    assert load_run(tmp_path / "out").stats.epochs[0].seconds > 1e6


def test_validation_goes_on_in_its_middle(tmp_path, monkeypatch):
    config = tiny(tmp_path, batch=1, out=str(tmp_path / "out"), checkpoint_steps=None, validation=0.5)
    assert stopped(config, 3).batches == 2  # before the first step, after two of them, and after one of validation
    place = load_checkpoint(tmp_path / "out" / "checkpoint.npz").place
    assert (place.batches, place.of, place.tested["batches"]) == (2, 2, 1)
    tested = []
    add = Tally.add
    monkeypatch.setattr(Tally, "add", lambda self, *given, **options: tested.append(1) or add(self, *given, **options))
    assert stopped(config, 1, resume=True).batches == 2
    assert len(tested) == 1


# Runs that die or whose disk is full, at every change of the disk: they go on, and end with the same bits.
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """A run with layers of every kind that nothing disturbs: configuration, results, changes of the disk."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    png = lambda path, draw, *, size: write_whole(path, lambda file: file.write(b"figure"))  # noqa: E731
    monkeypatch.setattr(figures, "save_figure", png)
    config = tiny(tmp_path, batch=1, validation=0.5)
    train(config.with_options(out=str(tmp_path / "warm")), log=silent)
    disk = Disk(tmp_path / "whole")
    with monkeypatch.context() as patch:
        disk.patch(patch)
        out = train(config.with_options(out=str(tmp_path / "whole")), log=silent)
    return config, results(out), disk.changes


def moments(changes):
    """Yield the number of each change before which the disk has another content than before the one ahead of it."""
    flushes = [number for number, name in enumerate(changes) if name == "fsync"]
    same = {*(number + 1 for number in flushes), *(number for number in flushes if changes[number - 1] == "open")}
    yield from sorted({*range(len(changes))} - same)


def go_on(config, out: Path) -> None:
    """Begin or resume a run, as its folder demands."""
    train(config.with_options(out=str(out)), resume=(out / "checkpoint.npz").exists(), log=silent)


@FORKS
def test_a_death_at_every_change_of_the_disk(whole, tmp_path):
    config, expected, changes = whole
    # Of each epoch one within training, one within validation, three at its end; best, configuration, three with the
    # test, three figures.
    assert changes.count("replace") == 18
    assert {"mkdir", "open", "write a part", "fsync", "replace", "unlink"} < set(changes)
    out = tmp_path / "out"
    for at in moments(changes):
        assert dies(lambda: train(config.with_options(out=str(out)), log=silent), out, at), changes[at]
        go_on(config, out)
        assert results(out) == expected, (at, changes[at])
        shutil.rmtree(out)


@FORKS
def test_a_death_before_the_first_checkpoint_leaves_no_file(whole, tmp_path):
    """What has the name of a file of a run, without a checkpoint, is the user's."""
    config, out = whole[0].with_options(checkpoint_steps=10**6), tmp_path / "out"
    disk = Disk(tmp_path / "once")
    with pytest.MonkeyPatch.context() as patch:
        disk.patch(patch)
        expected = results(train(config.with_options(out=str(tmp_path / "once")), log=silent))
    assert disk.changes.count("replace") == 15
    without = 0
    for at in moments(disk.changes):
        assert dies(lambda: train(config.with_options(out=str(out)), log=silent), out, at), disk.changes[at]
        begun = (out / "checkpoint.npz").exists()
        assert begun or not {p.name for p in out.glob("*")} & {*NAMES}
        go_on(config, out)
        assert results(out) == expected, (at, disk.changes[at])
        shutil.rmtree(out)
        if begun:  # the test above has later deaths
            break
        without += 1
    assert 5 < without < len(disk.changes) / 2


def test_a_full_disk_at_every_change(whole, tmp_path, monkeypatch, capsys):
    config, expected, changes = whole
    file, out = tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(config.to_yaml())

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    for at in range(len(changes)):
        with monkeypatch.context() as patch:
            Disk(out, at, full).patch(patch)
            code = main(["train", str(file), "--out", str(out)])
        said = capsys.readouterr().err
        # Where only a name is removed or a folder is synchronized, nothing is lost.
        if code == 0:
            assert changes[at] in ("mkdir", "open", "fsync", "unlink"), changes[at]  # a folder that is there is enough
        else:
            assert (code, said.count("\n")) == (2, 1)
            assert str(out) in said
            assert "cannot be written (No space left on device); free space there, or write elsewhere" in said
            assert not [p.name for p in out.glob(".*")]
            go_on(config, out)
        assert results(out) == expected, (at, changes[at])
        shutil.rmtree(out)


@FORKS
def test_deaths_of_a_run_that_is_resumed(whole, tmp_path):
    """Each attempt dies a little later than the one before, until the run is complete."""
    config, expected, _ = whole
    out, deaths = tmp_path / "out", 0
    for at in range(9, 200, 7):
        if not dies(lambda: go_on(config, out), out, at):
            break
        deaths += 1
    assert deaths > 3
    assert results(out) == expected


@FORKS
def test_other_options_survive_a_death(whole, tmp_path):
    """A run is resumed with more epochs, and dies before or after its configuration is written."""
    config, _, _ = whole
    longer = config.with_options(epochs=3)
    expected, out = None, tmp_path / "out"
    for at in [None, *range(4, 18, 2)]:
        train(config.with_options(out=str(out)), log=silent)
        if at is not None:
            assert dies(lambda: train(longer.with_options(out=str(out)), resume=True, log=silent), out, at)
        resume = ["train", "--resume", "--out", str(out)]
        first = at is None or "epochs: 3" not in (out / "config.yaml").read_text()
        assert main([*resume, "--epochs", "3"] if first else resume) == 0
        expected = expected or results(out)
        assert results(out) == expected
        assert "epochs: 3" in (out / "config.yaml").read_text()
        shutil.rmtree(out)
