"""The log of a training: scores of an epoch, the best epoch, text, plot, and the CSV file."""

from __future__ import annotations

import math
import time
import tracemalloc
from dataclasses import astuple
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.training import EpochStats, Tally, load_stats, save_stats
from tests.support.refused import refuses
from tests.support.tiny import HEADER

# Two samples of two classes, classified as 0 and 1.
SPIKES = np.array([[[True, False], [False, True]]])
ROWS = [EpochStats(1, 1234.5, 0.25, 99.0, 0.5, 1.5, 2.0, 0.75, 0.02), EpochStats(2, 1e-9, 0.0, None, None, 0.0)]


def log(*scores, train=(1.0, 0.5)):
    """A log with the (loss, accuracy) of the validation of each epoch, or None without it; the test says nothing."""
    rows = enumerate((score or (None, None) for score in scores), start=1)
    return cs.training.Stats(EpochStats(epoch, *train, 1 / epoch, 1 / epoch, 1.0, *score) for epoch, score in rows)


def test_seconds_are_those_of_training(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    stats = cs.training.Stats()
    for begin, trained, tested in ((100.0, 103.0, 110.0), (110.0, 112.0, 150.0)):
        clock[0] = begin + 1
        stats.training.add(SPIKES, [0, 1], 1.0)
        clock[0] = trained
        stats.training.add(SPIKES, [0, 1], 1.0)
        clock[0] = tested
        stats.validation.add(SPIKES, [0, 1], 1.0)
        row = stats.end_epoch()
        assert (row.seconds, row.validation_accuracy, row.test_accuracy) == (trained - begin, 1.0, None)
    stats.training.add(SPIKES, [0, 1], 1.0)
    assert stats.end_epoch(seconds=7).seconds == 7.0


def test_the_seconds_of_all_parts_of_an_epoch_that_is_stopped_twice(monkeypatch):
    """The time between a stop and its resuming does not count, nor does a part without a batch lose any."""
    clock, state, total = [100.0], None, 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    for seconds in (3.0, 5.0, 0.0, 7.0):
        clock[0] += 1000.0
        tally = Tally()
        if state is not None:
            clock[0] += 50.0
            tally.load_state(state)
        if seconds:
            clock[0] += seconds
            tally.add(SPIKES, [0, 1], 1.0)
        total += seconds
        clock[0] += 20.0  # after the last batch
        state = tally.state()
        assert state["seconds"] == total
    assert (state["batches"], tally.samples) == (3, 6)


@pytest.mark.parametrize("parts", [1, 2], ids=["batches", "micro-batches"])
def test_the_first_of_several_batches_that_are_not_finite_is_named(parts):
    """The loss is not finite in batches 3 and 5, the output in batches 2, 4 and 5; none is in the first."""
    tally, wrong = Tally(), np.where(SPIKES, math.inf, 0.0)
    expected = [{}, {"output": 2}, *[{"loss": 3, "output": 2}] * 4]
    batches = [(SPIKES, 1.0), (wrong, 1.0), (SPIKES, math.nan), (wrong, 1.0), (wrong, math.inf), (SPIKES, 1.0)]
    for (spikes, loss), found in zip(batches, expected, strict=True):
        if parts == 1:
            tally.add(spikes, [0, 1], loss)
        else:
            each = [Tally(), Tally()]
            each[0].add(SPIKES, [0, 1], 1.0)
            each[1].add(spikes, [0, 1], loss)
            tally.add_rows(np.array([one.row() for one in each]))
        assert tally.not_finite() == found
    assert tally.batches == 6


def test_one_micro_batch_with_spikes_is_enough():
    tally, rows = Tally(), [Tally(), Tally()]
    rows[0].add(np.zeros_like(SPIKES), [0, 1], 1.0)
    tally.add_rows(np.array([rows[0].row()]))
    assert not tally.spiked
    rows[1].add(SPIKES, [0, 1], 1.0)
    tally.add_rows(np.array([each.row() for each in rows]))
    assert tally.spiked


def test_an_empty_test_set(tmp_path):
    stats = cs.training.Stats()
    stats.training.add(SPIKES, [0, 0], 2.0)
    row = stats.end_epoch(seconds=1.0)
    assert row == EpochStats(1, 1.0, 0.5, None, None, 1.0)
    assert stats.best is row
    assert str(stats) == "epoch   1 | train loss 1, accuracy 50.00% | 1.00 s\nbest: epoch 1"
    stats.save(tmp_path / "log.csv")
    assert cs.training.Stats.load(tmp_path / "log.csv").epochs == [row]
    axes = Figure().subplots()
    assert stats.plot(axes, value="accuracy") is axes
    own = SimpleNamespace(epoch=1, train_score=0.5, test_score=0.25)
    drawn = cs.plot.learning_curves([own], Figure().subplots(), value="score")
    assert drawn.get_ylabel() == "score"
    assert [line.get_ydata().tolist() for line in drawn.get_lines()] == [[0.5], [0.25]]
    assert axes.get_lines()[0].get_ydata().tolist() == [0.5]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(1.0, 0.5)], 1),
        ([(1.0, 0.9), (0.5, 0.8), (2.0, 0.8)], 1),
        ([(1.0, 0.8), (2.0, 0.9)], 2),
        ([(1.0, 0.8), (0.9, 0.8), (0.9, 0.8)], 2),
        ([(1.0, 0.0), (1.0, 0.0)], 1),
        ([(1.0, None), (0.5, None), (0.7, None)], 2),
        ([(math.nan, 0.8), (1.0, 0.8)], 2),
        ([(math.nan, None), (math.inf, None)], 1),
        ([None, (5.0, 0.1), None], 2),
        ([None, None], 2),
    ],
)
def test_the_best_epoch(scores, best):
    stats = log(*scores)
    assert stats.best is stats.epochs[best - 1]
    assert stats.waited == len(scores) - best
    assert str(stats).endswith(f"\nbest: epoch {best}")


