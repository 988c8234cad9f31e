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
def _rows(total: Any, table: Any, index: Any, begin: int, limit: int, width: int) -> int:
    at = (3, 4, table.size // 8)
    flat = table.reshape(table.size)
    return vectors.add_rows(total, at[0], flat, at[1], at[2], index, begin, len(index) - 1, limit, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_every_width(dtype: Any) -> None:
    """Rows of one number to six vectors; the bits are those of a loop, and nothing beside a row is touched."""
    generator = np.random.default_rng(0)
    index = np.array([0, 1, 2, 4, 5, 6, 7], np.int32)
    most = vectors.KEPT_BYTES // np.dtype(dtype).itemsize
    for width in range(1, most + 1):
        for begin, limit, end in ((0, 8, 6), (1, 5, 4), (2, 2, 2), (3, 6, 5)):
            total = generator.standard_normal(width + 6).astype(dtype)
            table = generator.standard_normal((8, width + 8)).astype(dtype)
            sums = total.copy()
            for row in index[begin:end]:
                sums[3 : 3 + width] += table[row, 4 : 4 + width]
            assert _rows(total, table, index, begin, limit, width) == end
            assert total.tobytes() == sums.tobytes()


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("outputs", [1, 3, 17, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_window_adds_taps_in_order(kind: str, outputs: int, dtype: Any) -> None:
    """The weighted input has the bits of sums by rows, columns and channels of the window; gradients, the products'."""
    generator, options = np.random.default_rng(1), WINDOWS[kind]
    groups = options.get("groups", 1)
    x = generator.random((5, 2, 6, 7, 4)) < 0.4
    w = generator.standard_normal((3, 2, 4 // groups, outputs * groups)).astype(dtype)
    weight = cs.Tensor(w, requires_grad=True)
    y = functions.conv(x, weight, **options)
    frames, share = x.reshape(10, 6, 7, 4), outputs
    window = Window.of(
        "conv", (3, 2), *(options.get(n, d) for n, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
    )
    expected = np.zeros((10, *y.shape[2:]), dtype)
    top, left = window.padding
    canvas = np.zeros((10, 6 + 2 * top + 4, 7 + 2 * left + 4, 4), bool)
    canvas[:, top : top + 6, left : left + 7] = frames
    rows, columns = y.shape[2:4]
    for i in range(3):
        for j in range(2):
            for c in range(4):
                group, channel = divmod(c, 4 // groups)
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
    y = functions.conv(x, w, padding=1)
    np.testing.assert_allclose(y.data[:, 0], reference.conv(x[:, 0], w, (1, 1), (1, 1), (1, 1), 1), atol=1e-12)


def test_spikes_that_reach_nothing() -> None:
    """A stride wider than the window leaves columns out; a pixel of them is followed by one that counts."""
    x = np.ones((1, 1, 1, 7, 1), bool)
    y = functions.conv(x, np.full((1, 1, 1, 1), 2.0), stride=(1, 3))
    assert y.data.ravel().tolist() == [2.0, 2.0, 2.0]


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


@pytest.mark.parametrize("kind", WINDOWS)
def test_gradient(kind: str) -> None:
    generator, options = np.random.default_rng(5), WINDOWS[kind]
    x = generator.random((3, 2, 5, 6, 4)) < 0.5
    w = generator.standard_normal((3, 2, 4 // options.get("groups", 1), 4))
    assert cs.gradcheck(lambda w: functions.conv(x, w, **options), w) < 1e-6
