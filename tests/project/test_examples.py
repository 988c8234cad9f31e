"""Every example runs at a small size and does what it says."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.cli import main
from tests.support.tiny import write_folder, write_pair

pytestmark = pytest.mark.all

EXAMPLES = Path(__file__).parents[2] / "examples"
PATHS = sorted((EXAMPLES / "notebooks").glob("*.ipynb"))
LINE = r"epoch {}: train \d+\.\d\d%, test \d+\.\d\d%, \d+\.\d s"


def load(name):
    """Import an example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path):
    return str(write_folder(tmp_path / "data", (0, 1, 2, 3), (0, 1), events=15_000, duration=300.0))


def test_mlp(data, capsys):
    load("nmnist_mlp").main(["--data", data, "--epochs", "2", "--batch", "2"])
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(LINE.format(1), first)
    assert re.fullmatch(LINE.format(2), second)


def test_mlp_learns_the_digits(capsys):
    # Chance is 10 %; seeds 0 to 2 came to 71 % and more.
    load("nmnist_mlp").main(["--epochs", "1", "--limit", "320"])
    line = capsys.readouterr().out.strip()
    assert re.fullmatch(LINE.format(1), line)
    assert float(re.search(r"test (\d+\.\d\d)%", line)[1]) > 50


def test_digits_without_labels(tmp_path, capsys):
    # Chance is 10 %; seeds 0 to 2 came to 50 % and more.
    load("stdp_digits").main(
        ["--epochs", "1", "--neurons", "25", "--limit", "400", "--picture", str(tmp_path / "w.png")]
    )
    said = re.fullmatch(r"epoch 1: validation (\d+\.\d\d)%", capsys.readouterr().out.strip())
    assert float(said[1]) > 35
    assert (tmp_path / "w.png").stat().st_size > 500


def test_a_network_on_a_microcontroller(tmp_path, capfd):
    load("cortex_m4").main(["--epochs", "1", "--limit", "2", "--bits", "8", "--out", str(tmp_path / "firmware")])
    said = "".join(capfd.readouterr())  # the emulator writes to standard error
    assert re.search(r"^RAM [\d,]+ bytes, flash [\d,]+ bytes, \d+ additions a step$", said, re.M)
    assert "self-test: 0 differ" in said or re.search("^not run: .* missing$", said, re.M)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_live_source_in_c(tmp_path, capfd):
    run = str(tmp_path / "run")
    assert main(["train", "--network", "34x34x2-4a-10", "--epochs", "1", "--out", run]) == 0
    load("live_c").main([run, "--recordings", "2", "--speed", "1000", "--out", str(tmp_path / "live")])
    said = capfd.readouterr().out
    answer = r"^digit \d:$(\n +\d+ ms: \d)+\n  \d+ output spikes, the same as in Python$"
    assert len(re.findall(answer, said, re.M)) == 2


def test_cnn(data, capsys):
    load("nmnist_cnn").main(["--data", data, "--epochs", "1", "--batch", "1", "--limit", "1"])
    assert re.fullmatch(LINE.format(1), capsys.readouterr().out.strip())


@pytest.mark.filterwarnings("ignore:calibrate. not all neurons fire at the rate")
@pytest.mark.parametrize(("speaker", "kind"), [(None, "axons"), ("one", "recurrent")])
def test_spoken_digits(speaker, kind, tmp_path, capsys):
    """Ten tones of two speakers are told apart."""
    r, count = np.random.default_rng(0), 40
    label, take = np.arange(count) % 10, np.arange(count) // 10 + 4
    waves = [8000 * np.sin(2 * np.pi * (300 + 300 * n) * np.arange(2400) / 8000 + r.random()) for n in label]
    archive = {"start": 2400 * np.arange(count + 1), "label": label, "take": take}
    archive["speaker"] = np.where(take % 2, "one", "other")
    np.savez(tmp_path / "tones.npz", audio=np.concatenate(waves).astype(np.int16), **archive)
    options = [] if speaker is None else ["--test-speaker", speaker]
    load("spoken_digits").main([str(tmp_path / "tones.npz"), "--epochs", "40", *options])
    *_, last = capsys.readouterr().out.splitlines()
    assert float(re.fullmatch(r"epoch 40: test (\d+\.\d\d)%", last)[1]) > 60  # chance is 10 %
    load("delays").main([kind, "--data", str(tmp_path / "tones.npz"), "--neuron", "AdLIF", "--batches", "2"])


def test_delays(capsys):
    load("delays").main(["synapses", "--batches", "12"])
    assert float(capsys.readouterr().out.split()[0]) > 90  # chance is 50 %


@pytest.mark.parametrize("name", ["oxford", "oxford_loihi"])
def test_oxford(name, tmp_path, capsys):
    data = write_pair(tmp_path / "pair", neurons=200, steps=1900, rate=40)
    load(name).main(["--data", str(data), "--epochs", "102", "--plot", str(tmp_path / "out.png")])
    lines = [line.split(": loss ") for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == ["iteration 0", "iteration 100", "iteration 101"]
    assert float(lines[-1][1]) < float(lines[0][1])
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_oxford_as_it_is_published(recordings, monkeypatch):
    # The loss of a silent output is half the energy of the filtered target: a number of the data alone.
    example = load("oxford")
    found = []

    def loss(self, spikes, target, call=cs.SpikeTimeLoss.__call__):
        value = call(self, spikes, target)
        found.append(value.item())
        assert not spikes.data.any()
        return value

    make = cs.Dense.__init__

    def silent(self, *arguments, **options):
        make(self, *arguments, **options)
        self.weight.data[:] = 0.0

    monkeypatch.setattr(cs.SpikeTimeLoss, "__call__", loss)
    monkeypatch.setattr(cs.Dense, "__init__", silent)
    example.main(["--data", str(recordings / "oxford"), "--epochs", "1"])
    assert round(found[0]) == 223_909


# Every notebook runs from top to bottom and shows its pictures. What it claims, it asserts itself.


def code_of(path):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: (plt.gcf().canvas.draw(), shown.append(plt.gcf().axes), plt.close("all")))
    space = {"__name__": "__main__"}
    for number, source in enumerate(code_of(path)):
        exec(compile(source, f"{path.name}, cell {number}", "exec"), space)
    assert not plt.get_fignums(), "a picture was drawn and not shown"
    assert shown