def test_the_best_epoch_without_classes_and_validation_has_the_lowest_loss():
    rows = [EpochStats(n, loss, None, None, None, 1.0) for n, loss in enumerate((3.0, 1.0, 2.0), start=1)]
    assert cs.training.Stats(rows).best is rows[1]


def test_no_epoch_yet(tmp_path):
    stats = cs.training.Stats()
    assert (stats.best, str(stats)) == (None, "no epoch yet")
    stats.save(tmp_path / "log.csv")
    assert cs.training.Stats.load(tmp_path / "log.csv").epochs == []


def test_targets_of_a_tally():
    one_hot, trains = Tally(), Tally()
    one_hot.add(SPIKES, np.array([[1, 0], [0, 1]]), cs.Tensor(4.0))
    assert one_hot.score()[:2] == (2.0, 1.0)
    trains.add(cs.Tensor(SPIKES), cs.Tensor(SPIKES), 3)
    assert trains.score()[:2] == (1.5, None)
    nothing = Tally()
    assert nothing.score()[:2] == (0.0, 0.0)
    labels = Tally()
    labels.add(SPIKES, cs.Tensor([0.0, 1.0]), 1.0)
    assert labels.score()[:2] == (0.5, 1.0)


def test_errors(tmp_path):
    stats = cs.training.Stats()
    with refuses("Stats: an epoch must have a training sample"):
        stats.end_epoch()
    stats.training.add(SPIKES, [0, 1], 1.0)
    with refuses("Stats: seconds must not be negative"):
        stats.end_epoch(seconds=-1)
    assert stats.epochs == []
    with pytest.raises(ValueError, match=r"^load_stats: .* is no file$"):
        cs.training.Stats.load(tmp_path / "none.csv")
    for wrong in ([0, 1, 0], [[[0, 1]]], [[0, 1, 0], [0, 0, 1]]):
        with pytest.raises(ValueError, match=r"^Tally: target has shape \(.*\), spikes have shape \(1, 2, 2\)$"):
            stats.training.add(SPIKES, wrong, 1.0)
    assert stats.training.samples == 2


