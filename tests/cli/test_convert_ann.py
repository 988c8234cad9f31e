"""`cuslayer convert-ann` on a small network and arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cuslayer as cs

pytestmark = pytest.mark.all


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a trained network of numbers, and a data set of arrays."""
    monkeypatch.chdir(tmp_path)
    cs.seed(0)
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name, count in (("train", 200), ("test", 60)):
        y = rng.integers(0, 3, count)
        x = np.eye(3)[y].repeat(4, axis=1) + rng.normal(0, 0.3, (count, 12))
        np.savez(tmp_path / "images" / f"{name}.npz", x=x[:, None].astype(np.float32), y=y)
    net = cs.Sequential(cs.Dense(12, 16, weight_scale=2.4), cs.QuantizedReLU(4), cs.Dense(16, 3, weight_scale=1.0))
    arrays = np.load(tmp_path / "images" / "train.npz")
    batch = arrays["x"].transpose(1, 0, 2), arrays["y"]
    cs.Trainer(net, cs.CrossEntropyLoss("mean"), cs.Adam(net.parameters(), lr=0.02)).fit([batch], epochs=40)
    cs.save(net.eval(), tmp_path / "net.npz")
    return tmp_path


def test_it_converts_and_goes_on_training(folder, command):
    code, out, _ = command("convert-ann", "net.npz", "--data", "images", "--steps", "8", "--epochs", "2", "--json")
    assert code == 0
    result = json.loads(out)
    assert len(result["spiking"]) == result["steps"] == 8
    assert result["spiking"][-1] > result["numbers"] - 0.1 > 0.7
    assert result["trained"] > 0.8
    assert [layer["layer"].split()[0] for layer in result["layers"]] == ["1"]
    net = cs.load(folder / result["net"])
    assert net(np.zeros((8, 2, 12), np.float32)).shape == (8, 2, 3)
    assert (folder / "converted" / "conversion.png").stat().st_size


def test_exact_counts_and_errors(folder, command):
    code, out, _ = command("convert-ann", "net.npz", "--data", "images", "--method", "qcfs", "--out", "exact")
    assert code == 0
    assert "error 0.00%" in out
    for arguments, message in (
        (("--steps", "4", "--method", "qcfs"), "steps must be None for method 'qcfs'"),
        (("--epochs", "-1"), "--epochs must be at least 0, got -1"),
        (("--batch", "0"), "--batch must be at least 1, got 0"),
        (("--lr", "-1"), "--lr must be positive, got -1"),
        (("--input", "rate"), "data must lie in [0, 1]"),
    ):
        code, _, err = command("convert-ann", "net.npz", "--data", "images", *arguments)
        assert code != 0
        assert message in err
        assert len(err.splitlines()) == 1
    code, _, err = command("convert-ann", "net.npz", "--data", "nowhere")
    assert code != 0
    assert len(err.splitlines()) == 1
