"""Damaged files: bits flipped, parts cut off, bytes put in. Each is refused in one line, or holds what it says."""

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
    """Return the bytes of a whole file of the kind."""
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
    """Return raw after one to three faults of one kind, half of them in its first 400 bytes, where headers are."""
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
def test_a_damaged_file_is_refused_or_holds_what_it_says(name, files, tmp_path):
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
        # A file of records without a header is as long as it says; all others know how many events they have.
        assert len(found) == (size // SIZES[name] if name in SIZES else events)
        if known is not None:
            assert Events(found.t, found.x, found.y, found.p) == found
    assert 0.4 * files < len(messages) < files
    assert all(message and "\n" not in message for message in messages)
