"""The command line: invalid input is one line of error and exit code 2, and writes no files."""

from __future__ import annotations

import math
import os
import platform
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer._base.extras import optional
from cuslayer.cli import main
from cuslayer.data import Events, write_events
from cuslayer.training import Config, data_of_run, load_checkpoint, load_config, load_stats, saver
from tests.support.tiny import FILES, HEADER, recording, write_folder
from tests.training.test_run import _quick as _quick
from tests.training.test_run import pictures as pictures
from tools import fake_tonic

no_driver = pytest.mark.skipif(not backend._driver_problem(), reason="this machine has a CUDA driver")


@pytest.fixture
def data(tmp_path):
    return write_folder(tmp_path / "data")


@pytest.fixture
def yaml(tmp_path, data):
    """A configuration file of a short run."""
    config = Config(duration=30.0, layers=("34x34x2", "8", "3"), epochs=1, batch=4, data=str(data))
    path = tmp_path / "network.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    return path


@pytest.fixture
def run(yaml, tmp_path, capsys):
    """Run `cuslayer train` with some arguments; return the exit code, stdout and stderr."""

    def run(*arguments, config=yaml):
        given = [str(config)] if config else []
        code = main(["train", *given, *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(run, tmp_path):
    """Check that a run fails with one line that contains a message, and writes no files."""

    def refused(message, *arguments, **options):
        def tree():
            return sorted((root, sorted(folders), sorted(files)) for root, folders, files in os.walk(tmp_path))

        before = tree()
        code, _, err = run("--out", tmp_path / "out", *arguments, **options)
        assert code == 2
        assert err.startswith("cuslayer: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert message in err
        assert tree() == before

    return refused


def test_a_run(run, tmp_path, pictures):
    out = tmp_path / "out"
    code, said, err = run("--out", out, "--epochs", 2, "--batch", 2, "--lr", 0.02, "--seed", 5, "--device", "cpu")
    assert (code, err) == (0, "")
    first, calibrates, *table, one, two, test = (line for line in said.splitlines() if "warning" not in line)
    assert first.startswith("34x34x2-8-3: 18,520 weights on cpu")
    assert "calibrate=None (initialization: slayer in a configuration)" in calibrates
    assert table[0] == "weights times  rate before  after (Hz)  layer"
    assert [line.split("  ")[-1] for line in table[1:]] == [
        "layer 1 (Dense((34, 34, 2), 8), SRM)",
        "layer 3 (Dense(8, 3), SRM): no factor gives 500 Hz",
    ]
    assert (one[:9], two[:9], test[:16]) == ("epoch   1", "epoch   2", "epoch   2 | test")
    assert sorted(p.name for p in out.iterdir()) == FILES
    header, *rows = (out / "metrics.csv").read_text().splitlines()
    assert header == HEADER
    assert len(rows) == 2
    used = load_config(out / "config.yaml")
    assert (used.epochs, used.batch, used.optimizer.lr, used.seed) == (2, 2, 0.02, 5)


def test_resume_the_last_of_the_numbered_runs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run()[0] == 0
    assert run()[0] == 0
    assert run("--resume", "--epochs", 2, config=None)[0] == 0
    assert [len(load_stats(f"runs/{n}/metrics.csv")) for n in "12"] == [1, 2]
    # A moved run is resumed in its new folder, not in that of its configuration.
    os.rename("runs/2", "runs/7")
    assert run("--resume", "--epochs", 3, config=None)[0] == 0
    assert len(load_stats("runs/7/metrics.csv")) == 3
    assert load_config("runs/7/config.yaml").out == os.path.join("runs", "7")


def test_what_does_not_fit_is_one_line(refused, yaml, data):
    refused("open_folder: folder nowhere does not exist", "--data", "nowhere")
    refused("is not a folder", "--data", yaml)
    text = yaml.read_text()
    for word, message in (("8q", "'8q'"), ("0", "at least 1"), ("8c35v", "35")):
        yaml.write_text(text.replace("dim: '8'", f"dim: '{word}'"))
        refused(message)
    yaml.write_text(text.replace("type: SpikeCountLoss", "type: SpikeCountLoss\n    window: [0, 31]"))
    refused("the window of the loss reaches to 31 ms, tSample is 30 ms")
    yaml.write_text(text)
    (data / "3.bs2").unlink()
    refused("3.bs2 is missing")
    (data / "test.txt").write_text("")
    refused("test.txt must name a recording, got none")
    refused("of two lines.yaml is no file", config=data / "of two\nlines.yaml")


def test_bad_recordings(refused, run, data, tmp_path):
    path = data / "1.bs2"
    whole = path.read_bytes()
    path.write_bytes(b"123456")
    refused(f"{path} is 6 bytes, not a multiple of 5")
    events = recording(0, np.random.default_rng(0))
    write_events(path, type(events)(events.t, events.x, events.y + 32, events.p))
    refused("events must lie within the sensor (34, 34, 2)")
    path.write_bytes(whole)
    # One of the test set is read at the end.
    (data / "9.bs2").write_bytes(b"123456")
    code, said, err = run("--out", tmp_path / "out")
    assert (code, err) == (2, f"cuslayer: read_events: {data / '9.bs2'} is 6 bytes, not a multiple of 5\n")
    assert load_checkpoint(tmp_path / "out" / "checkpoint.npz").epoch == 1
    assert "test loss" not in said
    (data / "9.bs2").write_bytes(whole)
    code, said, err = run("--resume", "--out", tmp_path / "out", config=None)
    assert (code, err) == (0, "")
    assert said.splitlines()[-1].startswith("epoch   1 | test loss ")


def test_classes_out_of_range(refused, tmp_path, yaml):
    yaml.write_text(yaml.read_text().replace("dim: '3'", "dim: '10'"))
    folder = write_folder(tmp_path / "twelve", (0, 12, 1), (2,))
    refused("the network has 10 outputs, the recordings have 13 classes", "--data", folder)
    folder = write_folder(tmp_path / "tested", (0, 1), (2, 10))
    refused("the network has 10 outputs, the recordings have 11 classes", "--data", folder)
    folder = write_folder(tmp_path / "negative", (0, -1), (2,))
    refused("train.txt line 3 must be 'number class', two integers from 0", "--data", folder)


def test_another_input(refused, yaml):
    document = yaml.read_text()
    yaml.write_text(document.replace("34x34x2", "28x28x1"))
    refused("7.bs2 has another: events must lie within the sensor (28, 28, 1) (H, W, C), event 0 is at x=")
    yaml.write_text(document.replace("34x34x2", "900"))
    refused("the network expects input (900,), ")
    refused("the network expects input (8, 28, 2), the recordings are (34, 34", "--network", "8x28x2-10", config=None)


@pytest.mark.parametrize(
    ("network", "suffix", "polarities"), [("8x9x2-2a-3", ".npy", 2), ("5x200x3-3", ".bs3", 3), ("12-3", ".bs1", 2)]
)
def test_recordings_of_another_sensor_and_format(run, tmp_path, network, suffix, polarities):
    folder, rng = tmp_path / "mine", np.random.default_rng(0)
    folder.mkdir()
    rows, columns = (None, 12) if network[:2] == "12" else (int(network[0]), int(network.split("x")[1]))
    for each in range(9):
        t, x, p = rng.uniform(0, 30, 40), rng.integers(columns, size=40), rng.integers(polarities, size=40)
        write_events(folder / f"{each}{suffix}", Events(t, x, None if rows is None else rng.integers(rows, size=40), p))
    (folder / "train.txt").write_text("".join(f"{number} {number % 3}\n" for number in range(6)))
    (folder / "test.txt").write_text("6 0\n7 1\n8 2\n")
    code, out, err = run("--data", folder, "--network", network, "--out", tmp_path / "out")
    assert (code, err) == (0, ""), err
    assert "| test loss" in out


@pytest.mark.filterwarnings("always:train")
def test_more_outputs_than_classes(run, tmp_path):
    code, _, err = run("--out", tmp_path / "out", "--network", "34x34x2-5")
    assert code == 0
    line = "train: the network has 5 outputs, the recordings have 3 classes: the last 2 have no class"
    assert err == f"cuslayer: warning: {line}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "0"), "train: --epochs must be at least 1, got 0"),
        (("--lr", "nan"), "train: --lr must be finite, got nan"),
        (("--seed", "-1"), "train: --seed must be at least 0, got -1"),
        (("--resume",), "train: no checkpoint to resume from in"),
    ],
)
def test_a_bad_option(refused, arguments, message):
    refused(message, *arguments)


@no_driver
def test_cuda_without_a_driver(refused):
    refused("device: cuda is out of reach: ", "--device", "cuda")


def test_a_device_in_the_environment_that_is_unknown(refused, monkeypatch):
    monkeypatch.setattr(backend, "_device", "gpu")
    refused("device: CUSLAYER_DEVICE must be one of auto, cpu, cuda, got 'gpu'")


def test_out_that_is_a_file(refused, yaml):
    refused("is a file, not a folder", "--out", yaml)
    refused(yaml.name, "--out", yaml / "deeper")


def test_out_that_holds_a_run_of_another_network(run, refused, tmp_path, yaml):
    assert run("--out", tmp_path / "out")[0] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    refused("holds a run already; resume it, or name another folder")
    yaml.write_text(yaml.read_text().replace("dim: '8'", "dim: '9'"))
    message = f"train: the network of a resumed run cannot change: {tmp_path / 'out'} has 34x34x2-8-3, got 34x34x2"
    for epochs in ("1", "2"):
        refused(f"{message}-9-3", "--resume", "--epochs", epochs)
        refused(f"{message}-4a-3", "--resume", "--epochs", epochs, "--network", "34x34x2-4a-3", config=None)
    yaml.write_text(yaml.read_text().replace("dim: '9'", "dim: '8'\n  delay: true"))
    refused(f"{message}-8-3 with other options of its layers", "--resume", "--epochs", "2")
    (tmp_path / "out" / "checkpoint.npz").write_bytes(before["checkpoint.npz"][:-9])
    refused("checkpoint.npz is damaged or no checkpoint", "--resume", "--epochs", "2", config=None)
    (tmp_path / "out" / "checkpoint.npz").write_bytes(before["checkpoint.npz"])
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_an_error_in_the_middle(run, data, tmp_path, monkeypatch):
    # A recording is truncated after the first epoch.
    save, raw = saver.save_stats, (data / "2.bs2").read_bytes()

    def spoil(path, rows, **options):
        save(path, rows, **options)
        (data / "2.bs2").write_bytes(b"1234567")

    monkeypatch.setattr(saver, "save_stats", spoil)
    code, _, err = run("--out", tmp_path / "out", "--epochs", 3)
    assert code == 2
    assert err == f"cuslayer: read_events: {data / '2.bs2'} is 7 bytes, not a multiple of 5\n"
    whole = [name for name in FILES if not name.endswith(".png")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == whole
    assert load_checkpoint(tmp_path / "out" / "checkpoint.npz").epoch == 1
    assert len(load_stats(tmp_path / "out" / "metrics.csv")) == 1
    monkeypatch.setattr(saver, "save_stats", save)
    (data / "2.bs2").write_bytes(raw)
    assert run("--out", tmp_path / "out", "--epochs", 3, "--resume", config=None)[0] == 0
    assert len(load_stats(tmp_path / "out" / "metrics.csv")) == 3


def test_a_missing_library_is_one_line(refused, monkeypatch):
    monkeypatch.setattr(data_of_run, "open_folder", lambda *lists, shape: optional("no_such_library", "hdf5"))
    refused("train: no_such_library is not installed; pip install 'cuslayer[hdf5]'")


def test_info(capsys):
    assert main(["info"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert list(rows) == ["cuslayer", "python", "system", "numpy", "numba", "cupy", "device", "threads"]
    assert (rows["python"], rows["numpy"]) == (platform.python_version(), np.__version__)
    assert rows["device"].startswith(f"cpu ({cs.threads()} thread")
    assert rows["threads"].startswith(f"{cs.threads()} (")
    if backend._driver_problem():
        assert rows["cupy"] == backend._driver_problem()


def test_info_of_what_is_not_installed(capsys, monkeypatch):
    from cuslayer.cli import info

    def none(package):
        raise info.PackageNotFoundError(package)

    monkeypatch.setattr(info, "version", none)
    assert main(["info"]) == 0
    assert "numba     not installed\n" in capsys.readouterr().out


def test_numbers_that_are_not_finite_stop_a_run_and_keep_the_checkpoint(run, tmp_path, monkeypatch):
    out, make = tmp_path / "out", Config.loss
    code, _, err = run("--out", out, "--lr", 1e39)
    said = "training.optimizer.schedule: lr must be at most 2.15e+09, since float32 overflows soon, got 1e+39"
    assert (code, err) == (2, f"cuslayer: Config: {said}\n")
    assert not out.exists()
    nan = lambda self: lambda s, target: make(self)(s, target) * math.nan  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(Config, "loss", nan)
        code, _, err = run("--out", out)
    assert code == 2
    assert re.fullmatch(
        r"cuslayer: train: epoch 1, batch 1: the loss is not finite \(nan\); .*; there was no checkpoint yet\n", err
    )
    assert not out.exists()
    assert run("--out", out, "--clip-norm", 5, "--clip-value", 0.5)[0] == 0
    arguments = load_config(out / "config.yaml").optimizer.kind.arguments
    assert (arguments["clip_norm"], arguments["clip_value"]) == (5.0, 0.5)
    before = (out / "checkpoint.npz").read_bytes()
    monkeypatch.setattr(Config, "loss", nan)
    code, _, err = run("--resume", "--out", out, "--epochs", 2)
    assert code == 2
    assert re.fullmatch(rf"cuslayer: train: epoch 2, batch 1: .*; the last good checkpoint, {out}/.*, is kept\n", err)
    assert (out / "checkpoint.npz").read_bytes() == before


# Configurations and data sets by name.

SMALL = ("--network", "64-11", "--epochs", 1, "--out", "out")


def test_a_name_is_a_configuration(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake_tonic.install(monkeypatch)
    there = os.path.join("sets", "NTIDIGITS18")
    lacks = f"ntidigits must be in {there}, which lacks files of it; download=True fetches them"
    assert command("train", "ntidigits", "--data", "sets", *SMALL) == (2, "", f"cuslayer: load: {lacks}\n")
    assert os.listdir() == []
    code, said, error = command("train", "ntidigits", "--data", "sets", "--download", *SMALL)
    assert (code, error) == (0, "")
    assert "epoch   1" in said
    assert os.path.isdir(there)
    config = load_config("out/config.yaml")
    assert (config.dataset, config.data, config.duration, config.epochs) == ("ntidigits", "sets", 1000.0, 1)
    assert command("train", "ntidigits", "--data", "sets", *SMALL[:-1], "again")[0] == 0
    code, said, _ = command("test", "out")
    assert code == 0
    assert "accuracy" in said


def test_errors_are_one_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake_tonic.install(monkeypatch)
    needs = "train: --download needs the configuration of a known data set and --data ROOT, got"
    for arguments, message in (
        (["shd"], "train: shd needs --data ROOT, the folder in which tonic keeps its data sets"),
        (["shd", "--download"], f"{needs} shd without --data"),
        (["digits", "--download"], f"{needs} none"),
        (
            ["smnist", "--download", "--data", "no"],
            "train: --download is for data sets of tonic; smnist has its own files, see `data.load`",
        ),
    ):
        assert command("train", *arguments) == (2, "", f"cuslayer: {message}\n")
        assert os.listdir() == []
