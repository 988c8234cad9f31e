"""`cuslayer train NAME`: configurations and data sets by name."""

from __future__ import annotations

import os
import sys

from cuslayer.training import load_config
from tests.support import fake_tonic
from tests.support.tiny import no_figures

SMALL = ("--network", "64-11", "--epochs", 1, "--out", "out")


def test_a_name_is_a_configuration(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake_tonic.install(monkeypatch)
    no_figures(monkeypatch)
    code, said, error = command("train", "ntidigits", "--data", "sets", *SMALL)
    there = os.path.join("sets", "NTIDIGITS18")
    assert (code, said) == (2, "")
    assert (
        error == f"cuslayer: load: ntidigits must be in {there}, which lacks files of it; download=True fetches them\n"
    )
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
    listed = "cifar10dvs, digits, dvsgesture, nmnist, ntidigits, shd, ssc"
    for arguments, message in (
        (
            ["shdd"],
            f"load_config: 'shdd' is no file, nor one of the configurations {listed}; did you mean shd?",
        ),
        (["shd"], "train: shd needs --data ROOT, the folder in which tonic keeps its data sets"),
        (
            ["shd", "--download"],
            "train: --download needs the configuration of a known data set and --data ROOT, got shd without --data",
        ),
        (
            ["digits", "--download"],
            "train: --download needs the configuration of a known data set and --data ROOT, got none",
        ),
    ):
        assert command("train", *arguments) == (2, "", f"cuslayer: {message}\n")
        assert os.listdir() == []


def test_without_tonic_the_error_names_the_extra(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.delitem(sys.modules, "tonic.datasets", raising=False)
    code, _, error = command("train", "shd", "--data", "sets")
    assert (code, error) == (2, "cuslayer: load: tonic is not installed; pip install 'cuslayer[tonic]'\n")
