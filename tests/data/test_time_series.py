"""Data sets of numbers in time, from files of arrays."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.cli import main
from cuslayer.data import Delta, Loader, load
from cuslayer.training import Config, Named, evaluate, load_run, train
from cuslayer.training.data_of_run import load_data
from tests.support.refused import refuses

RNG = np.random.default_rng(0)
PRESSURE = RNG.integers(55, 290, (17, 12)).astype(np.float32)
PRESSED = PRESSURE.clip(max=255)  # no less than at rest
LETTERS = {"pressure": PRESSURE, "lengths": [5, 6, 6], "letter": [2, 0, 1], "repetition": [0, 39, 40]}


WRONG = (-3, 18, 2**62, 2**63 - 1, 2**64 - 1)


def save(folder: Path, name: str = "letters.npz", **arrays) -> Path:
    np.savez(folder / name, **{key: np.asarray(value) for key, value in arrays.items()})
    return folder


def test_letters_as_numbers_and_as_spikes(tmp_path):
    save(tmp_path, **LETTERS)
    train, test = (load("braille", tmp_path, split) for split in ("train", "test"))
    assert (train.labels.tolist(), test.labels.tolist(), train.classes, test.classes) == ([2, 0], [1], 3, 3)
    assert np.allclose(train[1][0], (PRESSED[5] - PRESSED[5:11]) / 25.5, atol=1e-5)
    assert [batch.lengths.tolist() for batch in Loader(train, 2)] == [[5, 6]]
    spikes = load("braille-spikes", tmp_path / "letters.npz", "test")[0][0]
    x = (1 - PRESSED[11:] / 255).astype(np.float32)
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
        **{
            "layers": ("4", cs.network.Word("8r", spread=(("tau", 5.0, 20.0),)), "3out"),
            "neuron": cs.LIF(trained=True),
        },
        **{
            "dataset": "arrays",
            "data": str(tmp_path),
            "error": Named("CrossEntropyLoss", {"over": "every", "smoothing": 0.1}),
        },
        **{"duration": 9.0, "epochs": 1, "batch": 2},
        **{"validation": 0.3, "out": str(tmp_path / "r")},
    )
    x = RNG.normal(size=(33, 4)).astype(np.float32)
    save(tmp_path, "train.npz", x=x, y=np.arange(33) % 4 - 1, lengths=[5, 8, 4, 6, 5, 5])
    with pytest.warns(UserWarning, match="the run ends without a test"):
        train(config, log=lambda line: None)
    save(tmp_path, "several.npz", x=x, y=np.eye(6)[:, :3], lengths=[5, 8, 4, 6, 5, 5])
    with refuses("train: the recordings must have classes, or labels at each step"):
        train(replace(config, data=str(tmp_path / "several.npz"), out=str(tmp_path / "s")), log=lambda line: None)
    (tmp_path / "test.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"test.npz is"):
        train(replace(config, out=str(tmp_path / "s")), log=lambda line: None)
    save(tmp_path, "test.npz", x=x[:11], y=[0] * 11, lengths=[5, 6])
    data = load_data(config.with_options(duration=5.0), config.network())
    assert (data.train.lengths, data.test.lengths) == (True, False)  # each by its own recordings
    train(config, resume=True, log=lambda line: None)
    run = load_run(tmp_path / "r")
    tested = run.stats.epochs[0].test_accuracy
    right, found = 0, run.net.layers[1].neuron.parameters()[0]
    assert found.shape == (8,)
    for part in np.split(x[:11], [5]):
        right += (run.net(part[:, None]).data.argmax(axis=2) == 0).sum()
    assert evaluate(run)[0].accuracy == pytest.approx(right / 11) == tested


def mnist(folder: Path, pictures, labels, name="train", write=Path.write_bytes) -> Path:
    for what, given in (("images-idx3", pictures), ("labels-idx1", labels)):
        header = np.array([0x800 + given.ndim, *given.shape], ">u4").tobytes()
        write(folder / f"{name}-{what}-ubyte", header + given.astype(np.uint8).tobytes())
    return folder


def test_mnist_is_a_pixel_a_step(tmp_path):
    pictures, labels = RNG.integers(0, 256, (3, 28, 28)), np.array([7, 0, 9])
    mnist(tmp_path, pictures, labels)
    rows = load("smnist", tmp_path)
    assert (rows.shape, rows.steps, rows.classes, rows.labels.tolist()) == ((1,), 784, 10, [7, 0, 9])
    assert np.array_equal(rows[1][0][:, 0], np.float32(pictures[1].ravel()) / np.float32(255))
    mixed = load("psmnist", tmp_path)
    order = np.random.default_rng(0).permutation(784)
    assert all(np.array_equal(mixed[i][0], rows[i][0][order]) for i in range(3))
    packed = tmp_path / "packed"
    packed.mkdir()
    mnist(packed, pictures, labels, "t10k", lambda path, data: Path(f"{path}.gz").write_bytes(gzip.compress(data)))
    assert np.array_equal(load("smnist", packed, "test")[2][0], rows[2][0])


def test_fashion_mnist_is_a_constant_current(tmp_path):
    pictures, labels = RNG.integers(0, 256, (3, 28, 28)), np.array([7, 0, 9])
    mnist(tmp_path, pictures, labels)
    data = load("fashion-mnist", tmp_path, dt=2.0, duration=10.0)
    assert (data.shape, data.steps, data.dt, data.names[data.labels[0]]) == ((28, 28, 1), 5, 2.0, "sneaker")
    assert (data[1][0][:, :, :, 0] == np.float32(pictures[1]) / np.float32(255)).all()
    assert data[1][0].strides[0] == 0
    assert load("fashion-mnist", tmp_path).steps == 4
    with refuses("load: duration must be at least a step of 2 ms"):
        load("fashion-mnist", tmp_path, dt=2.0, duration=0.5)


def test_a_run_on_pictures_changes_them(tmp_path):
    """The loader of a run shifts, mirrors and erases training pictures, and no others."""
    picture = np.zeros((28, 28))
    picture[10:14, 20:22] = 255
    for name in ("train", "t10k"):
        mnist(tmp_path, np.repeat(picture[None], 80, 0), np.arange(80) // 8, name)
    config = Config(cs.LIF(), 4.0, ("28x28x1", "10"), picture=(1, 0.5, 3), validation=0.25, batch=60)
    config = replace(config, dataset="fashion-mnist", data=str(tmp_path))
    data = load_data(config, config.network(), train=True)
    (train,) = (np.asarray(x) for x, _ in data.train)
    (kept,) = (np.asarray(x) for x, _ in data.validation)
    assert (kept == np.float32(picture / 255)[:, :, None]).all()
    assert (train == train[0]).all()
    bright = train[0, :, 1:-1, 1:-1, 0] == 1
    rows, columns = bright.any(2), bright.any(1)
    assert {int(r.argmax()) for r in rows} == {8, 9, 10}
    assert {int(c.argmax()) for c in columns} == {4, 5, 6, 18, 19, 20}
    noisy = ((train[0] > 0) & (train[0] < 1)).sum((1, 2, 3))
    assert noisy.max() <= 9
    assert 15 < (noisy > 0).sum() < 45


def test_damaged_mnist(tmp_path):
    pictures, labels = np.zeros((3, 28, 28)), np.zeros(3)
    images = mnist(tmp_path, pictures, labels) / "train-images-idx3-ubyte"
    whole, name = images.read_bytes(), re.escape(str(images))
    bomb = gzip.compress(whole[:4] + np.array([200_000, 28, 28], ">u4").tobytes() + bytes(200_000 * 784))
    for given, message in (
        (whole[:-1], rf"{name} must have the 2,352 bytes that its header says"),
        (whole + b"x", "must have the 2,352 bytes"),
        (whole[:9], "is no idx file of bytes with 3 axes"),
        (b"\0\0\x0d" + whole[3:], "is no idx file of bytes"),
        (gzip.compress(whole)[:-9], "is no gzip file"),
        (gzip.compress(whole)[:12] + b"x" * 30, "is no gzip file"),
        (bomb, "must have the 156,800,000 bytes"),
    ):
        images.write_bytes(given)
        with pytest.raises(ValueError, match=message) as found:
            load("smnist", tmp_path)
        assert "\n" not in str(found.value)
    for given in ((np.zeros((3, 28, 27)), labels), (pictures, np.zeros(2)), (pictures, labels * 0 + 26)):
        rule = rf"must have pictures of 28 x 28 pixels with as many labels under 10, got .*to {max(given[1]):.0f}$"
        with pytest.raises(ValueError, match=rule):
            load("smnist", mnist(tmp_path, *given))
    images.unlink()
    with pytest.raises(ValueError, match=rf"{name} is no file"):
        load("smnist", tmp_path)


def test_permuted_is_an_option_of_the_command(tmp_path, capsys):
    for name in ("train", "t10k"):
        mnist(tmp_path, RNG.integers(0, 256, (20, 28, 28)), np.arange(20) % 10, name)
    given = ["train", "smnist", "--permuted", "--data", str(tmp_path), "--epochs", "1", "--network", "1-3r-10out"]
    assert main([*given, "--optimizer", "NAdam", "--out", str(tmp_path / "run")]) == 0
    config = load_run(tmp_path / "run").config
    assert (config.dataset, config.optimizer.type) == ("psmnist", "NAdam")
    assert main(["train", "qtdb", "--permuted"]) != 0
    assert "--permuted is for the configuration smnist, got the data set qtdb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": [5, 6, 5]}, "lengths must add up to the 17 steps of all recordings, got 16"),
        ({"lengths": [5, 12, 0]}, "lengths must be integers from 1"),
        *(
            (
                {"lengths": np.array([5, 12, x], np.int64 if x < 2**63 else np.uint64)},
                f"lengths must be integers from 1 to the 17 steps .*, got {x}",
            )
            for x in WRONG
        ),
        ({"lengths": np.array([17, 17, 17], np.int8)}, "lengths must add up to the 17 steps of all recordings, got 51"),
        ({"pressure": np.zeros((0, 12))}, r"array pressure must have no axis of 0, got shape \(0, 12\)"),
        ({"letter": [0, -1, 2]}, "must be integers from 0, one for each recording"),
        ({"letter": [0, 2**62, 2]}, "letter must be under 2147483648, got 4611686018427387904"),
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


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.broadcast_to(True, (2**33, 0, 3)), "y": [0]},
            r"array x must have no axis of 0, got shape \(8589934592, 0, 3\)",
        ),
        ({"x": np.zeros((2, 5, 3)), "y": np.zeros((0, 2**40))}, "array y must have no axis of 0"),
        (
            {"x": np.zeros((20, 3)), "y": [0, 1, 2], "lengths": [2**63 - 1, 2**63 - 1, 22]},
            "lengths must be .* to the 20 steps",
        ),
        ({"x": np.zeros((20, 3)), "y": [0, 1], "lengths": np.array([2**64 - 2, 22], np.uint64)}, "to the 20 steps"),
        (
            {"x": np.zeros((100_001, 1)), "y": [0], "lengths": np.ones(100_001, np.int8)},
            "allows at most 100,000 recordings",
        ),
        ({"x": np.zeros((100_001, 1, 1), bool), "y": np.zeros((100_001, 1), int)}, "allows at most 100,000 recordings"),
        ({f"a{number}": [0] for number in range(1001)}, "must have at most 1000 arrays, got 1001"),
        ({"x": np.zeros((2, 5, 3)), "y": [0, 2**62]}, f"y must be classes under {2**31}, got {2**62}"),
    ],
)
def test_damaged_arrays(arrays, message, tmp_path):
    np.savez_compressed(tmp_path / "train.npz", **arrays)
    with pytest.raises(ValueError, match=message) as found:
        load("arrays", tmp_path)
    assert "train.npz" in str(found.value)
    assert "\n" not in str(found.value)


def test_heartbeats_that_are_none(tmp_path):
    """What unfolds too far, is complex or has no numbers is refused; a step without a class does not count."""
    io = pytest.importorskip("scipy.io")
    x, y = RNG.integers(-1, 2, (3, 9, 4)), np.eye(6)[RNG.integers(0, 6, (3, 9))]
    wide = np.zeros((100, 1000, 90))
    both, twice = y.copy(), x[..., None]
    both[0, 0] = 1
    for change, message in (
        ({"x": x + 1j}, "x must be real numbers, got complex128"),
        ({"x": twice}, "x and y must be"),
        ({"x": x.astype(object)}, "it must have numbers x and y, once each"),
        ({"y": both}, "y must have one 1 for the class of a step"),
        ({"y": y / 2}, "y must have one 1 for the class of a step"),
        ({"x": x * 1e300}, "x must be at most"),
        ({"x": wide, "y": wide}, r"x and y must take at most 67,108,864 bytes, got 144,000,000"),
    ):
        io.savemat(tmp_path / "QTDB_train.mat", {"x": x, "y": y} | change, do_compression=True)
        with pytest.raises(ValueError, match=rf"QTDB_train\.mat is no file of heartbeats: {message}"):
            load("qtdb", tmp_path)
    y[1, 2:4] = 0
    io.savemat(tmp_path / "QTDB_train.mat", {"x": x, "y": y})
    assert [np.flatnonzero(labels == -1).tolist() for _, labels in load("qtdb", tmp_path)] == [[], [2, 3], []]
