"""`net.stream()`: one step or chunk at a time gives the spikes of the whole input, to the bit."""

import copy
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
import cuslayer.layers
import cuslayer.neurons
from cuslayer import functions
from cuslayer._tape import on_potential
from cuslayer.kernels.fused import cpu as fused
from cuslayer.kernels.host import memory
from cuslayer.layers import Layer
from cuslayer.network import stream as chunks
from cuslayer.neurons.base import Neuron
from tests.support.kinds import Delayed, Echo, Resting
from tests.support.refused import raises, refused, refuses
from tools.fake_cupy import in_use

pytestmark = pytest.mark.all

SRM = cs.SRM()
FRAME = (6, 5, 2)


def dense(inputs, outputs):
    return cs.Dense(inputs, outputs, weight_scale=60.0)


NETWORKS = {
    "dense": lambda: cs.Sequential(dense(FRAME, 9), SRM, dense(9, 3), SRM),
    "convolutions": lambda: cs.Sequential(
        *(cs.Conv(2, 3, 3, padding=1, weight_scale=60.0), SRM, cs.SumPool(2, gain=11.0), SRM),
        *(
            cs.ConvTranspose(3, 2, 2, weight_scale=60.0),
            SRM,
            cs.layers.Unpool(2, gain=11.0),
            SRM,
            dense((8, 8, 2), 3),
            SRM,
        ),
    ),
    "delays": lambda: cs.Sequential(
        *(
            dense(FRAME, 9),
            SRM,
            cs.Delay(9, dt=1.0, max_delay=20.0),
            cs.layers.Shift(2.0),
            cs.Dropout(0.5),
            dense(9, 3),
            SRM,
        )
    ),
    "Loihi": lambda: cs.Sequential(
        *(cs.Dense(FRAME, 9, weight_scale=1000.0), cs.Loihi(ref_delay=3)),
        *(cs.Dense(9, 3, weight_scale=1000.0), cs.Loihi(first_bin=False)),
    ),
    "steps": lambda: cs.Sequential(
        *(cs.Conv(2, 3, 3, padding=1, weight_scale=9.0), cs.LIF(theta=2.0, tau=np.array([3.0, 9.0, 20.0]))),
        *(
            cs.SumPool(2, gain=3.0),
            cs.CUBA(reset="subtract"),
            cs.Conv(3, 2, 2, weight_scale=9.0),
            cs.AdaptiveLIF(theta=2.0),
        ),
        *(
            cs.Dense((2, 2, 2), 900, weight_scale=9.0),
            cs.neurons.ResonateAndFire(frequency=np.linspace(5.0, 90.0, 900)),
        ),
        *(cs.Dense(900, 3, weight_scale=5.0), cs.LIF(graded=False)),
    ),
    "branches": lambda: cs.Sequential(
        cs.Parallel(cs.Sequential(dense(FRAME, 9), SRM), cs.Sequential(dense(FRAME, 2), SRM), join="concatenate"),
        cs.Parallel(cs.Sequential(dense(11, 11), SRM), cs.Sequential()),
        *(dense(11, 3), SRM),
    ),
    "more neurons than a block": lambda: cs.Sequential(dense(FRAME, 3000), SRM, dense(3000, 2), SRM),
    "empty": lambda: cs.Sequential(),
}


def spikes(seed=0, steps=120, samples=2, share=0.1):
    return np.random.default_rng(seed).random((steps, samples, *FRAME)) < share


def in_chunks(stream, x, sizes, join=np.concatenate):
    places = np.cumsum([0, *sizes])
    assert places[-1] == len(x)
    return join([stream(x[first:last]) for first, last in pairwise(places)])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("sizes", [[1] * 120, [3, 0, 17, 16, 1, 63, 20]], ids=["steps", "chunks"])
