"""Data sets of numbers in time, from files of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Delta, Loader, load
from cuslayer.training import Config, evaluate, load_run, train

RNG = np.random.default_rng(0)
PRESSURE = RNG.integers(55, 256, (17, 12)).astype(np.float32)
LETTERS = {"pressure": PRESSURE, "lengths": [5, 6, 6], "letter": [2, 0, 1], "repetition": [0, 39, 40]}


def save(folder: Path, name: str = "letters.npz", **arrays) -> Path:
    np.savez(folder / name, **{key: np.asarray(value) for key, value in arrays.items()})
    return folder


def test_letters_as_numbers_and_as_spikes(tmp_path):
    save(tmp_path, **LETTERS)
    train, test = (load("braille", tmp_path, split) for split in ("train", "test"))
    assert (train.labels.tolist(), test.labels.tolist(), train.classes, test.classes) == ([2, 0], [1], 3, 3)
    assert np.allclose(train[1][0], (PRESSURE[5] - PRESSURE[5:11]) / 25.5, atol=1e-5)
    assert [batch.lengths.tolist() for batch in Loader(train, 2)] == [[5, 6]]
    spikes = load("braille-spikes", tmp_path / "letters.npz", "test")[0][0]
    x = (1 - PRESSURE[11:] / 255).astype(np.float32)
    assert np.array_equal(spikes[:, 24:48], Delta(0.02)(x, 1.0))
    assert spikes.shape == (6, 96)


def test_heartbeats_have_a_label_at_each_step(tmp_path):
    io = pytest.importorskip("scipy.io")
    x, y = RNG.integers(-1, 2, (3, 9, 4)), RNG.integers(0, 6, (3, 9))
    io.savemat(tmp_path / "QTDB_train.mat", {"x": x, "y": np.eye(6)[y], "t": 0})
    data = load("qtdb", tmp_path)
    assert (data.shape, data.classes, data.targets) == ((4,), 6, "steps")
    (found, labels), *_ = Loader(data, 3)
    assert np.array_equal(found, x.swapaxes(0, 1))
    assert np.array_equal(labels, y.T)
    (tmp_path / "QTDB_test.mat").write_bytes((tmp_path / "QTDB_train.mat").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"QTDB_test\.mat is no file of heartbeats") as found:
        load("qtdb", tmp_path, "test")
    assert "\n" not in str(found.value)


def test_own_arrays(tmp_path):
    x, lengths = RNG.random((17, 4)).astype(np.float32), [5, 6, 6]
    save(tmp_path, "train.npz", x=x, y=np.arange(17) % 3, lengths=lengths)
    save(tmp_path, "test.npz", x=x, y=[0, 1, 2], lengths=lengths)
    train, test = load("arrays", tmp_path, dt=2.0), load("arrays", tmp_path, "test")
    assert (train.targets, train.classes, train.dt, test.targets) == ("steps", 3, 2.0, "classes")
    assert np.array_equal(train[1][0], x[5:11])
    assert np.array_equal(train[1][1], np.arange(5, 11) % 3)
    save(tmp_path, "train.npz", x=x[None].repeat(2, 0), y=[0, 1])
    assert np.array_equal(load("arrays", tmp_path)[1][0], x)


def test_a_run_on_own_arrays(tmp_path):
    config = Config(
        **{"layers": ("4", cs.Word("8r", spread=(("tau", 5.0, 20.0),)), "3out"), "neuron": cs.LIF(trained=True)},
        **{"dataset": "arrays", "data": str(tmp_path), "error": "CrossEntropy", "over": "every", "smoothing": 0.1},
        **{
            "duration": 9.0,
            "region": (0.0, 9.0),
            "epochs": 1,
            "batch": 2,
            "validation": 0.3,
            "out": str(tmp_path / "r"),
        },
    )
    x = RNG.normal(size=(33, 4)).astype(np.float32)
    save(tmp_path, "train.npz", x=x, y=np.arange(33) % 4 - 1, lengths=[5, 8, 4, 6, 5, 5])
    with pytest.warns(UserWarning, match="the run ends without a test"):
        train(config, log=lambda line: None)
    save(tmp_path, "test.npz", x=x[:11], y=[0] * 11, lengths=[5, 6])
    run = load_run(tmp_path / "r")
    right, found = 0, run.net.layers[1].neuron.parameters()[0]
    assert found.shape == (8,)
    for part in np.split(x[:11], [5]):
        right += (run.net(part[:, None]).data.argmax(axis=2) == 0).sum()
    assert evaluate(run)[0].accuracy == pytest.approx(right / 11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": [5, 6, 5]}, "lengths must add up to the 17 steps of all recordings, got 16"),
        ({"lengths": [5, 12, 0]}, "lengths must be integers from 1"),
        ({"letter": [0, -1, 2]}, "must be integers from 0, one for each recording"),
        ({"repetition": [0, 1]}, "must be integers from 0, one for each recording"),
        ({"pressure": PRESSURE * np.nan}, "pressure must be finite"),
        ({"repetition": [40, 41, 42]}, "there is no repetition before 40"),
    ],
)
def test_damaged_letters(change, message, tmp_path):
    with pytest.raises(ValueError, match=message) as found:
        load("braille", save(tmp_path, **{**LETTERS, **change}))
    assert "letters.npz" in str(found.value)
    assert "\n" not in str(found.value)