def test_the_file(tmp_path):
    path = tmp_path / "metrics.csv"
    save_stats(path, ROWS)
    assert path.read_bytes().decode() == f"{HEADER}\n1,1234.5,0.25,2,0.75,99,0.5,0.02,1.5\n2,1e-09,0,,,,,,0\n"
    assert load_stats(path) == ROWS
    # A resumed run writes what it has read: rounding must not accumulate.
    save_stats(path, [EpochStats(1, 1 / 3, 2 / 3, 1e20 / 7, 1 / 7, 1e-7 / 3)])
    save_stats(tmp_path / "b.csv", load_stats(path))
    assert path.read_bytes() == (tmp_path / "b.csv").read_bytes()
    save_stats(path, [EpochStats(1, math.nan, 0.0, math.nan, 0.0, math.nan)])
    (row,) = load_stats(path)
    assert (math.isnan(row.train_loss), row.test_loss, math.isnan(row.seconds)) == (True, None, True)
    path.write_text("epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds\n1,3,,2,0.5,1\n")  # as it was
    assert load_stats(path) == [EpochStats(1, 3.0, None, 2.0, 0.5, 1.0)]
    path.write_text(f"{HEADER.replace('lr,', '')}\n1,3,,,,2,0.5,1\n")
    assert load_stats(path) == [EpochStats(1, 3.0, None, 2.0, 0.5, 1.0)]


@pytest.mark.parametrize(
    "row",
    [
        "1,nan,,,,1",
        "1,inf,,,,1",
        "1,-1,,,,1",
        "1,1,5,,,1",
        "1,1,nan,,,1",
        "1,1,0.5,-3,,1",
        "1,1,,,-0.1,1",
        "1,1,,,,-1",
        "1,1,,,,nan",
        "\u0661,1,,,,1",
        "1,\uff11,,,,1",
        "0,1,,,,1",
        "2,1,,,,1",
        "1.0,1,,,,1",
        "1,1,,,,1e999",
        "1,1,,,",
    ],
)
def test_numbers_that_are_no_epochs(tmp_path, row):
    path = tmp_path / "metrics.csv"
    path.write_text(f"epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds\n{row}\n")
    with pytest.raises(ValueError, match=r"^load_stats: .*metrics\.csv line 2 (is no row of 6|must be epoch 1, got 2)"):
        load_stats(path)


def test_a_loss_of_ones_own_may_be_negative(tmp_path):
    rows = [EpochStats(1, -2.0, None, None, None, 1.0)]
    save_stats(tmp_path / "log.csv", rows)
    assert cs.training.Stats.load(tmp_path / "log.csv").epochs == rows