def test_the_spikes_are_those_of_the_whole_input(name, sizes):
    cs.seed(3)
    net, x = NETWORKS[name](), spikes()
    net.train(False)
    with cs.no_grad():
        whole = net(x).data
    net.train()
    stream = net.stream()
    found = in_chunks(stream, x, sizes)
    assert found.dtype == whole.dtype
    np.testing.assert_array_equal(found, whole)
    assert 0 < whole.mean() < 1
    assert stream.steps == 120


lengths = st.one_of(st.integers(10, 140), st.integers(90, 130))


@settings(max_examples=20)
@given(lengths, lengths, st.lists(st.integers(1, 150), max_size=6), st.booleans())
@example(100, 100, [1] * 200, False)
@example(128, 97, [], True)
def test_filters_end_where_much_of_them_is_left(response, refractory, sizes, layer):
    """Inputs and spikes of many steps ago are subtracted then: what stands in their place changes spikes."""
    cut = 2.68  # time constants after which half of an alpha function is left
    taus = {"tau_sr": response / cut, "tau_ref": refractory / cut}
    neuron = cs.SRM(theta=3.0, cutoff=0.5, scale_ref=1.0, ref_cutoff=1.5, **taus)
    assert abs(len(neuron.response) - response) + abs(len(neuron.refractory) - refractory) < 5
    cs.seed(0)
    net = cs.Sequential(*([cs.Dense(30, 30, weight_scale=9.0)] if layer else []), neuron)
    x = np.random.default_rng(0).normal(0.2, 1.0, (400, 2, 30)).astype(np.float32)
    x = x > 1.0 if layer else x
    whole = net(x).data
    ends = np.minimum(np.cumsum([0, *sizes, 400]), 400)
    found = in_chunks(net.stream(), x, np.diff(ends))
    np.testing.assert_array_equal(found, whole)
    assert 0 < whole.mean() < 1


def test_numbers_and_spikes_may_alternate():
    cs.seed(3)
    net, x = cs.Sequential(dense(FRAME, 2000), SRM, dense(2000, 3), SRM), spikes()
    stream = net.stream()
    found = [stream(x[:50]), stream(x[50:90].astype(np.float32)), stream(x[90:])]
    # A product of matrices adds in another order.
    assert np.mean(np.concatenate(found) != net(x).data) < 0.02


def test_a_thousand_steps_at_a_time():
    """States are flushed, and filters cut, at the same steps as in the whole."""
    cs.seed(3)
    net = NETWORKS["dense"]()
    x = spikes(steps=2000, share=0.02)
    x[50:1200] = False
    np.testing.assert_array_equal(in_chunks(net.stream(), x, [7] * 285 + [5]), net(x).data)


def test_a_reset_begins_anew_with_the_weights_of_now():
    cs.seed(3)
    net, x = NETWORKS["dense"](), spikes()
    stream = net.stream()
    first = stream(x)
    net[0].weight.data = net[0].weight.data * np.float32(2)
    stream.reset()
    assert stream.steps == 0
    second = stream(x)
    np.testing.assert_array_equal(second, net(x).data)
    assert (first != second).any()
    assert (stream(x) != second).any()


class Differences(Layer):
    memory = 1

    def __call__(self, x):
        x = cs.Tensor(np.asarray(x.data if isinstance(x, cs.Tensor) else x, np.float32))
        before = np.concatenate([np.zeros_like(x.data[:1]), x.data[:-1]])
        return x - before


class Louder(cs.Dense):
    def __call__(self, x):
        return super().__call__(x) * 2.0


