from __future__ import annotations

import pytest

from cuslayer.kernels.cuda import compile as source
from tests.support.recorder import Recorder


@pytest.fixture
def driver() -> Recorder:
    """A driver that compiles nothing and records its calls."""
    return Recorder()


@pytest.fixture
def library(driver: Recorder) -> source.Library:
    """The library's kernels by that driver."""
    return source.Library(driver)
