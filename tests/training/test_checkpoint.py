"""Checkpoints: exact to the bit, plain arrays, atomic, and errors if they do not fit."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.training import Checkpoint, Trainer, load_checkpoint

SRM = cs.SRM(tau_sr=4.0)


def model(kind="Adam", sizes=(6, 4, 2), steps=2):
    """A small network after a few steps of training, and its optimizer."""
    first, middle, last = sizes
    net = cs.Sequential(cs.Dense(first, middle), SRM, cs.Dense(middle, last), SRM)
    options = {"SGD": {"momentum": 0.9}, "Adam": {}, "AMSGrad": {"amsgrad": True}, "NAdam": {}}[kind]
    make = {"SGD": cs.SGD, "NAdam": cs.optim.NAdam}.get(kind, cs.Adam)
    optimizer = make(net.parameters(), 0.01, **options)
    for _ in range(steps):
        step(net, optimizer)
    return net, optimizer


def step(net, optimizer):
    x = backend.generator().random((20, 3, net.layers[0].in_features[0])) < 0.3
    optimizer.zero_grad()
    cs.SpikeCountLoss(SRM, true=5, false=1)(net(x), [0, 1, 1]).backward()
    optimizer.step()


def everything(net, optimizer):
    """The whole state of a run as bytes."""
    arrays = {**net.state(), **optimizer.state()}
    return {name: a.tobytes() for name, a in arrays.items()}, backend.generator().bit_generator.state


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint.npz"
    Checkpoint.of(3, *model()).save(path)
    return path


def test_a_run_with_branches_goes_on_to_the_bit(tmp_path):
    """Branches, a shared layer and a layer of one's own: two epochs are one, a checkpoint, and one more."""
    labels = np.array([0, 1, 1, 0])

    def made():
        cs.seed(3)
        shared = cs.Dense(6, 6)
        around = cs.Parallel(cs.Sequential(shared, SRM, cs.Dropout(0.2)), cs.Sequential())
        net = cs.Sequential(shared, SRM, around, cs.Sequential(cs.Dense(6, 2), SRM))
        return Trainer(net, cs.SpikeCountLoss(SRM, true=8, false=1), cs.Adam(net.parameters(), 0.02))

    def batches():
        return [(backend.generator().random((20, 4, 6)) < 0.3, labels) for _ in range(3)]

    straight = made()
    for _ in range(2):
        straight.train(batches())
    first = made()
    first.train(batches())
    Checkpoint.of(1, first.net, first.optimizer).save(tmp_path / "c.npz")
    again = made()
    checkpoint = load_checkpoint(tmp_path / "c.npz")
    scales = {f"{node}.scale_rho" for node in ("1", "2.0.1", "3.1")}
    assert set(checkpoint.network) == {"0.weight", "3.0.weight"} | scales
    checkpoint.restore(again.net, again.optimizer)
    again.train(batches())
    assert everything(again.net, again.optimizer) == everything(straight.net, straight.optimizer)
    assert again.net[2][0][0] is again.net[0]
    assert straight.gradients.epochs[1].keys() == {"0 Dense", "3.0 Dense"}


def test_a_checkpoint_is_a_copy():
    net, optimizer = model()
    before = everything(net, optimizer)
    checkpoint = Checkpoint.of(1, net, optimizer)
    step(net, optimizer)
    assert everything(net, optimizer) != before
    checkpoint.restore(net, optimizer)
    assert (everything(net, optimizer), optimizer.epoch) == (before, 1)
    # Training after a restore must not change the checkpoint either.
    step(net, optimizer)
    checkpoint.restore(net, optimizer)
    assert everything(net, optimizer) == before


def test_a_checkpoint_contains_no_pickle(saved):
    with np.load(saved, allow_pickle=False) as file:
        kinds = {name: file[name].dtype.kind for name in file.files}
        about = json.loads(str(file["about"]))
    assert set(kinds.values()) <= {"f", "i", "U"}
    assert {name.split("/")[0] for name in kinds} == {"network", "optimizer", "about"}
    assert (about["format"], about["epoch"]) == (4, 3)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"sizes": (6, 5, 2)}, r"^restore: parameter 0\.weight has shape \(6, 4\), the network's has shape \(6, 5\)"),
        ({"kind": "AMSGrad"}, r"^restore: optimizer's \d\.peak is missing"),
        ({"kind": "SGD"}, r"^restore: optimizer's \d\.\w+ is (missing|unknown)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_raises_and_changes_nothing(saved, other, message):
    net, optimizer = model(**other)
    before = everything(net, optimizer)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(saved).restore(net, optimizer)
    assert everything(net, optimizer) == before


class Trap:
    """An object that runs code when it is unpickled."""

    sprung = False

    @classmethod
    def spring(cls):
        cls.sprung = True

    def __reduce__(self):
        return Trap.spring, ()


def test_another_file(tmp_path):
    path = tmp_path / "c.npz"
    with pytest.raises(ValueError, match=r"^load_checkpoint: .*c\.npz is no file$"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match=r"^load_checkpoint: .* is damaged or no checkpoint"):
        load_checkpoint(tmp_path)
    for write in (
        lambda file: file.write(b"no checkpoint"),
        lambda file: np.save(file, np.zeros(3)),
        lambda file: np.savez(file, weight=np.zeros(3)),
        lambda file: np.savez(file, about=np.array("[1]")),
        lambda file: np.savez(file, about=np.array('{"format": 1}')),
        lambda file: np.savez(file, about=np.array(Trap(), dtype=object)),
    ):
        with path.open("wb") as file:
            write(file)
        with pytest.raises(ValueError, match=r"^load_checkpoint: .*c\.npz is damaged or no checkpoint \(\w+\)$"):
            load_checkpoint(path)
    assert not Trap.sprung
    np.savez(path, about=np.array('{"format": 5}'))
    with pytest.raises(ValueError, match=r"c\.npz has format 5, this version reads 1 to 4$"):
        load_checkpoint(path)


def test_a_checkpoint_is_on_the_disk_before_and_after_it_has_its_name(saved, monkeypatch):
    """Its content is there before the name is its own, and the name before the run goes on."""
    calls, old = [], saved.read_bytes()
    fsync, replace = os.fsync, os.replace

    def flush(number):
        calls.append(("flush", os.readlink(f"/proc/self/fd/{number}"), os.fstat(number).st_size))
        assert (saved.read_bytes() == old) == (len(calls) == 1)
        fsync(number)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", lambda *names: calls.append(("rename", *map(str, names))) or replace(*names))
    Checkpoint.of(4, *model()).save(saved)
    beside = calls[0][1]
    assert os.path.basename(beside).startswith(f".{saved.name}.")
    size = saved.stat().st_size
    folder = str(saved.parent)
    assert calls == [
        ("flush", beside, size),
        ("rename", beside, str(saved)),
        ("flush", folder, saved.parent.stat().st_size),
    ]
    assert [p.name for p in saved.parent.iterdir()] == ["checkpoint.npz"]
    assert load_checkpoint(saved).epoch == 4
