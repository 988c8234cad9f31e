"""Runs that fail: one line, and the folder stays as it was or keeps the last checkpoint."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from cuslayer.training import Config, find_run, load_checkpoint, load_stats, train
from cuslayer.training import run as run_module
from tests.support.tiny import fails, rows_without_seconds, silent, weights
from tests.training.test_run import _quick as _quick
from tests.training.test_run import config as config
from tests.training.test_run import pair as pair

WITHOUT_FIGURES = ["best.npz", "checkpoint.npz", "config.yaml", "gradients.csv", "metrics.csv"]


@pytest.mark.parametrize("which", ["1", "9"])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", r"read_events: .*\.bs2 is empty"),
        (b"1234567", r"read_events: .*\.bs2 is 7 bytes, not a multiple of 5"),
        (
            bytes([40, 2, 0, 0, 1]),
            r".*[19]\.bs2: events must lie within the sensor \(34, 34, 2\) .* is at x=40, y=2",
        ),
    ],
)
def test_an_invalid_recording_leaves_no_folder(config, tmp_path, which, raw, message):
    (tmp_path / "data" / f"{which}.bs2").write_bytes(raw)
    fails(config, message, out=str(tmp_path / "new" / "deep" / "out"))


def test_a_failed_first_epoch_keeps_an_existing_folder(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "data" / "9.bs2").write_bytes(b"")
    fails(config, "is empty")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ("34x34x2", "8", "2")}, "train: the network has 2 outputs, the recordings have 3 classes"),
        (
            {"layers": ("34x2x2", "3")},
            r"train: the network expects input \(2, 34, 2\), .*7.bs2 has another: events must",
        ),
        ({"layers": ("34x34x2", "4c5")}, r"train: the network must end in a dense layer, its output is \(34, 34, 4\)"),
        ({"region": (0.0, 31.0)}, "train: tgtSpikeRegion reaches to 31 ms, tSample is 30 ms"),
        ({"region": (9.0, 9.0)}, "SpikeCountLoss: region must hold a step"),
        ({"duration": 0.1, "region": (0.0, 0.1)}, "steps must be at least 1, got 0"),
    ],
)
def test_configurations_that_do_not_fit_raise(config, options, message):
    fails(config, message, **options)


def test_spike_times_that_do_not_fit(pair, config, tmp_path):
    fails(pair, r"read_events: .*input\.bs1 does not exist", data=config.data)
    fails(pair, r"events must lie within 4 neurons", layers=("4", "5"))
    fails(pair, r"events must lie within 4 neurons", layers=("5", "4"))
    fails(pair, r"train: SpikeTime expects a network of \(N,\) inputs, got \(34, 34, 2\)", layers=("34x34x2", "5"))
    missing = Config(**{**vars(pair), "data": None})
    fails(missing, "train: SpikeTime needs a folder with input.bs1 and output.bs1, and no data is named")


def test_invalid_output_folders_raise(config, tmp_path):
    (tmp_path / "file").write_text("")
    fails(config, r"train: out .*file is a file, not a folder", out=str(tmp_path / "file"))
    fails(config, "Not a directory|exists|cannot find", OSError, out=str(tmp_path / "file" / "out"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.npz").write_text("")
    fails(config, "holds a run already; resume it, or name another folder", out=str(tmp_path / "run"))


def test_a_folder_that_cannot_be_written_to(config, monkeypatch):
    real = os.open

    def read_only(path, *flags, **options):
        if os.path.basename(path) == "lock":
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, *flags, **options)

    monkeypatch.setattr(os, "open", read_only)
    fails(config, r"^train: .*out/lock cannot be written \(Read-only file system\); write elsewhere$")


def test_nothing_to_resume(config, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"train: no checkpoint to resume from in .*out$"):
        train(config, resume=True, log=silent)
    assert not (tmp_path / "out").exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no checkpoint to resume from in runs"):
        find_run(None)


def test_an_error_keeps_the_last_complete_epoch(config, tmp_path):
    whole = train(config.with_options(epochs=1, out=str(tmp_path / "whole")), log=silent)

    def spoil(line):
        if line.startswith("epoch   1"):
            (tmp_path / "data" / "3.bs2").write_bytes(b"1234567")

    with pytest.raises(ValueError, match=r"3\.bs2 is 7 bytes"):
        train(config, log=spoil)
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == WITHOUT_FIGURES
    assert rows_without_seconds(out) == rows_without_seconds(whole)
    assert weights(out) == weights(whole)


def test_a_failed_write_keeps_the_last_complete_epoch(config, tmp_path, monkeypatch):
    real, count = np.savez, []

    def full(file, **arrays):
        count.append(1)
        if len(count) == 4:  # two checkpoints and the best one of the first epoch, and a checkpoint
            file.write(b"half")
            raise OSError(28, "No space left on device")
        real(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        train(config, log=silent)
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == WITHOUT_FIGURES
    assert load_checkpoint(out / "checkpoint.npz").epoch == 1
    # The log is written first; its additional epochs are dropped.
    assert len(load_stats(out / "metrics.csv")) == 2
    train(config, resume=True, log=silent)
    assert len(load_stats(out / "metrics.csv")) == 2


def test_an_interrupt_in_the_first_epoch_leaves_no_folder(config, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt("stop")

    monkeypatch.setattr(run_module.Trainer, "test", interrupt)
    fails(config, "^stop$", KeyboardInterrupt)
