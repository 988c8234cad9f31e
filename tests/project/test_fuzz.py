"""Mutated files for every reader: each is read, or refused by one line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MUTANTS = 50

pytestmark = pytest.mark.all


def test_mutants_are_read_or_refused_in_one_line(monkeypatch, tmp_path):
    from cuslayer.data.formats import FORMATS

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    fuzzer = importlib.import_module("fuzz")
    readers = fuzzer.readers()
    assert {f"events {suffix}" for suffix in FORMATS} <= readers.keys()
    assert {"import_hdf5", "import_nir", "load_config", "cs.load", "load_checkpoint", "read_wave"} <= readers.keys()
    for name, reader in readers.items():
        folder = tmp_path / name
        folder.mkdir()
        reader.prepare(folder)
        for content in reader.valid:
            found = fuzzer.judged(reader, fuzzer.write_case(reader, folder, content))
            assert found is None or (name in ("load_config", "Params") and found == ""), name
        first = len(reader.valid) + len(reader.hostile)
        for number in range(first, first + MUTANTS):
            path = fuzzer.write_case(reader, folder, reader.content(1, number))
            assert not fuzzer.judged(reader, path), f"{name} {number}"
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
