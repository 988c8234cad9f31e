"""Runs on sounds, and runs with a read-out: configuration, training, classes of files, and what is refused."""

from __future__ import annotations

import json
import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer import cli
from cuslayer.network.notation import Word
from cuslayer.training import Config, Named, load_config, load_run, predict_test, train
from cuslayer.training.data_of_run import load_data
from cuslayer.training.sound import SoundConfig
from tests.support.tiny import rows_of_training, silent, write_folder

pytestmark = pytest.mark.all

SOUND = SoundConfig(
    rate=4000.0,
    channels=8,
    window=20.0,
    low=100.0,
    scale="gammatone",
    range_db=50.0,
    levels=(0.5, 0.8),
    falling=False,
    lead=10.0,
    stretch=1.1,
    shift=5.0,
    shift_channels=1,
    mask=4.0,
    mask_channels=2,
    test_field="take",
    test_values=(3, 4),
)
OF_BOTH = {name: getattr(SOUND, name) for name in ("rate", "channels", "window", "low", "test_field", "test_values")}
OF_NUMBERS = SoundConfig(**OF_BOTH, levels=(), stretch=1.2, warp=1.1, gain=3.0, noise=(-50.0, -30.0))
CONFIG = Config(
    neuron=cs.SRM(tau_sr=10.0, dt=5.0),
    duration=200.0,
    layers=("16", "12", "3out"),
    error=Named("CrossEntropyLoss"),
    epochs=25,
    batch=6,
    sound=SOUND,
)


def tone(label: int, take: int) -> np.ndarray:
    """Return 0.15 s of a tone, whose frequency is the class."""
    t = np.arange(600) / 4000
    return np.int16(9000 * np.sin(2 * np.pi * (300 + 500 * label + 10 * take) * t))


def write_sounds(path: Path, takes: range = range(5), **changes: Any) -> str:
    pairs = [(label, take) for label in range(3) for take in takes]
    waves = [tone(*pair) for pair in pairs]
    start = np.cumsum([0, *map(len, waves)])
    arrays = {"audio": np.concatenate(waves), "start": start, "label": [label for label, _ in pairs]}
    np.savez(path, **arrays | {"take": [take for _, take in pairs]} | changes)
    return str(path)


def write_wave(path: str, samples: np.ndarray, rate: int = 4000) -> None:
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def test_round_trip() -> None:
    for sound in (SOUND, OF_NUMBERS, SoundConfig(), None):
        config = replace(CONFIG, sound=sound)
        assert load_config(yaml.safe_load(config.to_yaml())) == config
    assert load_config(document(test={"speaker": "ann"})).sound.test_values == ("ann",)  # one need be no list
    usual = SoundConfig()
    assert not [n for n in vars(usual) if getattr(SOUND, n) == getattr(OF_NUMBERS, n) == getattr(usual, n)]


def document(**sound: Any) -> dict[str, Any]:
    found = yaml.safe_load(CONFIG.to_yaml())
    found["sound"] |= sound
    return found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("channel", 5, "load_config: sound.channel is an unknown key; did you mean channels?"),
        ("levels", 0.5, "load_config: sound.levels must be a list of numbers, got 0.5"),
        ("scale", "bark", "load_config: sound.scale must be one of mel, gammatone, got 'bark'"),
        ("lead", -1.0, "load_config: sound.lead must not be negative, got -1"),
        ("test", {"take": 1, "speaker": 2}, "load_config: sound.test must be one field and its values, got "),
        ("levels", [0.8, 0.5], "load_config: sound: Levels: levels must ascend to at most 1, got (0.8, 0.5)"),
        ("low", 3000.0, "load_config: sound: Bands: low must be under high, 2000 Hz, got 3000"),
        ("lead", 200.0, "load_config: sound: AudioToSpikes: lead must be under duration, 200 ms, got 200"),
        ("stretch", 0.5, "load_config: sound: Stretch: factor must be at least 1, got 0.5"),
        ("warp", 1.2, "load_config: sound: warp is for numbers, without levels"),
        ("levels", [], "load_config: sound: falling is for spikes, with levels"),
    ],
)
def test_what_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match="^" + re.escape(message)):
        load_config(document(**{key: value}))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    cs.seed(0)
    return train(replace(CONFIG, data=write_sounds(folder / "tones.npz"), out=str(folder / "run")), log=silent)


def test_a_run_learns_and_is_tested_on_its_test_set_and_on_all_of_another_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["test", str(run)]) == 0
    assert re.search(r"at epoch 25: 6 recordings, loss \S+, accuracy 100\.00%", capsys.readouterr().out)
    other = write_sounds(tmp_path / "other.npz", range(9, 11))
    assert cli.main(["test", str(run), "--data", other]) == 0
    assert "at epoch 25: 6 recordings, loss" in capsys.readouterr().out


