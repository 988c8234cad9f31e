"""The spikes of a layer's input: their number, and their bits and the list of positions, each built from the other."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cuslayer.kernels.spikes.cpu import _LONG, by_column, find_spikes

pytestmark = pytest.mark.cpu_only
RNG = np.random.default_rng(15)
# Lines of less than a word of 64 bits, of one, of several and of parts of them.
SHAPES = [(5, 16), (70, 7), (3, 2, 4, 2), (0, 8), (4, 0), (1, 1), (0, 2, 2, 1), (200, 33), (3, 64), (5, 128), (40, 131)]


def booleans(words, shape):
    """Return bits as the boolean array."""
    split = len(shape) // 2
    lines, places = math.prod(shape[:split]), math.prod(shape[split:])
    bits = words[:, :, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    flat = bits.reshape(lines, 64 * words.shape[1]).astype(bool)
    assert not flat[:, places:].any()
    return flat[:, :places].reshape(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_bits_and_list_are_built_from_each_other(shape, rate):
    x = RNG.random(shape) < rate
    found = find_spikes(x)
    assert found.shape == shape
    assert found.count == x.sum()
    assert found.activity == (x.mean() if x.size else 0)
    words = found.words
    assert words is found.words
    assert words.dtype == np.uint64
    assert np.array_equal(booleans(words, shape), x)
    index = found.index
    assert index is found.index
    lines = len(found.start) - 1
    assert index.tolist() == np.nonzero(x.reshape(lines, -1) if x.size else np.zeros((1, 0)))[1].tolist()
    assert found.words is not words, "the bits were released with the list built"
    assert np.array_equal(found.words, words)
    assert np.array_equal(found.index, index)
    assert found.index is not index, "the list was released with the bits built"


def test_spikes_in_another_order_of_memory():
    x = RNG.random((16, 12)) < 0.5
    found = find_spikes(x.T)
    assert np.array_equal(booleans(found.words, (12, 16)), x.T)
    assert found.index.tolist() == np.nonzero(x.T)[1].tolist()


def test_the_array_is_the_callers():
    x = RNG.random((40, 90)) < 0.5
    for name in ("words", "index"):
        found, expected = find_spikes(x), getattr(find_spikes(x.copy()), name)
        before = x.copy()
        x[:] = ~x
        assert np.array_equal(getattr(found, name), expected)
        x[:] = before


def test_threads_that_ask_at_once_get_the_same():
    x = RNG.random((400, 64)) < 0.2
    expected = np.nonzero(x)[1]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            found = find_spikes(x)
            asked = [pool.submit(lambda f=found, i=i: f.words if i % 2 else f.index) for i in range(16)]
            for i, answer in enumerate(asked):
                got = answer.result()
                assert np.array_equal(booleans(got, x.shape) if i % 2 else got, x if i % 2 else expected)


def test_a_long_list_is_sorted_in_parts():
    x = RNG.random((3001, 41)) < 0.5
    found = find_spikes(x)
    assert found.count > _LONG
    begin, rows = by_column(found.start, found.index, 41)
    columns, expected = np.nonzero(x.T)
    assert rows.tolist() == expected.tolist()
    assert np.diff(begin).tolist() == np.bincount(columns, minlength=41).tolist()
