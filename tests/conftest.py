from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import cuslayer as cs
from tools.emulator.driver import ascending as ascending
from tools.emulator.driver import emulated as emulated

RECORDINGS = Path(__file__).parents[2] / "shared" / "data"

# Hypothesis draws the same examples in every run, on every machine: whoever runs the tests sees what CI has seen. New
# ones are drawn by `pytest --hypothesis-profile=new`, and weekly. A busy machine is no reason to fail.
_ANY_SPEED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fixed", derandomize=True, database=None, **_ANY_SPEED)
settings.register_profile("new", derandomize=False, print_blob=True, **_ANY_SPEED)
settings.load_profile("fixed")

# The first state of each test module's random generator.
_STATES: dict[str, Any] = {}


def pytest_collection_finish() -> None:
    """Search for garbage rarely: compiling makes millions of objects."""
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test begins on the CPU, with all threads and from the same seeds, whatever ran before it."""
    cs.use("cpu")
    cs.seed(0)
    # Of a test that tests/device/test_card.py takes up, the module that it was written in.
    module = sys.modules.get(getattr(getattr(request.node, "function", None), "__module__", ""))
    if hasattr(module, "RNG"):
        bits = module.RNG.bit_generator
        bits.state = _STATES.setdefault(module.__name__, bits.state)
    yield
    cs.use("cpu")
    cs.threads("auto")


@pytest.fixture
def recordings() -> Path:
    """The folder of real recordings, which is not part of the project."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS}")
    return RECORDINGS