def test_classes_of_wav_files(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(tmp_path / f"{label}.wav") for label in range(3)]
    for label in range(3):
        write_wave(files[label], tone(label, 3))
    assert cli.main(["predict", str(run), *files, "--json"]) == 0
    assert [row["class"] for row in json.loads(capsys.readouterr().out)] == [0, 1, 2]
    config = run / "config.yaml"
    config.write_text((text := config.read_text()).replace("low: ", "low: 1"))  # the network has not trained with it
    assert cli.main(["predict", str(run), *files]) == 2
    assert "was changed since the checkpoint: sound.low is " in capsys.readouterr().err
    config.write_text(text)
    write_wave(files[0], tone(0, 3), rate=8000)
    assert cli.main(["predict", str(run), files[0]]) == 2
    assert "has 8000 samples per second, the network takes 4000" in capsys.readouterr().err


def test_a_run_of_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It learns, and says the same of a WAV file alone and beside a longer one."""
    layers, data = ("16", "24r", Word("3out", tau=50.0)), write_sounds(tmp_path / "tones.npz")
    config = replace(CONFIG, sound=OF_NUMBERS, layers=layers, data=data, out=str(tmp_path / "run"))
    folder = str(train(config, log=silent))
    assert cli.main(["test", folder]) == 0
    assert float(re.search(r"6 recordings, .* accuracy (\S+)%", capsys.readouterr().out)[1]) > 80
    files, rows = [str(tmp_path / "short.wav"), str(tmp_path / "long.wav")], []
    write_wave(files[0], tone(1, 3))
    write_wave(files[1], np.tile(tone(2, 3), 2))
    for some in (files, files[:1], files[1:]):
        assert cli.main(["predict", folder, *some, "--json"]) == 0
        rows += json.loads(capsys.readouterr().out)
    assert [row["class"] for row in rows[:2]] == [1, 2]
    assert rows[:2] == rows[2:]
    run = load_run(folder)
    x = load_data(run.config, run.net).test.dataset[0][0]
    with cs.no_grad():
        np.testing.assert_array_equal(predict_test(run, 0).counts, run.net(x[:, None]).numpy().max(axis=0)[0])


def test_training_changes_the_recordings_and_testing_does_not(tmp_path: Path) -> None:
    config = replace(CONFIG, data=write_sounds(tmp_path / "tones.npz"))
    data = load_data(config, config.network())
    (first, _), (second, _) = next(iter(data.test)), next(iter(data.test))
    np.testing.assert_array_equal(first, second)
    assert (len(data.train.dataset), len(data.test.dataset)) == (9, 6)
    plain = {spikes.tobytes() for spikes, _ in (data.train.dataset[n] for n in range(9))}
    for _ in range(2):
        changed = np.concatenate([x for x, _ in data.train], axis=1)
        assert changed.shape == (40, 9, 16)
        assert sum(spikes.tobytes() not in plain for spikes in changed.swapaxes(0, 1)) > 6
    every_fifth = replace(config, sound=replace(SOUND, test_field=None, test_values=()))
    assert load_data(every_fifth, config.network()).test.dataset.indices.tolist() == [4, 9, 14]


def test_errors(tmp_path: Path) -> None:
    data, few = write_sounds(tmp_path / "tones.npz"), write_sounds(tmp_path / "few.npz", range(1))
    for file, sound, message in (
        (None, {}, r"the configuration reads audio, it needs --data FILE, an npz file"),
        (data, {"test_field": "age"}, r"read_sounds: the file has no field 'age'; its fields: take$"),
        (data, {"test_values": tuple(range(5))}, r"read_sounds: .*: all of the recordings are the test set$"),
        (few, {"test_field": None, "test_values": ()}, r"read_sounds: .*: none of the recordings are the test set$"),
        (data, {"falling": True}, r"the network expects input \(16,\), the recordings are \(32,\)$"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            load_data(replace(CONFIG, data=file, sound=replace(SOUND, **sound)), CONFIG.network())


@pytest.mark.parametrize("name", ["spoken-digits", "spoken-digits-delays"])
def test_the_configuration_of_spoken_digits_fits_its_recordings(name: str) -> None:
    config = load_config(name)
    assert config.sound is not None
    x = config.sound.to_input(config.neuron.dt, config.duration)(np.ones(1600))
    assert config.network()(x[:, None]).shape == (200 // config.neuron.dt, 1, 10)
    assert (config.sound.test_field, config.sound.test_values) == ("take", (5, 6, 7, 8, 9))


# Runs with a read-out and the cross-entropy.


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
    assert rows_of_training(tmp_path / "one") == rows_of_training(tmp_path / "two")
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
    assert [each["confidence"] for each in said] == cs.loss.confidence(y, over="max").tolist()
    np.testing.assert_allclose([each["counts"] for each in said], y.max(axis=0))
    times = cs.loss.decision_time(y, cs.classify(y, over="max"), over="max") + 5.0
    assert [each["time_ms"] for each in said] == times.tolist()
    assert cli.main(["report", str(tmp_path / "one")]) == 0
