"""Files that are damaged, foreign, newer or missing raise one line, and run no code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.training.checkpoint import Checkpoint
from tests.training.test_checkpoint import Trap


@pytest.fixture
def saved(tmp_path):
    cs.seed(0)
    path = tmp_path / "net.npz"
    cs.save(cs.Network("4-3-2", cs.SRM(theta=2.0)), path)
    return path


def refused(path, message, **options):
    with pytest.raises(ValueError, match=f"^load: {path}(: | ){message}") as caught:
        cs.load(path, **options)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    refused(tmp_path / "none.npz", "is no file")
    refused(tmp_path, "is a folder, not a file")


def test_truncated_anywhere(saved):
    whole = saved.read_bytes()
    for length in (0, 1, 3, 10, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        saved.write_bytes(whole[:length])
        refused(saved, r"is damaged or no saved network \(\w+\)$")


def test_a_changed_byte(saved):
    """Zip has checksums of the content only: a changed byte is detected or has no effect."""
    whole, sound, found = saved.read_bytes(), cs.load(saved), 0
    for place in range(0, len(whole), 37):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            other = cs.load(saved)
        except ValueError:
            found += 1
        else:
            for p, q in zip(sound.parameters(), other.parameters(), strict=True):
                np.testing.assert_array_equal(p.data, q.data)
    assert found > 20


def test_foreign_files(saved, tmp_path):
    path = tmp_path / "other.npz"
    path.write_text("text")
    refused(path, "is damaged or no saved network")
    for about in (np.array(Trap(), dtype=object), np.array("[1]"), np.array("{"), np.zeros(3)):
        np.savez(path, about=about)
        refused(path, "is damaged or no saved network")
    assert not Trap.sprung
    np.savez(path, weight=np.zeros(3))
    refused(path, "is damaged or no saved network")
    np.savez(path, about=np.array('{"format": "another"}'))
    refused(path, "is no saved network, its format is 'another'$")
    net = cs.load(saved)
    Checkpoint.of(1, net, cs.SGD(net.parameters())).save(path)
    refused(path, "is a checkpoint of a run; load_run reads it$")


def rewritten(path: Path, change, **arrays):
    """Write the file again with another description."""
    with np.load(path) as file:
        found = {name: file[name] for name in file.files}
    about = json.loads(str(found.pop("about")))
    change(about)
    np.savez(path, about=np.array(json.dumps(about)), **(found | arrays))


def test_what_unfolds_is_refused(saved):
    with np.load(saved) as file:
        found = {name: file[name] for name in file.files}
    np.savez_compressed(saved, **found | {"array/0": np.zeros(10**6)})
    refused(saved, r"has arrays of 8,\d+,\d+ bytes in a file of [\d,]+$")


def test_a_newer_version(saved):
    rewritten(saved, lambda about: about.update(version=2))
    refused(saved, "has version 2, this version of cuslayer reads 1$")


def entry(about, name):
    return next(each for each in about["objects"] if each.get("class", {}).get("name") == name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("objects"), r"is damaged \(KeyError: 'objects'\)$"),
        (lambda a: a.update(root={"object": 99}), r"is damaged \(IndexError: list index out of range\)$"),
        (lambda a: a["tensors"][0].update(array="7"), r"is damaged \(KeyError: 'array/7'\)$"),
        (
            lambda a: entry(a, "Dense")["class"].update(name="Tense"),
            "the class Tense is in it, which this version does",
        ),
        (
            lambda a: entry(a, "SRM")["options"].update(theta=-1),
            "SRM cannot be made: SRM: theta must be positive, got -1",
        ),
        (lambda a: entry(a, "SRM")["options"].update(tau=1), "SRM cannot be made: .*unexpected keyword argument 'tau'"),
        (
            lambda a: entry(a, "Dense")["options"].update(in_features=2),
            r"Dense's weight has shape \(4, 3\), its constr",
        ),
        (
            lambda a: entry(a, "Dense")["options"].update(in_features=10**6),
            r"Dense cannot be made: Dense: a parameter of shape \(1000000, 3\) is larger than the arrays of its file$",
        ),
        (
            lambda a: entry(a, "Dense")["state"].append([["a", "b"], 1]),
            "Dense's a.b has no place in the Dense that its",
        ),
        (lambda a: entry(a, "Dense")["state"].append([["__class__", "b"], 1]), "Dense's __class__.b has no place"),
        (lambda a: entry(a, "Network").update({"method": "__init__", "of": 3}), "an object is class and method$"),
    ],
)
def test_a_description_that_does_not_fit(saved, change, message):
    rewritten(saved, change)
    refused(saved, message)


def test_folders_that_do_not_exist_and_a_disk_that_is_full(saved, monkeypatch):
    net = cs.load(saved)
    with pytest.raises(ValueError, match=r"^save: .*nowhere/net\.npz cannot be written \(No such file or directory\)$"):
        cs.save(net, saved.parent / "nowhere" / "net.npz")
    old = saved.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(
        ValueError, match=r"^save: .*net\.npz cannot be written \(No space left on device\); free space"
    ):
        cs.save(net, saved)
    assert [p.name for p in saved.parent.iterdir()] == ["net.npz"]
    assert saved.read_bytes() == old
