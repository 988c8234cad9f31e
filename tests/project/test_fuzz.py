"""Mutants for every reader; and the fuzzer sees readers that fail."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("fuzz", "machine", "page", "reliability", "fuzzing")
MUTANTS = 100
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fuzzer's processes are for Linux")


@pytest.fixture(scope="module")
def fuzzer():
    """The module benchmarks/fuzz.py."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("fuzz")
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.split(".")[0] in NAMES]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def readers(fuzzer):
    return fuzzer.readers()


def test_every_format_of_events_has_a_reader(readers):
    from cuslayer.data.formats import FORMATS

    assert {f"events {suffix}" for suffix in FORMATS} <= readers.keys()
    assert {"import_hdf5", "import_nir", "load_config", "cs.load", "load_checkpoint", "label list"} <= readers.keys()
    assert {"read_wave", "read_sounds"} <= readers.keys()


def test_valid_files_are_read(readers, fuzzer, tmp_path):
    for name, reader in readers.items():
        folder = tmp_path / name
        folder.mkdir()
        reader.prepare(folder)
        for content in reader.valid:
            found = fuzzer.judged(reader, fuzzer.write_case(reader, folder, content))
            assert found is None or (name in ("load_config", "Params") and found == ""), name


def test_mutants_are_read_or_refused_in_one_line(readers, fuzzer, tmp_path):
    for name, reader in readers.items():
        folder = tmp_path / name
        folder.mkdir()
        reader.prepare(folder)
        first = len(reader.valid) + len(reader.hostile)
        for number in range(first, first + MUTANTS):
            path = fuzzer.write_case(reader, folder, reader.content(1, number))
            assert not fuzzer.judged(reader, path), f"{name} {number}"


def test_the_same_seed_gives_the_same_files(readers):
    reader = readers["cs.load"]
    assert [reader.content(3, i) for i in range(20, 30)] == [reader.content(3, i) for i in range(20, 30)]
    assert reader.content(3, 20) != reader.content(4, 20)


def test_every_mutation_takes_any_bytes(fuzzer):
    mutate = sys.modules["fuzzing.mutate"]
    for mutation in (mutate.of_bytes, mutate.of_text, mutate.of_json, mutate.of_npy, mutate.of_zip):
        for raw in (b"", b"a", b"[]", b"{}", b"\x93NUMPY", b"PK\3\4", bytes(30)):
            for seed in range(30):
                assert isinstance(mutation(random.Random(seed), raw), bytes)


def failing(path):
    """Fail in each of the ways that are counted, by the number in the file."""
    kind = path.read_bytes()[0]
    if kind == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == 2:
        while True:
            pass
    if kind == 3:
        os.read(os.pipe()[0], 1)
    if kind == 4:
        bytearray(b"x") * (100 << 20)
    if kind == 5:
        raise KeyError("a")
    if kind == 6:
        raise ValueError("two\nlines")
    if kind == 7:
        raise ValueError("one line")
    if kind == 8:
        raise SystemExit(3)


@linux
def test_what_fails_is_counted_and_kept(fuzzer, tmp_path, capsys, monkeypatch):
    reader = sys.modules["fuzzing.readers"].Reader
    contents = [bytes([kind]) for kind in (0, 1, 2, 3, 4, 5, 6, 7, 8, 0)]
    every = {"failing": reader(".x", failing, contents), "fine": reader(".y", lambda path: None, [b"a"])}
    monkeypatch.setattr(fuzzer, "readers", lambda: every)
    monkeypatch.setattr(sys.modules["fuzzing.worker"], "WAITS", 20)
    out, kept = tmp_path / "fuzz.json", tmp_path / "kept"
    files = ["--out", str(out), "--keep", str(kept)]
    assert fuzzer.main(["--count", "20", "--jobs", "2", *files]) == 1
    found = json.loads(out.read_text())
    row = found["readers"]["failing"]
    assert {kind: row[kind] for kind in fuzzer.reliability.KINDS} == {"crash": 1, "hang": 2, "memory": 1, "error": 3}
    assert row["files"] == 10
    assert found["readers"]["fine"]["files"] == 10
    assert found["readers"]["fine"]["refused"] == 0
    assert sorted((number, kind) for _, number, kind, _ in found["problems"]) == [
        (1, "crash"),
        (2, "hang"),
        (3, "hang"),
        (4, "memory"),
        (5, "error"),
        (6, "error"),
        (8, "error"),
    ]
    assert (kept / "failing-5-error.x").read_bytes() == b"\5"
    assert len(list(kept.iterdir())) == 7
    text = capsys.readouterr().out
    assert "failing 6: error: ValueError, not of one line: 'two\\nlines'" in text
    assert "| all " in text
    assert fuzzer.main(["--again", str(kept / "failing-5-error.x"), "--only", "failing"]) == 1
    assert fuzzer.main(["--count", "2", "--only", "fine", *files]) == 0


@linux
def test_a_process_that_gets_no_core_is_no_hang(fuzzer, tmp_path, monkeypatch):
    """It is stopped here, which a busy machine does for a while."""
    monkeypatch.setattr(sys.modules["fuzzing.worker"], "WAITS", 5)
    stops = sys.modules["fuzzing.readers"].Reader(".x", lambda path: os.kill(os.getpid(), signal.SIGSTOP), [b"a"])
    worker = fuzzer.Worker("stops", stops, 0, 0, 1, tmp_path / "worker")
    os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
    assert not any(worker.waits() for _ in range(50))
    os.kill(worker.pid, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1]) == 0
    assert (worker.progress()[0], worker.problems()) == (1, [])
