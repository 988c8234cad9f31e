"""The gradient flow of a whole run: its file, and resuming."""

from __future__ import annotations

import pytest

from cuslayer.training import figures, load_config, train
from cuslayer.training.config import OptimizerConfig
from tests.support.tiny import silent, write_folder

NETWORK = """
simulation: {Ts: 1.0, tSample: 30}
neuron: {type: SRMALPHA, theta: 10, tauSr: 10.0, tauRef: 1.0, scaleRef: 2, tauRho: 1, scaleRho: 1}
layer: [{dim: 34x34x2}, {dim: 8}, {dim: 3}]
training:
  error: {type: NumSpikes, tgtSpikeRegion: {start: 0, stop: 30}, tgtSpikeCount: {true: 6, false: 1}}
  initialization: slayer
  epochs: 2
  batch: 4
"""


@pytest.fixture
def drawn(monkeypatch):
    """The names of the figures, which are not drawn."""
    names = []
    monkeypatch.setattr(figures, "save_figure", lambda path, draw, *, size: names.append(path.name))
    return names


@pytest.fixture
def config(tmp_path, drawn):
    path = tmp_path / "network.yaml"
    path.write_text(NETWORK)
    data = write_folder(tmp_path / "data")
    return load_config(path).with_options(data=str(data), out=str(tmp_path / "out"))


def sizes(out):
    return (out / "gradients.csv").read_text().splitlines()


def test_what_is_recorded(config, drawn):
    header, *rows = sizes(train(config, log=silent))
    assert header == "epoch,0 Dense,2 Dense"
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    # The hidden neurons are silent: the layer after them has no gradient.
    assert all(float(first) > 0 == float(second) for _, first, second in (row.split(",") for row in rows))
    assert drawn == ["curves.png", "gradients.png", "raster.png"]


def test_a_resumed_run_continues_the_gradient_flow(config, tmp_path):
    config = config.with_options(optimizer=OptimizerConfig(schedule="constant", warmup=0))
    whole = train(config.with_options(epochs=4, out=str(tmp_path / "whole")), log=silent)
    out = train(config, log=silent)
    assert sizes(out) == sizes(whole)[:3]
    # As in a run that was killed before its third checkpoint.
    with (out / "gradients.csv").open("a") as file:
        file.write("3,1,1\n")
    train(config.with_options(epochs=4), resume=True, log=silent)
    assert sizes(out) == sizes(whole)


def test_a_run_without_the_file_is_resumed(config, tmp_path):
    config = config.with_options(optimizer=OptimizerConfig(schedule="constant", warmup=0))
    whole = train(config.with_options(epochs=3, out=str(tmp_path / "whole")), log=silent)
    out = train(config, log=silent)
    (out / "gradients.csv").unlink()
    train(config.with_options(epochs=3), resume=True, log=silent)
    assert sizes(out) == [sizes(whole)[0], "1,,", "2,,", sizes(whole)[3]]


def test_a_damaged_gradient_file_raises(config):
    out = train(config, log=silent)
    (out / "gradients.csv").write_text("epoch,0 Dense\n1,1\n2,1\n")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(ValueError, match=r"gradients\.csv does not begin with epoch,0 Dense,2 Dense$"):
        train(config.with_options(epochs=3), resume=True, log=silent)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
