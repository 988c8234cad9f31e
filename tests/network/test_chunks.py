"""Long inputs without gradients run in chunks of time: the same bits, in memory that does not grow with time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels.host import memory
from cuslayer.layers import Layer
from cuslayer.network import stream
from cuslayer.network.container import graph_of
from cuslayer.neurons.potential import on_potential
from tests.network.test_stream import FRAME, NETWORKS, SRM, Differences, dense, spikes

CNN = "16x16x2-8c3-2a-8c3-10"


@pytest.fixture
def taken(monkeypatch):
    """Return a list of the lengths of the chunks that run."""
    lengths = []
    advance = stream.Stream.advance
    monkeypatch.setattr(stream.Stream, "advance", lambda self, x: lengths.append(len(x)) or advance(self, x))
    return lengths


def set_chunk(monkeypatch, size):
    monkeypatch.setattr(stream, "chunk_steps", lambda graph, shape: size)
    monkeypatch.setattr(stream, "_LEAST_CHUNKS", 1)


def whole_and_chunks(net, x, monkeypatch, size):
    net.train(False)
    with cs.no_grad(), monkeypatch.context() as patch:
        patch.setattr(stream, "_LEAST_CHUNKS", 1 << 62)
        whole = net(x).data
    with cs.no_grad(), monkeypatch.context() as patch:
        set_chunk(patch, size)
        return whole, net(x).data


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [1, 7, 120, 121])
def test_chunks_of_any_length_give_the_same(name, size, taken, monkeypatch):
    cs.seed(3)
    whole, found = whole_and_chunks(NETWORKS[name](), spikes(), monkeypatch, size)
    assert found.dtype == whole.dtype
    np.testing.assert_array_equal(found, whole)
    assert 0 < whole.mean() < 1
    # An input shorter than a chunk runs as a whole.
    assert taken == ([] if size > 120 else [size] * (120 // size) + [120 % size] * (120 % size > 0))


@pytest.mark.parametrize(
    ("share", "dtype", "gradient", "size"),
    [
        *((0.001, "float32", "slayer", 128), (0.05, "float32", "exact", 50), (0.05, "float64", "slayer", 50)),
        *((0.7, "float32", "slayer", 50), (0.7, "float64", "exact", 128)),
    ],
)
def test_convolutions(share, dtype, gradient, size, taken, monkeypatch):
    """The ring buffers, of 256 steps, are written in place at multiples of that, from a copy at others."""
    cs.seed(3)
    srm = cs.SRM(gradient=gradient, tau_sr=20.0)
    net = cs.Sequential(
        *(cs.Conv(2, 5, 3, padding=1, weight_scale=40.0), srm, cs.Pool(2, gain=11.0), srm),
        *(cs.Conv(5, 4, 3, stride=2, weight_scale=40.0), srm, cs.Pool(2, stride=1, gain=11.0), srm),
        *(cs.Conv(4, 3, 2, padding=1, weight_scale=40.0), srm, cs.Conv(3, 4, 1, weight_scale=90.0), srm),
        *(cs.Pool(3, gain=5.0), srm, dense((1, 1, 4), 5), srm),
    )
    for p in net.parameters():
        p.data = p.data.astype(dtype)
    x = np.random.default_rng(0).random((300, 3, 13, 11, 2)) < share
    whole, found = whole_and_chunks(net, x, monkeypatch, size)
    np.testing.assert_array_equal(found, whole)
    assert max(taken) == size
    assert whole.any() or share < 0.01


@pytest.mark.parametrize("samples", [1, 3, 32])
def test_numbers_are_multiplied_in_the_same_blocks(samples, taken, monkeypatch):
    cs.seed(3)
    net = cs.Sequential(cs.Conv(2, 4, 3, padding=1), cs.Dropout(0.5), dense((6, 5, 4), 100), SRM, dense(100, 3), SRM)
    net.train(False)
    monkeypatch.setattr(stream, "_BYTES", 1)
    x = np.random.default_rng(0).standard_normal((1100, samples, *FRAME)).astype(np.float32)
    with cs.no_grad():
        found = net(x).data
    rows = {1: 256, 3: 256, 32: 8}[samples]
    assert set(taken[:-1]) == {rows}
    monkeypatch.setattr(stream, "_LEAST_CHUNKS", 1 << 62)
    with cs.no_grad():
        np.testing.assert_array_equal(found, net(x).data)


def test_the_chunk_follows_from_the_shapes():
    net = cs.Network("34x34x2-512-10", SRM)
    # Bytes of a step: the input, and twice the hidden spikes, and the output.
    each = 2312 + 512 + 512 + 10
    for samples, multiple in ((8, 128), (1, 256), (6, 128)):
        steps = (32 << 20) // (samples * each)
        assert stream.chunk_steps(graph_of(net), (0, samples, 34, 34, 2)) == steps // multiple * multiple
    # A convolution and pooling are one pass, whose weighted inputs are not stored.
    cnn = 2312 + 2 * 17 * 17 * 16 + 2 * 9 * 9 * 32 + 2 * 9 * 9 * 64 + 10
    net = cs.Network("34x34x2-16c5-2a-32c3-2a-64c3-10", SRM)
    assert stream.chunk_steps(graph_of(net), (9, 8, 34, 34, 2)) == (32 << 20) // (8 * cnn) // 128 * 128
    assert stream.chunk_steps(graph_of(net), (9, 4096, 34, 34, 2)) == 1
    assert stream.chunk_steps(graph_of(net), (9, 200, 34, 34, 2)) == 32
    own = cs.Sequential(dense(4, 3), lambda x: x)
    assert stream.chunk_steps(graph_of(own), (9, 256, 4)) == (32 << 20) // (256 * (4 + 12 + 3 + 12)) // 128 * 128


def long(net, taken, **options):
    x = spikes(steps=40, **options)
    taken.clear()
    net(x)
    return bool(taken)


class Ours(Layer):
    memory = 0

    def __call__(self, x):
        return x


class Halves(Layer):
    memory = 0

    def __call__(self, x):
        return cs.Tensor((x.data if isinstance(x, cs.Tensor) else x)[::2])


def test_what_runs_in_chunks(taken, monkeypatch):
    set_chunk(monkeypatch, 8)
    net = cs.Sequential(dense(FRAME, 4), SRM)
    assert not long(net, taken)
    with cs.no_grad():
        assert long(net, taken)
        assert not long(net, taken, samples=0)
        monkeypatch.setattr(stream, "_LEAST_CHUNKS", 6)
        assert not long(net, taken)
        monkeypatch.setattr(stream, "_LEAST_CHUNKS", 5)
        dropped = cs.Sequential(dense(FRAME, 4), SRM, cs.Dropout(0.5))
        assert not long(dropped, taken)
        dropped.train(False)
        assert long(dropped, taken)
        own = cs.Sequential(Ours(), Differences(), dense(FRAME, 4), SRM)
        assert not long(own, taken)  # in training mode it may draw
        own.train(False)
        assert long(own, taken)
        assert not long(cs.Sequential(dense(FRAME, 4), SRM, lambda x: x), taken)
        assert not long(cs.Sequential(dense(FRAME, 4), SRM, cs.Shift(-1.0)), taken)
        halves = cs.Sequential(dense(FRAME, 4), SRM, Halves())
        halves.train(False)
        assert halves(spikes(steps=40)).shape[0] == 20


def test_who_observes_sees_the_whole(taken, monkeypatch):
    set_chunk(monkeypatch, 8)
    inner = cs.Sequential(dense(FRAME, 4), SRM)
    net, found = cs.Sequential(inner, dense(4, 3), SRM), []
    with cs.no_grad():
        with on_potential(found.append):
            assert not long(net, taken)
        assert found
        for each in (net, inner):
            with cs.record(each) as seen:
                assert not long(net, taken)
            assert seen[1].spikes.shape[0] == 40
        assert long(net, taken)


def test_wrong_inputs_are_the_same_errors(taken, monkeypatch):
    monkeypatch.setattr(stream, "_BYTES", 1)
    monkeypatch.setattr(stream, "_LEAST_CHUNKS", 1)
    monkeypatch.setattr(stream, "_ROWS", 1)
    net = cs.Network("6x5x2-3", SRM)
    with cs.no_grad():
        with pytest.raises(ValueError, match=r"^network: x must be \(T, N, 6, 5, 2\)"):
            net(spikes()[..., :1])
        x = np.zeros((40, 1, *FRAME), np.float32)
        x[33] = np.nan
        with pytest.raises(ValueError, match=r"^network: x must be finite"):
            net(x)
        with pytest.raises(ValueError, match=r"^dense_neuron: x has 7 features, weight expects 60$"):
            NETWORKS["dense"]()(np.ones((40, 1, 7), bool))
        with pytest.raises(ValueError, match=r"^conv_pool: x has 3 channels, weight expects 2"):
            NETWORKS["convolutions"]()(np.ones((40, 1, 6, 5, 3), bool))


@pytest.mark.parametrize("notation", ["60-300-10", CNN])
def test_memory_does_not_grow_with_time(notation, monkeypatch, taken):
    """From 300 to 30,000 steps, besides input and output; the first is in several chunks too."""
    monkeypatch.setattr(memory, "_LEAST_BYTES", 1 << 62)  # memory of the pool is allocated instead, and counted
    monkeypatch.setattr(stream, "_BYTES", 1 << 18)
    net = cs.Network(notation, SRM)
    peaks = []
    for steps in (2000, 30_000):
        x = np.zeros((steps, 2, *net.input_shape), bool)
        x[::50] = True
        with cs.no_grad():
            net(x)
            tracemalloc.start()
            y = net(x)
            peaks.append(tracemalloc.get_traced_memory()[1] - y.data.nbytes)
            tracemalloc.stop()
        assert len(taken) > 4
    # Chunks differ in the number of their steps with spikes.
    assert peaks[1] < 1.05 * peaks[0] + 20_000


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads, monkeypatch):
    cs.seed(3)
    net, x = cs.Network(CNN, SRM), np.random.default_rng(0).random((300, 3, 16, 16, 2)) < 0.2
    whole, _ = whole_and_chunks(net, x, monkeypatch, 60)
    monkeypatch.setattr("cuslayer.jit.cores", lambda: threads)
    _, found = whole_and_chunks(net, x, monkeypatch, 60)
    np.testing.assert_array_equal(found, whole)
    assert whole.any()
