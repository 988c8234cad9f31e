"""The log of a training: scores of an epoch, the best epoch, text, plot, and the CSV file."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.training import EpochStats, Tally, load_stats, save_stats
from tests.support.tiny import HEADER

# Two samples of two classes, classified as 0 and 1.
SPIKES = np.array([[[True, False], [False, True]]])
ROWS = [EpochStats(1, 1234.5, 0.25, 99.0, 0.5, 1.5), EpochStats(2, 1e-9, 0.0, None, None, 0.0)]


def log(*tests, train=(1.0, 0.5)):
    """A log with the (loss, accuracy) of the test samples of each epoch, or None without test samples."""
    rows = enumerate((test or (None, None) for test in tests), start=1)
    return cs.Stats(EpochStats(epoch, *train, *test, 1.0) for epoch, test in rows)


def test_the_plain_loop():
    """Compare with sums in a plain loop."""
    cs.seed(0)
    srm, rng = cs.SRM(), np.random.default_rng(0)
    net, loss = cs.Sequential(cs.Dense(6, 2), srm), cs.SpikeCountLoss(srm, true=5, false=1)
    optimizer, stats = cs.SGD(net.parameters(), 0.01), cs.Stats()
    batches = [(rng.random((20, n, 6)) < 0.3, rng.integers(2, size=n)) for n in (3, 2)]
    for epoch in range(2):
        sums = {"train": [0.0, 0], "test": [0.0, 0]}
        for part, tally in (("train", stats.training), ("test", stats.test)):
            for x, labels in batches:
                spikes = net(x)
                value = loss(spikes, labels)
                if part == "train":
                    optimizer.zero_grad()
                    value.backward()
                    optimizer.step()
                tally.add(spikes, labels, value)
                sums[part][0] += value.item()
                sums[part][1] += (cs.classify(spikes) == labels).sum()
        row = stats.end_epoch()
        assert row.epoch == epoch + 1
        assert (row.train_loss, row.train_accuracy) == (pytest.approx(sums["train"][0] / 5), sums["train"][1] / 5)
        assert (row.test_loss, row.test_accuracy) == (pytest.approx(sums["test"][0] / 5), sums["test"][1] / 5)
    assert len(stats.epochs) == 2
    assert stats.training.samples == stats.test.samples == 0


def test_seconds_are_those_of_training(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    stats = cs.Stats()
    for begin, trained, tested in ((100.0, 103.0, 110.0), (110.0, 112.0, 150.0)):
        clock[0] = begin + 1
        stats.training.add(SPIKES, [0, 1], 1.0)
        clock[0] = trained
        stats.training.add(SPIKES, [0, 1], 1.0)
        clock[0] = tested
        stats.test.add(SPIKES, [0, 1], 1.0)
        assert stats.end_epoch().seconds == trained - begin
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


def test_an_empty_test_set(tmp_path):
    stats = cs.Stats()
    stats.training.add(SPIKES, [0, 0], 2.0)
    row = stats.end_epoch(seconds=1.0)
    assert row == EpochStats(1, 1.0, 0.5, None, None, 1.0)
    assert stats.best is row
    assert str(stats) == "epoch   1 | train loss 1, accuracy 50.00% | 1.00 s\nbest: epoch 1"
    stats.save(tmp_path / "log.csv")
    assert cs.Stats.load(tmp_path / "log.csv").epochs == [row]
    axes = Figure().subplots()
    assert stats.plot(axes) is axes
    assert [line.get_label() for line in axes.get_lines()] == ["train"]


@pytest.mark.parametrize(
    ("tests", "best"),
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
        ([None, None], 1),
    ],
)
def test_the_best_epoch(tests, best):
    stats = log(*tests)
    assert stats.best is stats.epochs[best - 1]
    assert str(stats).endswith(f"\nbest: epoch {best}")


def test_no_epoch_yet(tmp_path):
    stats = cs.Stats()
    assert stats.best is None
    assert str(stats) == "no epoch yet"
    stats.save(tmp_path / "log.csv")
    assert cs.Stats.load(tmp_path / "log.csv").epochs == []
    figure = Figure()
    stats.plot(figure.subplots())
    figure.canvas.draw()


def test_targets_of_a_tally():
    one_hot, trains = Tally(), Tally()
    one_hot.add(SPIKES, np.array([[1, 0], [0, 1]]), cs.Tensor(4.0))
    assert one_hot.score() == (2.0, 1.0)
    trains.add(cs.Tensor(SPIKES), cs.Tensor(SPIKES), 3)
    assert trains.score() == (1.5, None)
    nothing = Tally()
    assert nothing.score() == (0.0, 0.0)
    labels = Tally()
    labels.add(SPIKES, cs.Tensor([0.0, 1.0]), 1.0)
    assert labels.score() == (0.5, 1.0)


def test_errors(tmp_path):
    stats = cs.Stats()
    with pytest.raises(ValueError, match=r"^Stats: an epoch must have a training sample, got none$"):
        stats.end_epoch()
    stats.training.add(SPIKES, [0, 1], 1.0)
    with pytest.raises(ValueError, match=r"^Stats: seconds must not be negative, got -1$"):
        stats.end_epoch(seconds=-1)
    assert stats.epochs == []
    with pytest.raises(ValueError, match=r"^learning_curves: value must be one of loss, accuracy, got 'acuracy'"):
        stats.plot(Figure().subplots(), value="acuracy")
    with pytest.raises(TypeError, match=r"^learning_curves: ax must be matplotlib Axes, got str$"):
        stats.plot("loss")
    with pytest.raises(ValueError, match=r"^load_stats: .* is no file$"):
        cs.Stats.load(tmp_path / "none.csv")
    for wrong in ([0, 1, 0], [[[0, 1]]], [[0, 1, 0], [0, 0, 1]]):
        with pytest.raises(ValueError, match=r"^Tally: target has shape \(.*\), spikes have shape \(1, 2, 2\)$"):
            stats.training.add(SPIKES, wrong, 1.0)
    assert stats.training.samples == 2


def test_the_text(tmp_path):
    save_stats(tmp_path / "metrics.csv", ROWS)
    text = (tmp_path / "metrics.csv").read_bytes().decode()
    assert text == f"{HEADER}\n1,1234.5,0.25,99,0.5,1.5\n2,1e-09,0,,,0\n"


@pytest.mark.parametrize("rows", [ROWS, []])
def test_round_trip(tmp_path, rows):
    save_stats(tmp_path / "metrics.csv", rows)
    assert load_stats(tmp_path / "metrics.csv") == rows


def test_read_and_write_are_exact(tmp_path):
    # A resumed run writes what it has read: rounding must not accumulate.
    save_stats(tmp_path / "a.csv", [EpochStats(1, 1 / 3, 2 / 3, 1e20 / 7, 1 / 7, 1e-7 / 3)])
    save_stats(tmp_path / "b.csv", load_stats(tmp_path / "a.csv"))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_nan_and_infinity_round_trip(tmp_path):
    save_stats(tmp_path / "metrics.csv", [EpochStats(1, float("inf"), 0.0, float("nan"), 0.0, 1.0)])
    (row,) = load_stats(tmp_path / "metrics.csv")
    assert row.train_loss == float("inf")
    assert row.test_loss != row.test_loss


def test_the_text_of_an_epoch():
    assert str(ROWS[0]) == ("epoch   1 | train loss 1234, accuracy 25.00% | test loss 99, accuracy 50.00% | 1.50 s")
    assert str(EpochStats(12, 3.0, None, None, None, 0.25)) == "epoch  12 | train loss 3 | 0.25 s"


@pytest.mark.parametrize("text", ["", "epoch,loss\n", "1,2,3,4,5,6\n", HEADER.replace("test", "tset")])
def test_another_header(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"metrics\.csv does not begin with {HEADER}$"):
        load_stats(tmp_path / "metrics.csv")


@pytest.mark.parametrize("row", ["1,2,3,4,5", "1,2,3,4,5,6,7", "1.5,2,3,4,5,6", "1,,3,4,5,6"])
def test_another_row(tmp_path, row):
    (tmp_path / "metrics.csv").write_text(f"{HEADER}\n1,2,3,4,5,6\n{row}\n")
    with pytest.raises(ValueError, match=r"metrics\.csv line 3 is no row of 6 numbers$"):
        load_stats(tmp_path / "metrics.csv")


def test_bytes_that_are_not_text(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"^load_stats: .*metrics\.csv is no CSV$"):
        load_stats(tmp_path / "metrics.csv")
    # The module csv raises csv.Error here.
    (tmp_path / "metrics.csv").write_text('"' + "x" * 200_000)
    with pytest.raises(ValueError, match=r"^load_stats: .*metrics\.csv is no CSV$"):
        load_stats(tmp_path / "metrics.csv")
