from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cuslayer as cs
from tests.support.emulator.driver import emulated as emulated

RECORDINGS = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Every test begins on the CPU and from one seed."""
    cs.use("cpu")
    cs.seed(0)
    yield
    cs.use("cpu")


@pytest.fixture
def recordings() -> Path:
    """The folder of real recordings, which is not part of the project."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS}")
    return RECORDINGS
