"""A run goes on with its own recordings: others are refused, wherever they are; its own may be moved and copied."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from cuslayer.cli import main
from cuslayer.data import Events, write_events
from cuslayer.training import Config, train
from cuslayer.training.data_of_run import described, load_data
from cuslayer.training.sound import SoundConfig
from tests.support.deaths import results, tiny
from tests.support.tiny import TIMES, no_figures, silent, write_pair
from tests.training.test_run_stopped import stopped

pytestmark = pytest.mark.all


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    no_figures(monkeypatch)


def drawn(seed, events=20):
    rng = np.random.default_rng(seed)
    return Events(rng.uniform(0, 8, events), *rng.integers(6, size=(2, events)), rng.integers(2, size=events))


def all_are_replaced(data):
    for number in range(6):
        write_events(data / f"{number}.bs2", drawn(number + 50))


def one_is_replaced(data):
    write_events(data / "2.bs2", drawn(50))


def one_of_the_test_is_replaced(data):
    write_events(data / "5.bs2", drawn(50))


def one_is_longer(data):
    (data / "1.bs2").write_bytes((data / "1.bs2").read_bytes() * 2)


def two_change_places(data):
    for old, new in (("0", "x"), ("2", "0"), ("x", "2")):
        (data / f"{old}.bs2").rename(data / f"{new}.bs2")


def the_list_is_reversed(data):
    lines = (data / "train.txt").read_text().splitlines()
    (data / "train.txt").write_text("\n".join(reversed(lines)))


def a_class_is_another(data):
    (data / "train.txt").write_text((data / "train.txt").read_text().replace("0 0", "0 1"))


CHANGES = [
    one_is_replaced,
    one_of_the_test_is_replaced,
    one_is_longer,
    two_change_places,
    the_list_is_reversed,
    a_class_is_another,
]


def resumed(run, capsys, *options):
    code = main(["train", "--resume", "--out", str(run), *map(str, options)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("change", "within"), [(change, n % 2 == 0) for n, change in enumerate(CHANGES)])
def test_other_recordings_are_refused(tmp_path, capsys, change, within):
    config = tiny(tmp_path, out=str(tmp_path / "out"), validation=0.5 if within else None)
    if within:
        assert stopped(config, 1).batches == 1
    else:
        train(config, log=silent)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    shutil.copytree(tmp_path / "data", tmp_path / "own")
    change(tmp_path / "data")
    code, err = resumed(tmp_path / "out", capsys, "--epochs", 3)
    which = "test 2" if change is one_of_the_test_is_replaced else "(training|validation) 2" if within else "training 4"
    rule = f"cuslayer: train: the recordings of a resumed run cannot change, {tmp_path / 'out'} has for {which} record"
    assert (code, bool(re.match(f"{rule}[^\n]*\n$", err))) == (2, True), err
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    # Its own, wherever they are, are taken.
    assert resumed(tmp_path / "out", capsys, "--epochs", 3, "--data", tmp_path / "own") == (0, "")


def test_a_folder_that_was_moved(tmp_path, monkeypatch, capsys):
    whole = results(train(tiny(tmp_path, out=str(tmp_path / "whole")), log=silent))
    out = tmp_path / "out"
    assert stopped(tiny(tmp_path, out=str(out)), 1).batches == 1
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "data").iterdir():
        (tmp_path / "elsewhere" / path.name).write_bytes(path.read_bytes())  # with other times
    shutil.rmtree(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resumed(out, capsys, "--data", ".") == (0, "")
    assert results(out) == whole


def test_a_damaged_recording_is_named_and_the_run_goes_on(tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "data" / "3.bs2"
    assert stopped(tiny(tmp_path, out=str(out)), 1).batches == 1
    raw = file.read_bytes()
    file.write_bytes(raw[:-1])
    assert resumed(out, capsys) == (2, f"cuslayer: read_events: {file} is {len(raw) - 1} bytes, not a multiple of 5\n")
    file.write_bytes(raw)
    assert resumed(out, capsys) == (0, "")


@pytest.mark.parametrize("number", [3, 5])
def test_a_recording_that_was_damaged_from_the_start_is_repaired(tmp_path, capsys, number):
    """The checkpoint before it, in training or in the test, goes on with the repaired one, and with no other later."""
    tiny(tmp_path)
    out, file = tmp_path / "out", tmp_path / "data" / f"{number}.bs2"
    raw = file.read_bytes()
    file.write_bytes(raw[:-1])
    with pytest.raises(ValueError, match=f"{number}.bs2 is 99 bytes"):
        train(tiny(tmp_path, out=str(out), batch=1), log=silent)
    file.write_bytes(raw)
    assert resumed(out, capsys) == (0, "")
    one_is_replaced(tmp_path / "data")
    assert resumed(out, capsys, "--epochs", 3)[0] == 2


def test_pairs_of_spike_trains(tmp_path, capsys):
    data = write_pair(tmp_path / "pair")
    config = Config(error=TIMES, duration=30.0, layers=("5", "8", "5"), epochs=1, batch=1, data=str(data))
    out = train(config.with_options(out=str(tmp_path / "out")), log=silent)
    for name in ("input.bs1", "output.bs1"):
        raw = (data / name).read_bytes()
        other = "output.bs1" if name == "input.bs1" else "input.bs1"
        (data / name).write_bytes((data / other).read_bytes())
        code, err = resumed(out, capsys, "--epochs", 2)
        assert (code, "has for training 1 pairs, digest" in err) == (2, True)
        (data / name).write_bytes(raw)
    assert resumed(out, capsys, "--epochs", 2) == (0, "")


def test_a_file_of_sounds(tmp_path):
    """Other waves of the same length, and other test recordings of the same classes; the file may be moved."""

    def written(name, seed=3, speaker=("a", "a", "b", "b")):
        (tmp_path / name).mkdir()
        audio = np.random.default_rng(seed).integers(-9, 9, 4000).astype(np.int16)
        file = tmp_path / name / "sounds.npz"
        np.savez(file, audio=audio, start=[0, 1000, 2000, 3000, 4000], label=[0, 1, 0, 1], speaker=speaker)
        return file

    def of(file, tested="a"):
        sound = SoundConfig(channels=8, test_field="speaker", test_values=(tested,))
        config = Config(layers=("48", "2"), sound=sound, duration=50.0, data=str(file))
        data = load_data(config, config.network())
        return described(data.train, config), described(data.test, config)

    own = of(written("own"))
    assert of(written("moved")) == own
    assert of(written("other", 4))[0] != own[0]
    assert of(written("own2"), "b") == own[::-1] != own


def test_many_recordings(tmp_path, monkeypatch):
    """Of more than a thousand the content of some is read, its begin and its end, and of all the names and sizes."""
    from cuslayer.training import data_of_run

    config = tiny(tmp_path)
    monkeypatch.setattr(data_of_run, "_FILES", 2)
    monkeypatch.setattr(data_of_run, "_ENDS", 10)

    def found():
        return described(load_data(config, config.network()).train, config)

    before = found()
    file = tmp_path / "data" / "2.bs2"
    raw = file.read_bytes()
    for place in (0, 9, 90, 99):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert found() != before, place
    file.write_bytes(raw)
    one_is_longer(tmp_path / "data")
    assert found() != before
    shutil.rmtree(tmp_path / "data")
    tiny(tmp_path)
    assert found() == before
    all_are_replaced(tmp_path / "data")
    assert found() != before
