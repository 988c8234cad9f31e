"""Runs with a read-out and the cross-entropy: configuration, training, checkpoint, classes of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer import cli
from cuslayer.training import Config, load_config, load_run
from tests.support.tiny import write_folder


def load(config: Config) -> Config:
    return load_config(yaml.safe_load(config.to_yaml()))


@pytest.mark.parametrize("region", [(0.0, 150.0), (10.0, 90.0)])
def test_round_trip_of_cross_entropy(region: tuple[float, float]) -> None:
    layers = ("200", cs.Word("256", bias=True), cs.Word("20out", tau=30.0, bias=True, weight_scale=0.5))
    config = Config(error="CrossEntropy", over="mean", layers=layers, duration=150.0, region=region)
    assert load(config) == config
    loss = config.loss()
    assert isinstance(loss, cs.CrossEntropyLoss)
    assert (loss.over, loss.region) == ("mean", tuple(map(round, region)))


def document(error: dict[str, Any]) -> dict[str, Any]:
    found = yaml.safe_load(Config().to_yaml())
    found["training"]["error"] = error
    return found


def test_cross_entropy_needs_nothing_else() -> None:
    config = load_config(document({"type": "CrossEntropy"}))
    assert (config.error, config.over, config.region) == ("CrossEntropy", "max", (0.0, 300.0))
    with pytest.raises(ValueError, match=r"training\.error\.over must be one of .*, got 'most'"):
        load_config(document({"type": "CrossEntropy", "over": "most"}))


def test_a_run_with_a_read_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It trains, goes on from a checkpoint within an epoch with the same numbers, and is tested and asked."""
    data = write_folder(tmp_path / "data")
    found = yaml.safe_load(Config().to_yaml())
    found["simulation"]["tSample"] = 30
    found["layer"] = [{"dim": "34x34x2"}, {"dim": "8", "bias": True}, {"dim": "3out", "tau": 10, "bias": True}]
    found["training"]["error"] = {"type": "CrossEntropy", "over": "max", "tgtSpikeRegion": {"start": 5, "stop": 30}}
    found["training"] |= {"epochs": 2, "batch": 4, "path": {"in": str(data)}}
    path = tmp_path / "read-out.yaml"
    path.write_text(yaml.safe_dump(found))
    for name, epochs in (("one", [2]), ("two", [1, 2])):
        for number, count in enumerate(epochs):
            options = ["--resume"] if number else [str(path)]
            assert cli.main(["train", *options, "--epochs", str(count), "--out", str(tmp_path / name)]) == 0
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("one", "two")]
    assert [row.rsplit(",", 1)[0] for row in rows[0]] == [row.rsplit(",", 1)[0] for row in rows[1]]
    run = load_run(tmp_path / "one")
    assert (tmp_path / "one" / "raster.png").stat().st_size > 1000
    capsys.readouterr()
    assert cli.main(["test", str(tmp_path / "one")]) == 0
    assert "accuracy" in capsys.readouterr().out
    files = [str(data / f"{number}.bs2") for number in (1, 2)]
    assert cli.main(["predict", str(tmp_path / "one"), *files, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    x = np.stack([cs.read_events(file).to_spikes((34, 34, 2), 30) for file in files], axis=1)
    with cs.no_grad():
        y = run.net(x).data[5:30]
    assert [each["class"] for each in said] == cs.classify(y, over="max").tolist()
    assert [each["confidence"] for each in said] == cs.confidence(y, over="max").tolist()
    np.testing.assert_allclose([each["counts"] for each in said], y.max(axis=0))
    times = cs.decision_time(y, cs.classify(y, over="max"), over="max") + 5.0
    assert [each["time_ms"] for each in said] == times.tolist()
    assert cli.main(["report", str(tmp_path / "one")]) == 0
