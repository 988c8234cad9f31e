"""Damaged files: flipped bits, missing parts, inserted bytes. Each raises an error of one line, or is consistent."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from cuslayer.data import Events, SpikeCounts, write_counts, write_events
from cuslayer.data.formats import FORMATS
from cuslayer.data.formats import spike_counts as counts

FILES = Path(__file__).parents[1] / "support" / "files"
SIZES = {".bs1": 5, ".bs2": 5, ".bs3": 7, ".bsn": 10}
EVENTS = 120


def original(name, folder):
    """Return the bytes of a valid file of a format."""
    r = np.random.default_rng(0)
    t, x, y, p = np.sort(r.integers(0, 2**22, EVENTS)) / 1000, *r.integers(0, 200, (2, EVENTS)), np.arange(EVENTS) % 2
    path = folder / f"whole{name}"
    if name == ".bsn":
        write_counts(path, SpikeCounts(x, t, t + 5, y))
    elif name == "plain.h5":
        with h5py.File(path, "w") as file:
            for column, values in (("x", x), ("y", y), ("p", p), ("t", np.rint(t * 1000).astype(int))):
                file[f"events/{column}"] = values
    elif name.startswith("dv_"):
        path = FILES / name
    else:
        write_events(path, Events(t, x, None if name == ".bs1" else y, p))
    return path.read_bytes()


def damaged(raw, r):
    """Return raw with one to three faults of one type, half of them in the first 400 bytes, where headers are."""
    found = bytearray(raw)
    kind = r.integers(3)
    for _ in range(r.integers(1, 4)):
        place = int(r.integers(max(1, min(len(found), 400 if r.random() < 0.5 else len(found)))))
        if kind == 0 and found:
            found[place] ^= 1 << int(r.integers(8))
        elif kind == 1:
            del found[place:]
        else:
            found[place:place] = r.bytes(int(r.integers(1, 9)))
    return bytes(found)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (".bs1", 10_000),
        (".bs2", 10_000),
        (".bs3", 10_000),
        (".bsn", 10_000),
        (".npy", 10_000),
        (".h5", 10_000),
        ("plain.h5", 10_000),
        (".aedat", 10_000),
        (".aedat4", 10_000),
        ("dv_lz4.aedat4", 5000),
        ("dv_zstd.aedat4", 5000),
    ],
)
def test_a_damaged_file_raises_or_is_consistent(name, files, tmp_path):
    raw = original(name, tmp_path)
    known = None if name == ".bsn" else FORMATS[name[name.index(".") :]]
    events = 5 if name.startswith("dv_") else EVENTS
    r = np.random.default_rng(1)
    messages = []
    for _ in range(files):
        broken = damaged(raw, r)
        file, size = io.BytesIO(broken), len(broken)
        try:
            found = counts.read(file, size) if known is None else known.read(file, size, known.unit or "")
        except ValueError as problem:
            messages.append(str(problem))
            continue
        # SLAYER's files have no header, so their length is the number of events; all other formats have a count.
        assert len(found) == (size // SIZES[name] if name in SIZES else events)
        if known is not None:
            assert Events(found.t, found.x, found.y, found.p) == found
    assert 0.4 * files < len(messages) <= files
    assert all(message and "\n" not in message for message in messages)