def test_layers_of_ones_own_say_what_they_remember():
    cs.seed(3)
    net, x = cs.Sequential(Differences(), dense(FRAME, 4), SRM), spikes()
    found = in_chunks(net.stream(), x, [40, 1, 79])
    assert np.mean(found != net(x).data) < 0.02


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        (lambda x: x, "it may depend on any other step"),
        (cs.layers.Shift(-1.0), "it may depend on any other step"),
        (Louder(FRAME, 4), "it may depend on any other step"),
        (
            type("Mine", (Neuron,), {"theta": 1.0, "__call__": lambda self, x: x})(),
            "the neurons have no method continued",
        ),
        (type("Own", (cs.SRM,), {"__call__": lambda self, x: x})(), "the neurons have no method continued"),
        (
            type("Again", (cs.Recurrent,), {"__call__": lambda self, x: x})(cs.Dense(4, 4), cs.LIF()),
            "the neurons have no method continued",
        ),
        (type("Chip", (cs.Loihi,), {"__call__": lambda self, x: x})(), "the neurons have no method continued"),
        (
            type("Fir", (cs.neurons.SampledSRM,), {"__call__": lambda self, x: x})(),
            "the neurons have no method continued",
        ),
    ],
)
def test_stages_that_keep_no_state(stage, why):
    raises(rf"^stream: layer 1 .* keeps no state: {why}$", lambda: cs.Sequential(dense(FRAME, 4), stage).stream())


STAGES = {
    "CUBA": [cs.CUBA(theta=0.5), cs.CUBA(theta=0.5, reset="subtract", graded=True), cs.CUBA(theta=0.5, stateful=True)],
    "Echo": [Echo(theta=0.5), Echo(theta=0.5, far=3, tau=np.linspace(2, 9, 2), trained=True)],
    "LIF": [cs.LIF(theta=0.5), cs.LIF(theta=0.5, tau=np.linspace(2, 9, 2), trained=True)],
    "Loihi": [cs.Loihi(vth_mant=1)],
    "Resting": [Resting(theta=0.5), cs.Recurrent(cs.Conv(2, 2, 3, padding=1), Resting(theta=0.5))],
    "SRM": [cs.SRM(theta=0.5), cs.SRM(theta=0.5, surrogate="arctan")],
    "SampledSRM": [cs.neurons.SampledSRM([0.0, 1.0], theta=0.5)],
    "SigmaDelta": [cs.neurons.SigmaDelta()],
    "ReadOut": [cs.ReadOut(FRAME, 3), cs.ReadOut(FRAME, 3, tau=np.linspace(2, 9, 3), trained=True, bias=True)],
    "ReadOut by a neuron": [cs.ReadOut(FRAME, 3, neuron=neuron) for neuron in (SRM, cs.LIF(), Delayed(trained=True))],
    "Average": [cs.layers.Average(2)],
    "BatchNorm": [cs.BatchNorm(2)],
    "Conv": [cs.Conv(2, 4, 3), cs.Conv(2, 4, 3, groups=2, dilation=2, bias=True, weight_hook=lambda w: 2.0 * w)],
    "ConvTranspose": [cs.ConvTranspose(2, 3, 3)],
    "Delay": [cs.Delay(2, dt=1.0), cs.Delay(2, dt=1.0, mode="linear")],
    "Dense": [cs.Dense(FRAME, 3), cs.Dense(FRAME, 3, bias=True)],
    "Dropout": [cs.Dropout(0.5)],
    "FilterBank": [cs.layers.FilterBank(2, 7)],
    "KWinners": [cs.layers.KWinners(3)],
    "AvgPool": [cs.AvgPool(2), cs.GlobalAvgPool()],
    "MaxPool": [cs.MaxPool(2)],
    "SumPool": [cs.SumPool(2, gain=1.0), cs.SumPool(2, gain=1.0, weight_hook=lambda w: 2.0 * w)],
    "Recurrent": [cs.Recurrent(cs.Conv(2, 2, 3, padding=1), cs.LIF(theta=0.5), delay=3.0)],
    "Shift": [cs.layers.Shift(2.0)],
    "TemporalFilter": [cs.layers.TemporalFilter(SRM)],
    "Unpool": [cs.layers.Unpool(2, gain=1.0)],
}


def backwards(delay):
    delay.delay.data[:] = -2.0, 3.0
    return delay


