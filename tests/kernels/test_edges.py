"""Edges of the kernels that drawn tests seldom meet: a potential at the threshold, seams between blocks, full rings."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions, jit
from cuslayer.kernels import cpu, gpu, matrix
from cuslayer.kernels.constants import Alpha, Pooling, Spiking
from cuslayer.kernels.fused import conv_neuron, dense_neuron
from cuslayer.kernels.host import blas as product
from cuslayer.kernels.response.cpu import BLOCK
from cuslayer.kernels.spikes.cpu import by_column
from cuslayer.kernels.window import Window
from tests.support import reference
from tests.support.emulator.driver import emulation

RESPONSE = Alpha(1.0, 4.0, 1.0, 0.05)


def spiking(theta: Any) -> Spiking:
    return Spiking(float(theta), Alpha(-2 * float(theta), 3.0, 1.0, 0.05), 1.5, 0.4)


@pytest.fixture(params=["cpu", "emulated"])
def twin(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "cpu":
        yield cpu
    else:
        with emulation():
            yield gpu


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_potential_at_the_threshold_fires(twin: Any, dtype: Any) -> None:
    theta = dtype(9.7)
    a = np.array([[np.nextafter(theta, dtype(0)), theta, np.nextafter(theta, dtype(99))]])
    u, s = twin.srm.spike(a, spiking(theta))
    np.testing.assert_array_equal(u, a)
    assert s.tolist() == [[False, True, True]]
    # A filtered input is at a threshold where the threshold is put at what it is.
    x = np.array([[30], [7], [0], [11], [0], [0]], dtype)
    u, s = twin.srm.neuron(x, RESPONSE, spiking(1e9))
    assert not s.any()
    at, highest = int(u.argmax()), u.max()
    assert np.flatnonzero(twin.srm.neuron(x, RESPONSE, spiking(highest))[1])[:1].tolist() == [at]
    assert not twin.srm.neuron(x, RESPONSE, spiking(np.nextafter(highest, dtype(99))))[1].any()


def test_blocks_of_columns_begin_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that brings one block of columns through time after another leaves nothing of the first behind."""
    monkeypatch.setattr(jit, "cores", lambda: 1)
    neurons = spiking(2)
    assert max(RESPONSE.taps, neurons.refractory.taps) < 40
    x, g = np.random.default_rng(0).normal(0.5, 2, (2, 40, 2 * BLOCK + 3))

    def everything(x: Any, g: Any) -> list[Any]:
        u, s = cpu.srm.neuron(x, RESPONSE, neurons)
        return [
            *(u, s, *cpu.srm.spike(x, neurons), cpu.response.psp(x, RESPONSE), cpu.response.psp_adjoint(g, RESPONSE)),
            *(cpu.response.fir(x, RESPONSE.samples()), cpu.response.fir_adjoint(g, RESPONSE.samples())),
            *(cpu.srm.spike_adjoint(g, u, neurons), cpu.srm.spike_adjoint_exact(g, u, neurons)),
            *(cpu.srm.neuron_adjoint(g, u, RESPONSE, neurons), cpu.srm.neuron_adjoint_exact(g, u, RESPONSE, neurons)),
        ]

    whole = everything(x, g)
    for columns in (slice(BLOCK - 1, BLOCK + 2), slice(2 * BLOCK, None)):
        part = everything(np.ascontiguousarray(x[:, columns]), np.ascontiguousarray(g[:, columns]))
        for all_of_it, some in zip(whole, part, strict=True):
            np.testing.assert_array_equal(all_of_it[:, columns], some)


