"""Convolutions of busy frames: products in registers, of the bits of walks, and sums of weight gradients in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuslayer import jit
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv import busy, weight_sums
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.host import products
from cuslayer.kernels.spikes.cpu import find_spikes

pytestmark = pytest.mark.cpu_only
Array = Any

WINDOWS = {
    "plain": Window((3, 3), (1, 1), (1, 1), (1, 1)),
    "no padding": Window((5, 2), (1, 1), (0, 0), (1, 1)),
    "stride": Window((3, 4), (2, 3), (1, 2), (1, 1)),
    "gaps in columns of a window": Window((3, 3), (1, 2), (2, 3), (2, 1)),
    "more padding than image": Window((2, 3), (1, 1), (7, 9), (1, 1)),
}


@jit.compiled
def _multiply(out: Array, a: Array, b: Array, sizes: Any) -> None:
    rows, times, terms, width = sizes
    at = (3, b.shape[1] + 2, a, 0, terms * times, 1, terms, b.reshape(b.size), 1, b.shape[1], terms * b.shape[1])
    out_at, out_row, factor, a_at, a_row, a_k, a_j, other, b_at, b_k, b_j = at
    products.multiply(
        out, out_at, out_row, factor, a_at, a_row, a_k, a_j, other, b_at, b_k, b_j, terms, times, rows, width
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 8, 21])
@pytest.mark.parametrize("width", [0, 1, 15, 16, 33, 48, 49, 100])
def test_products_of_every_size(rows: int, width: int, dtype: Any) -> None:
    """Sums of spikes and rows have the bits of a loop, sums of numbers its rounding; nothing beside is touched."""
    generator, (times, terms) = np.random.default_rng(rows * 100 + width), (2, 5)
    b = generator.standard_normal((times * terms, width + 3)).astype(dtype)
    for spikes in (True, False):
        a = generator.standard_normal((rows, times * terms)).astype(dtype)
        a = (a > 0).astype(dtype) if spikes else a
        out = generator.standard_normal(rows * (width + 5) + 3).astype(dtype)
        expected = out.copy()
        for row in range(rows):
            total = np.zeros(width, dtype)
            for k in range(times * terms):
                total += a[row, k] * b[k, 1 : 1 + width]
            expected[3 + row * (width + 5) : 3 + row * (width + 5) + width] = total
        _multiply(out, a.ravel(), b, (rows, times, terms, width))
        if spikes:
            assert out.tobytes() == expected.tobytes()
        assert np.allclose(out, expected, rtol=0, atol=40 * np.finfo(dtype).eps)


@jit.compiled
def _multiply_listed(out: Array, a: Array, b: Array, places: Array, sizes: Any) -> None:
    rows, terms, width = sizes
    products.multiply_listed(out, 3, width + 5, a, 0, b, 7, places, 2, terms, rows, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 3, 8, 21])
@pytest.mark.parametrize("width", [0, 1, 16, 33, 100])
def test_products_of_listed_rows(rows: int, width: int, dtype: Any) -> None:
    """The rows of the second factor begin anywhere; nothing beside the product is touched."""
    generator, terms = np.random.default_rng(rows * 100 + width), 9
    b, places = generator.standard_normal(200).astype(dtype), generator.integers(0, 200 - 7 - width, terms + 2)
    a = generator.standard_normal((rows, terms)).astype(dtype)
    out = generator.standard_normal(rows * (width + 5) + 3).astype(dtype)
    expected = out.copy()
    for row in range(rows):
        total = np.zeros(width)
        for k in range(terms):
            total += float(a[row, k]) * b[7 + places[2 + k] : 7 + places[2 + k] + width]
        expected[3 + row * (width + 5) : 3 + row * (width + 5) + width] = total
    _multiply_listed(out, a.ravel(), b, places, (rows, terms, width))
    assert np.allclose(out, expected, rtol=0, atol=40 * np.finfo(dtype).eps)


def _both(
    x: Array, w: Array, window: Window, rows: tuple[int, int] | None = None, groups: int = 1
) -> tuple[bool, Array, Array]:
    """Return whether a product is made, and the rows of all maps by the product and by the walk."""
    frames, outputs = len(x), w.shape[3]
    spikes = conv_spikes.where(find_spikes(x), window, outputs, w.dtype, groups)
    height, columns = window.outputs(x.shape[1:3], ceil=False)
    low, high = rows or (0, height)
    product, walk = np.full((2, frames, (high - low) * columns * outputs + 4), 7, w.dtype)
    given = (2, (1, 0), low, high, columns * outputs, spikes, conv_spikes.taps_in_runs(w, window, groups))
    made = busy.multiply_rows(0, frames, product, *given)
    conv_spikes._walk(0, frames, walk, *given)
    return made, product, walk


@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
@pytest.mark.parametrize("outputs", [1, 16, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_has_the_bits_of_a_walk(window: Window, outputs: int, dtype: Any) -> None:
    """For windows of every kind, whole maps and some of their rows; what lies beside them is left as it was."""
    generator = np.random.default_rng(0)
    x = generator.random((6, 8, 9, 2)) < 0.9
    w = generator.standard_normal((*window.kernel, 2, outputs)).astype(dtype)
    for rows in (None, (1, 3), (0, 1)):
        made, product, walk = _both(x, w, window, rows)
        if not made:  # a map that is mostly padding has few spikes
            assert window == WINDOWS["more padding than image"]
            continue
        assert product.tobytes() == walk.tobytes()


@pytest.mark.parametrize("window", [WINDOWS[name] for name in ("plain", "no padding", "stride")])
@pytest.mark.parametrize(("groups", "inputs", "share"), [(2, 3, 12), (4, 1, 8), (16, 1, 2), (3, 2, 5), (2, 2, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_of_all_groups_has_the_bits_of_a_walk(
    window: Window, groups: int, inputs: int, share: int, dtype: Any
) -> None:
    """The pieces of a group hold outputs of others too, which its spikes do not change."""
    generator = np.random.default_rng(0)
    x = generator.random((6, 8, 9, groups * inputs)) < 0.9
    w = generator.standard_normal((*window.kernel, inputs, groups * share)).astype(dtype)
    for rows in (None, (1, 3)):
        made, product, walk = _both(x, w, window, rows, groups)
        assert made
        assert product.tobytes() == walk.tobytes()


def test_a_product_is_not_made_where_it_does_not_pay() -> None:
    """Of few spikes, of windows with gaps in a row, of nothing, and of weights that are not finite."""
    generator, window = np.random.default_rng(0), WINDOWS["plain"]
    x = generator.random((6, 8, 9, 2))
    w = generator.standard_normal((3, 3, 2, 16)).astype(np.float32)
    assert _both(x < 0.9, w, window)[0]
    assert not _both(x < 0.02, w, window)[0]
    assert not _both(x < 0.9, w, window._replace(dilation=(1, 2)))[0]
    assert not _both(x[:0] < 0.9, w, window)[0]
    assert not _both(x < 0.9, w[..., :0], window)[0]
    w[1, 1, 0, 3] = np.inf
    assert not _both(x < 0.9, w, window)[0]


@pytest.mark.parametrize("rate", [0.1, 0.7])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_weight_gradients_are_summed_in_order(window: Window, rate: float) -> None:
    """Chunks from the last to the first, eight steps at a time, then rows, steps and columns, to the bit."""
    generator, steps = np.random.default_rng(0), 41
    outputs = 1 if window == WINDOWS["more padding than image"] else 3
    x = generator.random((steps, 5, 6, 2)) < rate  # where few fire, each spike is added by itself
    found = find_spikes(x)
    m = conv_spikes.maps(found, steps, outputs, window)
    assert m.blocks == 1
    g = generator.standard_normal((steps, m.rows, m.columns, outputs)).astype(np.float32)
    (high, wide), (down, across), (top, left), (gap_y, gap_x) = window
    canvas = np.zeros((steps, 5 + 2 * top + 9, 6 + 2 * left + 9, 2), bool)
    canvas[:, top : top + 5, left : left + 6] = x
    expected = np.zeros((high, wide, 2, outputs), np.float32)
    chunks = [range(9, 41), range(9)]
    for chunk in chunks:
        for begin in range(chunk.start, chunk.stop, 8):
            for y in range(m.rows):
                for t in range(begin, min(begin + 8, chunk.stop)):
                    for z in range(m.columns):
                        patch = canvas[t, y * down :, z * across :][: high * gap_y : gap_y, : wide * gap_x : gap_x]
                        expected[patch] += g[t, y, z]
    ours = weight_sums.weight_adjoint(found, g, window, 1, steps)
    assert ours.tobytes() == expected.tobytes()