REFUSED = {
    "Decimate": cs.layers.Decimate(2),
    "Delay": backwards(cs.Delay(2, dt=1.0, max_delay=5.0)),
    "Shift": cs.layers.Shift(-1.0),
}


@pytest.mark.parametrize("stage", [stage for stages in STAGES.values() for stage in stages], ids=repr)
def test_every_stage_that_the_docstring_promises(stage):
    x = spikes(steps=40).astype(np.float32)
    net = cs.Sequential(copy.deepcopy(stage))  # another test uses the stage on another device
    found = in_chunks(net.stream(), x, [13, 1, 26])
    net.train(False)
    np.testing.assert_allclose(found, net(x).data, rtol=1e-5, atol=1e-5)
    assert found.any()


@pytest.mark.parametrize("stage", REFUSED.values(), ids=repr)
def test_every_stage_that_the_docstring_excepts(stage):
    with pytest.raises(ValueError, match=r"^stream: layer 0 .* keeps no state: it may depend on any other step$"):
        cs.Sequential(stage).stream()


def test_inputs_that_do_not_fit():
    net = cs.Network("6x5x2-3", SRM)
    stream = net.stream()
    refused("network: x must be (T, N, 6, 5, 2) for 6x5x2-3", lambda: stream(spikes()[..., :1]))
    stream(spikes())
    refused("stream: x must be (T, 2, 6, 5, 2)", lambda: stream(spikes(samples=3)))
    refused("stream: x must be (T, N, ...)", lambda: stream(np.ones(3, bool)))
    refused("network: x must be an array (T, N, ...)", lambda: stream(None))
    refused("stream: x must be finite", lambda: stream(np.full((1, 2, *FRAME), np.nan)))
    with refuses("stream: x has 7 features, weight expects 60"):
        NETWORKS["dense"]().stream()(np.ones((4, 1, 7), bool))
    maps = cs.Sequential(cs.Conv(2, 3, 3), SRM)
    refused("stream: x has 3 channels, weight expects 2", lambda: maps.stream()(np.ones((4, 1, 6, 5, 3), bool)))
    with refuses("stream: x must be (T, N, H, W, C)"):
        maps.stream()(np.ones((4, 1, 2), bool))
    with refuses("stream: x has 3 channels, weight expects 2"):
        NETWORKS["convolutions"]().stream()(np.ones((4, 1, 6, 5, 3), bool))


def test_one_frame_without_its_batch_axis():
    maps = cs.Sequential(cs.Conv(2, 3, 3), SRM)
    for net, frame in ((NETWORKS["dense"](), np.ones(60, bool)), (maps, np.ones((6, 5, 2), bool))):
        with pytest.raises(ValueError, match=r"^stream: .*; one sample needs a batch axis, x\[None\]$"):
            net.stream().step(frame)
        assert net.stream().step(frame[None]).shape[0] == 1
    with refuses("stream: x has 7 features, weight expects 60"):
        NETWORKS["dense"]().stream().step(np.ones((1, 7), bool))


def test_arrays_on_another_device_than_the_network():
    stream, here = NETWORKS["dense"]().stream(), cs.Tensor(spikes())
    with in_use():
        refused("stream: x must be on the CPU like the network", lambda: stream(cs.Tensor(spikes())))
        refused("stream: x must be on a GPU like the network", lambda: NETWORKS["dense"]().stream()(here))


