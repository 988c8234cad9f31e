"""`cuslayer convert`."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.cli.convert import losses

EVENTS = cs.Events([0.5, 1.25, 7.0], [3, 4, 5], [0, 1, 2], [1, 0, 1])


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("suffix", [".bs2", ".bs3", ".h5"])
def test_every_format(command, suffix):
    cs.write_events("a.npy", EVENTS)
    assert command("convert", "a.npy", f"b{suffix}") == (0, f"b{suffix}: 3 events, nothing lost\n", "")
    assert command("convert", f"b{suffix}", "c.npy")[0] == 0
    assert cs.read_events("c.npy") == EVENTS
    cs.write_events("a.npy", cs.Events([0.5, 1.2504, 7.0], [3, 4, 5], [0, 1, 2], [1, 0, 1]))
    said = f"b{suffix}: 3 events, times rounded by up to 0.4 us\n"
    assert command("convert", "a.npy", f"b{suffix}")[1] == said


def test_differences():
    events = cs.Events([2.0, 1.0], [1, 2], None, [0, 1])
    assert losses(events, events) == []
    assert losses(events, cs.Events([1.0, 2.0], [2, 1], None, [1, 0])) == ["order of the events changed"]
    assert losses(events, cs.Events([2.0], [1], None, [0])) == ["1 events lost"]
    assert losses(cs.Events([], [], [], []), cs.Events([], [], [], [])) == []


@pytest.mark.parametrize(
    ("events", "output", "message"),
    [
        (cs.Events([1.0], [256], [0], [0]), "b.bs2", "x must be at most 255 in a .bs2 file, event 0 has 256"),
        (cs.Events([1.0], [3], None, [0]), "b.bs2", "events must be in 2-D for a .bs2 file, got 1-D"),
        (EVENTS, "b.txt", "b.txt must end in one of .bs2"),
        (EVENTS, "b.bsn", "b.bsn is for numbers of spikes, not events"),
        (EVENTS, "nowhere/b.bs2", "has no folder nowhere to be in"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(refused, tmp_path, events, output, message):
    cs.write_events("a.npy", events)
    refused(message, "convert", "a.npy", output)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_files_that_cannot_be_read(refused, tmp_path):
    refused("read_events: a.bs2 does not exist", "convert", "a.bs2", "b.npy")
    (tmp_path / "a.bs2").write_bytes(b"123")
    refused("read_events: a.bs2 is 3 bytes, not a multiple of 5", "convert", "a.bs2", "b.npy")
    refused("unit must be None for a .bs2 file", "convert", "a.bs2", "b.npy", "--unit", "us")


def test_times_in_another_unit_and_from_the_start(command):
    np.save("a.npy", np.array([[3, 0, 1, 1_600_000_000_500], [4, 1, 0, 1_600_000_001_250]]))
    code, out, _ = command("convert", "a.npy", "b.bs2", "--unit", "us", "--from-start")
    assert (code, out) == (0, "b.bs2: 2 events, nothing lost\n")
    assert cs.read_events("b.bs2").t.tolist() == [0.0, 0.75]


def test_the_limit_of_events(command, refused, tmp_path):
    cs.data.write_events(tmp_path / "a.bs2", cs.Events([1.0, 2.0], [1, 2], [1, 2], [0, 1]))
    few = ("convert", tmp_path / "a.bs2", tmp_path / "b.npy", "--max-events")
    refused("must hold at most 1 events, got 2; max_events=2 reads them", *few, 1)
    assert command(*few, 2) == (0, f"{tmp_path}/b.npy: 2 events, nothing lost\n", "")