def test_a_long_log_takes_little_memory(tmp_path):
    path = tmp_path / "metrics.csv"
    save_stats(path, [EpochStats(n, 1 / 3, 2 / 3, None, None, n / 7, 1 / 9, 5 / 9) for n in range(1, 20_001)])
    tracemalloc.start()
    rows = load_stats(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 20_000
    assert peak < 10 * path.stat().st_size
    with path.open("a") as file:
        file.writelines(f"{n},1,,,,,,,1\n" for n in range(20_001, 100_002))
    with pytest.raises(ValueError, match=r"metrics\.csv must have at most 100,000 epochs$"):
        load_stats(path)
    for name in ("loss", "accuracy"):
        (tmp_path / f"{name}.txt").write_text("1 2\n" * 100_001)
    with pytest.raises(ValueError, match=r"loss\.txt must have at most 100,000 epochs$"):
        cs.training.Stats.load_slayer(f"{tmp_path}/")


# The two files of a log as SLAYER-PyTorch writes and reads them.

# As its `stats.save()` writes them; a line ends with a space.
LOSS = "#      Train        Test\r\n     2.38931       1.0234 \r\n    0.772519  7.01345e-05 \r\n"
ACCURACY = "#      Train        Test\r\n     0.77171        0.925 \r\n     0.96452            0 \r\n"
BOTH = [EpochStats(1, 2.38931, 0.77171, 1.0234, 0.925, 8.0), EpochStats(2, 0.772519, 0.96452, 7.01345e-05, 0.0, 3.0)]


def read(folder):
    return tuple((folder / name).read_bytes().decode() for name in ("loss.txt", "accuracy.txt"))


def scores(rows):
    return [astuple(row)[:5] for row in rows]


def test_the_files_are_slayers(tmp_path):
    cs.training.Stats(BOTH).save_slayer(f"{tmp_path}/")
    assert read(tmp_path) == (LOSS, ACCURACY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["accuracy.txt", "loss.txt"]
    cs.training.Stats(BOTH).save_slayer(tmp_path / "Run1-")
    assert (tmp_path / "Run1-loss.txt").read_bytes() == LOSS.encode()
    cs.training.Stats([EpochStats(1, 2.0, None, None, None, 1.0)]).save_slayer(f"{tmp_path}/")
    assert read(tmp_path)[1] == ACCURACY.partition("\n")[0] + "\n"


def test_a_log_of_slayers_is_read(tmp_path):
    (tmp_path / "loss.txt").write_text(LOSS, newline="")
    (tmp_path / "accuracy.txt").write_text(ACCURACY, newline="")
    stats = cs.training.Stats.load_slayer(f"{tmp_path}/")
    assert scores(stats.epochs) == scores(BOTH)
    assert all(math.isnan(row.seconds) for row in stats.epochs)
    assert stats.plot().get_lines()
    stats.training.add(np.zeros((3, 2, 2), bool), [0, 1], 4.0)
    assert stats.end_epoch(seconds=1.0).epoch == 3
    stats.save_slayer(f"{tmp_path}/more-")
    assert len(cs.training.Stats.load_slayer(f"{tmp_path}/more-").epochs) == 3


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [EpochStats(1, 2.0, None, None, None, 1.0)],
        [EpochStats(1, 2.0, 0.5, None, None, 1.0), EpochStats(2, 1.0, 0.75, 0.5, 1.0, 1.0)],
        [EpochStats(1, 2.0, None, 4.0, None, 1.0), EpochStats(2, 1.0, None, 3.0, None, 1.0)],
    ],
)
def test_what_was_not_measured_is_not_there_again(tmp_path, rows):
    cs.training.Stats(rows).save_slayer(f"{tmp_path}/")
    assert scores(cs.training.Stats.load_slayer(f"{tmp_path}/").epochs) == scores(rows)


def test_what_is_no_log_of_slayers(tmp_path):
    with pytest.raises(ValueError, match=r"^Stats: .*/loss\.txt is no file$"):
        cs.training.Stats.load_slayer(f"{tmp_path}/")
    (tmp_path / "loss.txt").write_text(LOSS)
    with pytest.raises(ValueError, match=r"^Stats: .*/accuracy\.txt is no file$"):
        cs.training.Stats.load_slayer(f"{tmp_path}/")
    (tmp_path / "accuracy.txt").write_text("# Train Test\n0.5 0.5\n")
    with pytest.raises(ValueError, match=r"^Stats: .*loss\.txt has 2 epochs, .*accuracy\.txt has 1$"):
        cs.training.Stats.load_slayer(f"{tmp_path}/")
    for row in ("0.5", "0.5 0.5 0.5", "a b"):
        (tmp_path / "accuracy.txt").write_text(f"# Train Test\n0.5 0.5\n{row}\n")
        with pytest.raises(ValueError, match=r"^Stats: .*accuracy\.txt line 3 is no row of two numbers$"):
            cs.training.Stats.load_slayer(f"{tmp_path}/")
    (tmp_path / "accuracy.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"^Stats: .*accuracy\.txt is no text$"):
        cs.training.Stats.load_slayer(f"{tmp_path}/")