@settings(max_examples=80)
@given(
    sizes=st.tuples(st.sampled_from([0, 1, 20, 32, 33, 100]), st.integers(0, 5), st.integers(1, 9)),
    outputs=st.integers(0, 12),
    least=st.sampled_from([1, 5, 128]),
    most=st.sampled_from([1, 12, 512]),
    numbers=st.booleans(),
    kind=st.sampled_from(["srm", "leaky", "adaptive"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_one_pass_is_two(sizes, outputs, least, most, numbers, kind, dtype):
    generator = np.random.default_rng(0)
    x = generator.random(sizes) < 0.3
    x = x.astype(dtype) if numbers else x
    w = (generator.standard_normal((sizes[2], outputs)) * 9).astype(dtype)
    kinds = {"srm": cs.SRM(tau_sr=3.0, cutoff=0.2), "leaky": cs.CUBA(tau_i=2.0 + np.arange(outputs), theta=8.0)}
    neuron = kinds.get(kind) or cs.AdaptiveLIF(theta=8.0, surrogate="triangle")
    options = neuron.one_pass._asdict()
    one_pass, shapes = fused.dense_neuron, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_LEAST", least)
        patch.setattr(fused, "_MOST", most)
        patch.setattr(
            fused, "dense_neuron", lambda x, *rest, **shift: shapes.append(x.shape) or one_pass(x, *rest, **shift)
        )
        with cs.no_grad():
            s = functions.dense_neuron(x, w, **options)
        trained = [cs.Tensor(w, requires_grad=True) for _ in range(2)]
        in_training = functions.dense_neuron(x, trained[0], **options)
    assert shapes == ([] if numbers else 2 * [(sizes[0] * sizes[1], sizes[2])])
    two = neuron(functions.dense(x, trained[1]))
    assert s.shape == in_training.shape == two.shape
    assert (s.data == two.data).all()
    assert (in_training.data == two.data).all()
    assert not s.requires_grad
    g = generator.standard_normal(two.shape).astype(dtype)
    in_training.backward(g)
    two.backward(g)
    assert trained[0].grad.tobytes() == trained[1].grad.tobytes()


CNN = "16x16x2-8c3-2a-8c3-10"


@pytest.fixture
def taken(monkeypatch):
    """Return a list of the lengths of the chunks that run."""
    lengths = []
    advance = chunks.Stream.advance
    monkeypatch.setattr(chunks.Stream, "advance", lambda self, x: lengths.append(len(x)) or advance(self, x))
    return lengths


def set_chunk(monkeypatch, size):
    monkeypatch.setattr(chunks, "chunk_steps", lambda graph, shape: size)
    monkeypatch.setattr(chunks, "_LEAST_CHUNKS", 1)


def whole_and_chunks(net, x, monkeypatch, size):
    net.train(False)
    with cs.no_grad(), monkeypatch.context() as patch:
        patch.setattr(chunks, "_LEAST_CHUNKS", 1 << 62)
        whole = net(x).data
    with cs.no_grad(), monkeypatch.context() as patch:
        set_chunk(patch, size)
        return whole, net(x).data


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [7, 121])
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
        *(cs.Conv(2, 5, 3, padding=1, weight_scale=40.0), srm, cs.SumPool(2, gain=11.0), srm),
        *(cs.Conv(5, 4, 3, stride=2, weight_scale=40.0), srm, cs.SumPool(2, stride=1, gain=11.0), srm),
        *(cs.Conv(4, 3, 2, padding=1, weight_scale=40.0), srm, cs.Conv(3, 4, 1, weight_scale=90.0), srm),
        *(cs.SumPool(3, gain=5.0), srm, dense((1, 1, 4), 5), srm),
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
    monkeypatch.setattr(chunks, "_BYTES", 1)
    x = np.random.default_rng(0).standard_normal((1100, samples, *FRAME)).astype(np.float32)
    with cs.no_grad():
        found = net(x).data
    rows = {1: 256, 3: 256, 32: 8}[samples]
    assert set(taken[:-1]) == {rows}
    pictures = np.random.default_rng(0).standard_normal((1100, 1, 16, 16, 3)).astype(np.float32)
    wide = cs.Sequential(cs.Conv(3, 64, 3, padding=1))
    with cs.no_grad():
        maps = wide(pictures).data
    monkeypatch.setattr(chunks, "_LEAST_CHUNKS", 1 << 62)
    with cs.no_grad():
        np.testing.assert_array_equal(found, net(x).data)
        np.testing.assert_array_equal(maps, wide(pictures).data)


def test_the_chunk_follows_from_the_shapes():
    net = cs.Network("34x34x2-512-10", SRM)
    # Bytes of a step: the input, and twice the hidden spikes, and the output.
    each = 2312 + 512 + 512 + 10
    for samples, multiple in ((8, 128), (1, 256), (6, 128)):
        steps = (32 << 20) // (samples * each)
        assert chunks.chunk_steps(net.graph, (0, samples, 34, 34, 2)) == steps // multiple * multiple
    # A convolution and pooling are one pass, whose weighted inputs are not stored.
    cnn = 2312 + 2 * 17 * 17 * 16 + 2 * 9 * 9 * 32 + 2 * 9 * 9 * 64 + 10
    net = cs.Network("34x34x2-16c5-2a-32c3-2a-64c3-10", SRM)
    assert chunks.chunk_steps(net.graph, (9, 8, 34, 34, 2)) == (32 << 20) // (8 * cnn) // 128 * 128
    assert chunks.chunk_steps(net.graph, (9, 4096, 34, 34, 2)) == 1
    assert chunks.chunk_steps(net.graph, (9, 200, 34, 34, 2)) == 32
    own = cs.Sequential(dense(4, 3), lambda x: x)
    assert chunks.chunk_steps(own.graph, (9, 256, 4)) == (32 << 20) // (256 * (4 + 12 + 3 + 12)) // 128 * 128


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
        monkeypatch.setattr(chunks, "_LEAST_CHUNKS", 6)
        assert not long(net, taken)
        monkeypatch.setattr(chunks, "_LEAST_CHUNKS", 5)
        dropped = cs.Sequential(dense(FRAME, 4), SRM, cs.Dropout(0.5))
        assert not long(dropped, taken)
        dropped.train(False)
        assert long(dropped, taken)
        own = cs.Sequential(Ours(), Differences(), dense(FRAME, 4), SRM)
        assert not long(own, taken)  # in training mode it may draw
        own.train(False)
        assert long(own, taken)
        assert not long(cs.Sequential(dense(FRAME, 4), SRM, lambda x: x), taken)
        assert not long(cs.Sequential(dense(FRAME, 4), SRM, cs.layers.Shift(-1.0)), taken)
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


@pytest.mark.parametrize("notation", ["60-300-10", CNN])
def test_memory_does_not_grow_with_time(notation, monkeypatch, taken):
    """From 300 to 30,000 steps, besides input and output; the first is in several chunks too."""
    monkeypatch.setattr(memory, "_LEAST_BYTES", 1 << 62)  # memory of the pool is allocated instead, and counted
    monkeypatch.setattr(chunks, "_BYTES", 1 << 18)
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
    cs.threads(threads)
    _, found = whole_and_chunks(net, x, monkeypatch, 60)
    np.testing.assert_array_equal(found, whole)
    assert whole.any()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            (2, 1, 8, 8),
            "got shape (2, 1, 8, 8); channels come last, np.moveaxis(x, 1",
        ),
        (
            (2, 64),
            "got shape (2, 64); frames are not flat, x.reshape(*x.shape[:1], ",
        ),
    ],
)
def test_advice_for_a_step_has_no_axis_of_time(frame, message):
    net = cs.Network("8x8x1-2c3-2", cs.SRM())
    with refuses("network: x must be (N, 8, 8, 1) for 8x8x1-2c3-2", message):
        net.stream().step(np.zeros(frame, bool))


def test_an_input_that_is_refused_is_forgotten():
    stream = cs.Sequential(dense(6, 3), SRM).stream()
    with pytest.raises(ValueError, match="x has 7 features"):
        stream.step(np.ones((1, 7), bool))
    assert stream.step(np.ones((1, 6), bool)).shape == (1, 3)
