"""Spikes of a convolution that are walked: rows in registers, runs of any length, every kind of window, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions, jit
from cuslayer.kernels import matrix
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host import vectors
from tests.support import reference

pytestmark = pytest.mark.cpu_only

WINDOWS: dict[str, dict[str, Any]] = {
    "plain": {"padding": 1},
    "stride": {"padding": 2, "stride": (2, 3)},
    "dilation": {"padding": 1, "dilation": (2, 2)},
    "stride and dilation": {"padding": 2, "stride": 2, "dilation": (1, 2)},
    "two groups": {"padding": 1, "groups": 2},
    "a group each": {"padding": 1, "groups": 4, "stride": (1, 2)},
}


@jit.compiled
def _rows(
    total: Any, table: Any, index: Any, begin: int, end: int, shape: int, width: int, apart: int, table_apart: int
) -> None:
    stride, flat = table.shape[1], table.reshape(table.size)
    vectors.add_rows(total, 3, apart, flat, 4, table_apart, stride, index, begin, end, shape, width)


@jit.compiled
def _places(total: Any, table: Any, index: Any, places: Any, apart: int, table_apart: int, swap: bool) -> None:
    columns = (1, 0) if swap else (0, 1)
    flat = table.reshape(table.size)
    of_rows = (3, apart, columns[0], flat, 4, table_apart, columns[1], index)
    vectors.add_places(total, *of_rows, 1, len(index) - 1, places.reshape(places.size), places.shape[1])


def _sizes(itemsize: int) -> list[tuple[int, int]]:
    """Return pieces and their numbers that fit in the registers."""
    lanes = vectors.REGISTER_BYTES // itemsize
    most = vectors.KEPT_BYTES // itemsize
    sizes = [(1, width) for width in range(1, most + 1)]
    for pieces in range(2, most // lanes + 1):
        sizes += [(pieces, width) for width in range(1, most // lanes // pieces * lanes + 1, 3)]
    return sizes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_every_width(dtype: Any) -> None:
    """Rows of one number to six vectors, and pieces of them; the bits are those of a loop, and nothing else changes."""
    generator = np.random.default_rng(0)
    index = np.array([0, 1, 2, 4, 5, 6, 7], np.int32)
    itemsize = np.dtype(dtype).itemsize
    for pieces, width in _sizes(itemsize):
        for begin, end in ((0, 6), (1, 4), (2, 2), (3, 7)):
            apart, table_apart = width + 2, width + 3
            total = generator.standard_normal(pieces * apart + 6).astype(dtype)
            table = generator.standard_normal((8, pieces * table_apart + 8)).astype(dtype)
            sums = total.copy()
            for row in index[begin:end]:
                for piece in range(pieces):
                    to, at = 3 + piece * apart, 4 + piece * table_apart
                    sums[to : to + width] += table[row, at : at + width]
            _rows(total, table, index, begin, end, vectors.shape_of(pieces, width, itemsize), width, apart, table_apart)
            assert total.tobytes() == sums.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("swap", [False, True])
def test_rows_at_places(dtype: Any, swap: bool) -> None:
    """Each index has places, shapes and sizes of two parts; overlapping rows are added one after the other."""
    generator, itemsize = np.random.default_rng(0), np.dtype(dtype).itemsize
    index = np.array([0, 1, 2, 2, 4, 3, 1], np.int32)
    for pieces, width in _sizes(itemsize):
        apart, table_apart = width + 2, width + 3
        total, table = (generator.standard_normal(pieces * (width + 3) + 60).astype(dtype) for _ in range(2))
        places = np.zeros((5, 2, 4), np.int32)
        for number in range(10):
            # One reaches nothing, another less than the others.
            count, size = ((0, 0), (pieces, -(-width // 2)), (pieces, width))[min(number, 2)]
            at = generator.integers(0, 40, 2)
            places[number // 2, number % 2] = *at, vectors.shape_of(count, size, itemsize), size
        sums = total.copy()
        for number in index[1:-1]:
            for part in range(2):
                to, at, shape, size = places[number, part, [1, 0, 2, 3] if swap else [0, 1, 2, 3]]
                for piece in range(pieces if shape else 0):
                    source = table[4 + at + piece * table_apart :][:size]
                    sums[3 + to + piece * apart :][:size] += source
        _places(total, table, index, places, apart, table_apart, swap)
        assert total.tobytes() == sums.tobytes()


@pytest.mark.parametrize("rate", [0.05, 0.8])
@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("outputs", [1, 3, 17, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_window_adds_taps_in_order(kind: str, outputs: int, dtype: Any, rate: float) -> None:
    """The weighted input has the bits of sums by rows, columns and channels of the window; gradients, the products'."""
    generator, options = np.random.default_rng(1), WINDOWS[kind]
    groups = options.get("groups", 1)
    x = generator.random((5, 2, 6, 7, 16)) < rate
    w = generator.standard_normal((3, 2, 16 // groups, outputs * groups)).astype(dtype)
    weight = cs.Tensor(w, requires_grad=True)
    y = functions.conv(x, weight, **options)
    frames, share = x.reshape(10, 6, 7, 16), outputs
    window = Window.of(
        "conv", (3, 2), *(options.get(n, d) for n, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
    )
    expected = np.zeros((10, *y.shape[2:]), dtype)
    top, left = window.padding
    canvas = np.zeros((10, 6 + 2 * top + 4, 7 + 2 * left + 4, 16), bool)
    canvas[:, top : top + 6, left : left + 7] = frames
    rows, columns = y.shape[2:4]
    for i in range(3):
        for j in range(2):
            for c in range(16):
                group, channel = divmod(c, 16 // groups)
                low, across = i * window.dilation[0], j * window.dilation[1]
                met = canvas[:, low:, across:][:, :: window.stride[0], :: window.stride[1], c][:, :rows, :columns]
                mine = slice(group * share, (group + 1) * share)
                expected[..., mine] += np.where(met[..., None], w[i, j, channel, mine], 0).astype(dtype)
    assert y.data.reshape(expected.shape).tobytes() == expected.tobytes()
    g = generator.standard_normal(y.shape).astype(dtype)
    y.backward(g)
    plain = matrix.conv_weight_adjoint(frames.astype(dtype), g.reshape(expected.shape), window, groups)
    bound = 1e-5 if dtype == np.float32 else 1e-12
    assert np.linalg.norm(weight.grad - plain) <= bound * np.linalg.norm(plain)


def test_runs_longer_than_the_registers() -> None:
    generator = np.random.default_rng(2)
    x = generator.random((3, 1, 5, 5, 2)) < 0.4
    w = generator.standard_normal((3, 3, 2, 70))
    assert vectors.KEPT_BYTES < 3 * 70 * 8
    for gap in (1, 2):
        y = functions.conv(x, w, padding=gap, dilation=gap)
        expected = reference.conv(x[:, 0], w, (1, 1), (gap, gap), (gap, gap), 1)
        np.testing.assert_allclose(y.data[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_larger_than_the_image_and_no_frames(kind: str) -> None:
    options = WINDOWS[kind] | {"padding": 3}
    groups = options.get("groups", 1)
    for frames in (0, 3):
        x = np.ones((frames, 1, 2, 1, 4), bool)
        w = np.random.default_rng(0).standard_normal((3, 3, 4 // groups, 2 * groups))
        weights = [cs.Tensor(w, requires_grad=True) for _ in range(2)]
        y, by_numbers = functions.conv(x, weights[0], **options), functions.conv(x * 1.0, weights[1], **options)
        np.testing.assert_allclose(y.data, by_numbers.data, atol=1e-12)
        for out in (y, by_numbers):
            out.backward(np.ones(out.shape))
        np.testing.assert_allclose(weights[0].grad, weights[1].grad, atol=1e-12)


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("rate", [0.02, 0.6])
def test_any_number_of_threads_has_the_same_bits(kind: str, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in one pass with its neurons, where steps are no multiple of a chunk."""
    generator, options, srm = np.random.default_rng(3), WINDOWS[kind], cs.SRM(tau_sr=3.0)
    groups = options.get("groups", 1)
    x = generator.random((70, 3, 6, 7, 4)) < rate
    w = (generator.standard_normal((3, 2, 4 // groups, 6 * groups)) * 5).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(jit, "cores", lambda threads=threads: threads)
        weight = cs.Tensor(w, requires_grad=True)
        s = functions.conv_neuron(x, weight, response=srm.filter, spiking=srm.spiking, **options)
        s.backward(np.random.default_rng(4).standard_normal(s.shape).astype(np.float32))
        with cs.no_grad():
            silent = functions.conv_neuron(x, w, response=srm.filter, spiking=srm.spiking, **options)
        assert (silent.data == s.data).all()
        found.append((s.data.tobytes(), weight.grad.tobytes()))
    assert s.data.any()
    assert found[0] == found[1] == found[2]
