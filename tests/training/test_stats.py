"""The log of a run: its text, and what is refused."""

from __future__ import annotations

import pytest

from cuslayer.training import EpochStats, load_stats, save_stats

HEADER = "epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds"
ROWS = [EpochStats(1, 1234.5, 0.25, 99.0, 0.5, 1.5), EpochStats(2, 1e-9, 0.0, None, None, 0.0)]


def test_the_text(tmp_path):
    save_stats(tmp_path / "metrics.csv", ROWS)
    text = (tmp_path / "metrics.csv").read_bytes().decode()
    assert text == f"{HEADER}\n1,1234.5,0.25,99,0.5,1.5\n2,1e-09,0,,,0\n"


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[1:], []])
def test_round_trip(tmp_path, rows):
    save_stats(tmp_path / "metrics.csv", rows)
    assert load_stats(tmp_path / "metrics.csv") == rows


def test_what_is_read_is_written_back_to_the_byte(tmp_path):
    # A resumed run writes anew what it read: rounding must not creep.
    save_stats(tmp_path / "a.csv", [EpochStats(1, 1 / 3, 2 / 3, 1e20 / 7, 1 / 7, 1e-7 / 3)])
    save_stats(tmp_path / "b.csv", load_stats(tmp_path / "a.csv"))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_numbers_that_are_none_are_kept(tmp_path):
    save_stats(tmp_path / "metrics.csv", [EpochStats(1, float("inf"), 0.0, float("nan"), 0.0, 1.0)])
    (row,) = load_stats(tmp_path / "metrics.csv")
    assert row.train_loss == float("inf")
    assert row.test_loss != row.test_loss


def test_the_line_for_a_person():
    assert str(ROWS[0]) == ("epoch   1 | train loss 1234, accuracy 25.00% | test loss 99, accuracy 50.00% | 1.50 s")
    assert str(EpochStats(12, 3.0, None, None, None, 0.25)) == "epoch  12 | train loss 3 | 0.25 s"


def test_no_file(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ValueError, match=r"^load_stats: .* is no file$"):
            load_stats(path)


@pytest.mark.parametrize("text", ["", "epoch,loss\n", "1,2,3,4,5,6\n", HEADER.replace("test", "tset")])
def test_another_header(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"metrics\.csv does not begin with {HEADER}$"):
        load_stats(tmp_path / "metrics.csv")


@pytest.mark.parametrize("row", ["1,2,3,4,5", "1,2,3,4,5,6,7", "one,2,3,4,5,6", "1,,3,4,5,6", "1.5,2,3,4,5,6", "1,2"])
def test_another_row(tmp_path, row):
    (tmp_path / "metrics.csv").write_text(f"{HEADER}\n1,2,3,4,5,6\n{row}\n")
    with pytest.raises(ValueError, match=r"metrics\.csv line 3 is no row of 6 numbers$"):
        load_stats(tmp_path / "metrics.csv")


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"^load_stats: .*metrics\.csv is no CSV$"):
        load_stats(tmp_path / "metrics.csv")
    # The module csv raises an error of its own here.
    (tmp_path / "metrics.csv").write_text('"' + "x" * 200_000)
    with pytest.raises(ValueError, match=r"^load_stats: .*metrics\.csv is no CSV$"):
        load_stats(tmp_path / "metrics.csv")