def test_broken_rows_are_taken_as_whole_ones(emulated: Any) -> None:
    """A gradient that was broadcast or transposed is not contiguous, and the kernels want nothing else."""
    generator = np.random.default_rng(0)
    whole = [generator.normal(1, 2, (9, 12)) for _ in range(2)]
    broken = [np.asfortranarray(x) for x in whole]
    neurons, taps, delay = spiking(2), RESPONSE.samples(), np.arange(12) - 3

    def everything(x: Any, g: Any) -> list[Any]:
        weights = [np.ones((9, 12)) for _ in range(5)]
        gpu.optim.sgd(*weights[:1], g, *weights[1:2], 0.1, 0.9, 0.01)
        options = {"betas": (0.9, 0.99), "rate_m": 0.1, "rate_g": 0.1, "scale_v": 1.0, "eps": 1e-8, "decay": 0.01}
        gpu.optim.adam(weights[2], g, *weights[3:], None, **options)
        return [
            *(*weights, *gpu.srm.neuron(x, RESPONSE, neurons), *gpu.srm.spike(x, neurons)),
            *(gpu.response.psp(x, RESPONSE), gpu.response.psp(x > 1, RESPONSE), gpu.response.psp_adjoint(g, RESPONSE)),
            *(
                gpu.response.fir(x, taps),
                gpu.response.fir_adjoint(g, taps),
                gpu.response.shift(x, delay),
                gpu.response.shift_spikes(x > 1, delay),
            ),
            *(gpu.srm.spike_adjoint(g, x, neurons), gpu.srm.spike_adjoint_exact(g, x, neurons)),
            *(gpu.srm.neuron_adjoint(g, x, RESPONSE, neurons), gpu.srm.neuron_adjoint_exact(g, x, RESPONSE, neurons)),
        ]

    for ours, theirs in zip(everything(*broken), everything(*whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_by_column_keeps_the_order_of_the_rows() -> None:
    """The sums of a weight gradient are taken in this order: their bits depend on it."""
    s = np.random.default_rng(0).random((40, 9)) < 0.3
    found = cpu.spikes.synapse_input(s)
    begin, rows = by_column(found.start, found.index, 9)
    for column in range(9):
        assert rows[begin[column] : begin[column + 1]].tolist() == np.flatnonzero(s[:, column]).tolist()


def test_blas_is_held_until_the_last_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    limits = SimpleNamespace(restore_original_limits=lambda: calls.append("restored"))
    controller = SimpleNamespace(limit=lambda **_: calls.append("held") or limits)
    monkeypatch.setattr(product, "_controller", lambda: controller)
    with product.single_threaded_blas():
        with product.single_threaded_blas():
            assert calls == ["held"]
        assert calls == ["held"]
    assert calls == ["held", "restored"]


@settings(deadline=None, max_examples=30)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    image=st.tuples(st.integers(4, 7), st.integers(4, 7)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_runs_of_taps_equal_the_formula(kernel: Any, padding: Any, image: Any, channels: Any) -> None:
    """Windows without strides, gaps and groups have a kernel of their own for spikes."""
    generator = np.random.default_rng(0)
    s = generator.random((3, 2, *image, channels[0])) < 0.3
    w = generator.standard_normal((*kernel, *channels))
    weights = [cs.Tensor(w, requires_grad=True) for _ in range(2)]
    by_event, by_matrix = (
        functions.conv(x, weight, padding=padding) for x, weight in zip((s, s.astype(float)), weights, strict=True)
    )
    expected = reference.conv(s.reshape(6, *s.shape[2:]), w, (1, 1), padding, (1, 1), 1)
    np.testing.assert_allclose(by_event.data.reshape(expected.shape), expected, atol=1e-12)
    g = generator.standard_normal(by_event.shape)
    by_event.backward(g)
    by_matrix.backward(g)
    np.testing.assert_allclose(weights[0].grad, weights[1].grad, atol=1e-11)


# Two whole chunks and a part of one, so that rings of the cut and a chunk turn; and more blocks than parts of a sum.
STEPS = 70
FIRST = {"response": Alpha(1.0, 3.0, 1.0, 0.2), "spiking": spiking(10)}
SECOND = {"response": Alpha(1.0, 2.0, 1.0, 0.1), "spiking": spiking(9)}


def neurons(x: Any, constants: dict[str, Any]) -> Any:
    return functions.neuron(x, **constants)


def steady(samples: int, *shape: int) -> Any:
    return np.random.default_rng(0).random((STEPS, samples, *shape)) < 0.3


def weight(*shape: int) -> cs.Tensor:
    # float32: in no other type is all of it one pass.
    return cs.Tensor((np.random.default_rng(1).standard_normal(shape) * 6).astype(np.float32), requires_grad=True)


def same(ours: list[Any], theirs: list[Any], rate: float) -> None:
    assert ours[0].mean() > rate
    np.testing.assert_array_equal(ours[0], theirs[0])
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=100 * np.finfo(one.dtype).eps * np.abs(other).max())


@pytest.mark.parametrize("together", [1, 1024])
def test_whole_chunks_of_a_dense_layer(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_neuron, "_TOGETHER", together)
    monkeypatch.setattr(dense_neuron, "_WIDTH", 3)
    x, w = steady(5, 9), np.random.default_rng(1).standard_normal((9, 7)) * 9
    s = functions.dense_neuron(x, w, **FIRST)
    same([s.data], [neurons(functions.dense(x, w), FIRST).data], 0.05)


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("together", [1, 1024])
def test_whole_chunks_of_a_convolution(together: int, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_neuron, "_TOGETHER", together)
    runs = []
    for one_pass in (True, False):
        x, w = cs.Tensor(steady(5, 5, 6, 2), requires_grad=wanted), weight(3, 2, 2, 3)
        if one_pass:
            s = functions.conv_neuron(x, w, padding=(1, 0), **FIRST)
        else:
            s = neurons(functions.conv(x, w, padding=(1, 0)), FIRST)
        s.backward(np.random.default_rng(2).standard_normal(s.shape))
        runs.append([s.data, w.grad, *([x.grad] if wanted else [])])
    same(*runs, 0.05)


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("together", [1, 1024])
def test_whole_chunks_of_convolution_and_pooling(together: int, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_neuron, "_TOGETHER", together)
    pool, runs = cs.Pool((2, 3), gain=8.0), []
    for one_pass in (True, False):
        x, w = cs.Tensor(steady(8, 5, 8, 2), requires_grad=wanted), weight(3, 2, 2, 3)
        if one_pass:
            pooling = Pooling(Window.of("pool", (2, 3), (2, 3), 0, 1), 8.0, **SECOND)
            s = functions.conv_pool(x, w, pooling=pooling, padding=(1, 0), **FIRST)
        else:
            s = neurons(pool(neurons(functions.conv(x, w, padding=(1, 0)), FIRST)), SECOND)
        s.backward(np.random.default_rng(2).standard_normal(s.shape))
        runs.append([s.data, w.grad, *([x.grad] if wanted else [])])
    same(*runs, 0.05)


@pytest.mark.parametrize("groups", [1, 2])
def test_blocks_of_frames_leave_no_seam(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    window = Window.of("conv", (3, 2), 1, 1, 1)
    x, w = generator.standard_normal((7, 6, 5, 4)), generator.standard_normal((3, 2, 4 // groups, 6))
    g = generator.standard_normal((7, 6, 6, 6))

    def everything() -> list[Any]:
        return [
            matrix.conv(x, w, window, groups),
            matrix.conv_weight_adjoint(x, g, window, groups),
            matrix.conv_input_adjoint(g, w, (6, 5), window, groups),
            cpu.conv.input_adjoint(g, w, (6, 5), window, groups),
        ]

    whole = everything()
    # Two frames of patches at a time; the last block has one.
    two = 2 * (6 * 6) * (3 * 2 * 4) * 8
    monkeypatch.setattr(matrix, "_BLOCK_BYTES", two)
    monkeypatch.setattr(import_module("cuslayer.kernels.conv.cpu"), "_PATCH_BYTES", two)
    for ours, theirs in zip(everything(), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
