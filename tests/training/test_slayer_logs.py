"""The two files of a log as SLAYER-PyTorch writes and reads them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.training import EpochStats

# As its `stats.save()` writes them; a line ends with a space.
LOSS = "#      Train        Test\r\n     2.38931       1.0234 \r\n    0.772519  7.01345e-05 \r\n"
ACCURACY = "#      Train        Test\r\n     0.77171        0.925 \r\n     0.96452            0 \r\n"
ROWS = [
    EpochStats(1, 2.38931, 0.77171, 1.0234, 0.925, 8.0),
    EpochStats(2, 0.772519, 0.96452, 7.01345e-05, 0.0, 3.0),
]


def read(folder):
    return tuple((folder / name).read_bytes().decode() for name in ("loss.txt", "accuracy.txt"))


def test_the_files_are_slayers(tmp_path):
    cs.Stats(ROWS).save_slayer(f"{tmp_path}/")
    assert read(tmp_path) == (LOSS, ACCURACY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["accuracy.txt", "loss.txt"]
    cs.Stats(ROWS).save_slayer(tmp_path / "Run1-")
    assert (tmp_path / "Run1-loss.txt").read_bytes() == LOSS.encode()
    cs.Stats([EpochStats(1, 2.0, None, None, None, 1.0)]).save_slayer(f"{tmp_path}/")
    assert read(tmp_path)[1] == ACCURACY.partition("\n")[0] + "\n"
    cs.Stats(ROWS).save_slayer(f"{tmp_path}/")
    table = np.loadtxt(tmp_path / "loss.txt")
    assert table.tolist() == [[2.38931, 1.0234], [0.772519, 7.01345e-05]]


def test_a_log_of_slayers_is_read(tmp_path):
    (tmp_path / "loss.txt").write_text(LOSS, newline="")
    (tmp_path / "accuracy.txt").write_text(ACCURACY, newline="")
    stats = cs.Stats.load_slayer(f"{tmp_path}/")
    for row, expected in zip(stats.epochs, ROWS, strict=True):
        assert (row.epoch, row.train_loss, row.train_accuracy) == (
            expected.epoch,
            expected.train_loss,
            expected.train_accuracy,
        )
        assert (row.test_loss, row.test_accuracy) == (expected.test_loss, expected.test_accuracy)
        assert math.isnan(row.seconds)
    assert stats.best.epoch == 1
    assert stats.plot().get_lines()
    stats.training.add(np.zeros((3, 2, 2), bool), [0, 1], 4.0)
    assert stats.end_epoch(seconds=1.0).epoch == 3
    stats.save_slayer(f"{tmp_path}/more-")
    assert len(cs.Stats.load_slayer(f"{tmp_path}/more-").epochs) == 3


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
    cs.Stats(rows).save_slayer(f"{tmp_path}/")
    again = cs.Stats.load_slayer(f"{tmp_path}/").epochs
    names = ("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
    assert [[getattr(row, name) for name in names] for row in again] == [
        [getattr(row, name) for name in names] for row in rows
    ]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"^Stats: .*/loss\.txt is no file$"):
        cs.Stats.load_slayer(f"{tmp_path}/")
    (tmp_path / "loss.txt").write_text(LOSS)
    with pytest.raises(ValueError, match=r"^Stats: .*/accuracy\.txt is no file$"):
        cs.Stats.load_slayer(f"{tmp_path}/")
    (tmp_path / "accuracy.txt").write_text("# Train Test\n0.5 0.5\n")
    with pytest.raises(ValueError, match=r"^Stats: .*loss\.txt has 2 epochs, .*accuracy\.txt has 1$"):
        cs.Stats.load_slayer(f"{tmp_path}/")
    for row in ("0.5", "0.5 0.5 0.5", "a b"):
        (tmp_path / "accuracy.txt").write_text(f"# Train Test\n0.5 0.5\n{row}\n")
        with pytest.raises(ValueError, match=r"^Stats: .*accuracy\.txt line 3 is no row of two numbers$"):
            cs.Stats.load_slayer(f"{tmp_path}/")
    (tmp_path / "accuracy.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"^Stats: .*accuracy\.txt is no text$"):
        cs.Stats.load_slayer(f"{tmp_path}/")
