"""Launches with blocks and shared memory of a kernel's own choice, and integers of 32 bits and float16 as arguments."""

from __future__ import annotations

import numpy as np
import pytest

from cuslayer.kernels.cuda import compile as source
from tests.kernels.test_launch import SINGLE
from tests.support.recorder import Recorder, psp


def test_blocks_and_shared_memory_of_ones_own_choice(library: source.Library, driver: Recorder) -> None:
    kernel = library.kernel("psp", SINGLE)
    for grid, shared in (((2, 3), 0), ((4,), 99_000), ((1, 1, 5), 60_000)):
        kernel.launch(grid, (32, 2), shared, **psp())
        assert driver.launches.pop()[1:3] == (grid, (32, 2))
    kernel.launch((3, 0), (32,), 0, **psp())
    assert driver.launches == []
    with pytest.raises(ValueError, match=r"^psp: shared must be at most 100000 bytes on this device, got 100001$"):
        kernel.launch((1,), (32,), 100_001, **psp())
    with pytest.raises(TypeError, match=r"^psp: steps must be an integer, got float$"):
        kernel.launch((1,), (32,), 0, **psp(steps=1.0))


INTEGERS = """extern "C" __global__ void k(int i, unsigned int u, const unsigned *words, float16 *h) {}"""


def test_integers_of_32_bits_and_halves(driver: Recorder) -> None:
    parameters = source.signatures(INTEGERS)["k"]
    assert [(p.kind, p.array) for p in parameters] == [
        *(("int", False), ("unsigned", False), ("unsigned", True), ("float16", True))
    ]
    kernel = source.Kernel("k", parameters, driver._launch("k"), driver, SINGLE)
    arrays = {"words": np.zeros(2, np.uint32), "h": np.zeros(2, np.float16)}
    kernel(1, i=-3, u=(1 << 32) - 1, **arrays)
    bound = driver.launches[0][3]
    assert [type(x) for x in bound[:2]] == [np.int32, np.uint32]
    assert bound[:2] == (-3, 4294967295)
    for name, value, dtype in (("i", 1 << 31, "int32"), ("u", -1, "uint32"), ("u", 1 << 32, "uint32")):
        with pytest.raises(ValueError, match=rf"^k: {name} does not fit {dtype}, got {value}$"):
            kernel(1, **{"i": 0, "u": 0, name: value}, **arrays)
    with pytest.raises(TypeError, match=r"^k: words is int32, the kernel wants uint32$"):
        kernel(1, i=0, u=0, words=np.zeros(2, np.int32), h=arrays["h"])
