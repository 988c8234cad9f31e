"""Tests of the notation: strings and YAML, options of words, averages and shifts."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer.layers import Average
from cuslayer.network.notation import Word
from cuslayer.neurons.names import make_neuron, neuron_constants
from cuslayer.training import load_config
from cuslayer.training.config import Config
from tests.support.refused import raises, refused, refuses

SRM = cs.SRM()
LOIHI = {"type": "LOIHI", "vThMant": 80, "vDecay": 128, "iDecay": 1024, "refDelay": 1, "wgtExp": 0}
LOIHI |= {"tauRho": 1, "scaleRho": 1}


def document(*layers, neuron=None):
    """Return a complete configuration with the given layers."""
    srm = {"type": "SRMALPHA", "theta": 10, "tauSr": 10.0, "tauRef": 1.0, "scaleRef": 2, "tauRho": 1, "scaleRho": 1}
    return {
        "simulation": {"Ts": 1.0, "tSample": 50},
        "neuron": neuron or srm,
        "layer": [layer if isinstance(layer, dict) else {"dim": layer} for layer in layers],
        "training": {"error": {"type": "SpikeTime"}},
    }


def kinds(net):
    return [type(layer).__name__ for layer in net.layers]


def test_options_reach_the_layers():
    other = cs.SRM(theta=4.0)
    words = [
        Word("12x10x4"),
        Word("6c3", stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, weight_scale=0.5, neuron=other),
        Word("2a", stride=1, padding=1, dilation=2, neuron=other),
        Word("9", weight_scale=0.25, delay=True, max_delay=3.0),
    ]
    net = cs.Network(words, SRM)
    conv, own, pool, _, dense, usual, delay = net.layers
    assert (conv.stride, conv.padding, conv.dilation, conv.groups) == ((2, 1), (1, 0), (1, 2), 2)
    assert np.abs(conv.weight.data).max() <= 0.5 / np.sqrt(3 * 3 * 2)
    assert own is other
    assert (pool.stride, pool.padding, pool.dilation, pool.gain) == ((1, 1), (1, 1), (2, 2), pytest.approx(4.4))
    assert np.abs(dense.weight.data).max() <= 0.25 / np.sqrt(dense.weight.shape[0])
    assert usual is SRM
    assert (delay.features, delay.max_delay, delay.dt) == ((9,), 3.0, 1.0)
    assert net(np.zeros((5, 2, 12, 10, 4), bool)).shape == (5, 2, 9)
    assert net.notation == "12x10x4-6c3-2a-9"


def test_the_vote_is_the_mean_over_groups():
    x = np.random.default_rng(0).random((7, 2, 12)) < 0.5
    y = Average(3)(x)
    for group in range(3):
        np.testing.assert_allclose(y.data[..., group], x[..., 4 * group : 4 * group + 4].mean(axis=2), rtol=1e-6)
    frames = np.random.default_rng(1).standard_normal((3, 2, 4, 5, 6))
    by_hand = frames.reshape(3, 2, 4, 5, 2, 3).mean(axis=(2, 3, 5))
    np.testing.assert_allclose(Average(2)(frames).data, by_hand, rtol=1e-12)
    assert Average(2)(np.zeros((0, 1, 4), bool)).shape == (0, 1, 2)
    assert (Average(4)(x[..., :4]).data == x[..., :4]).all()
    assert repr(Average(3)) == "Average(3)"


def test_a_network_of_the_chip():
    net = cs.Network("6x6x2-4c3-2a-10", cs.Loihi(dt=0.5))
    assert kinds(net) == ["Conv", "Loihi", "Shift", "SumPool", "Loihi", "Shift", "Dense", "Loihi", "Shift"]
    conv, _, step, pool, *_ = net.layers
    assert pool.gain == 28.0
    assert step.delay == step.dt == 0.5
    bound = 100 / np.sqrt(3 * 3 * 2)
    assert 0.8 * bound < np.abs(conv.weight.data).max() <= bound
    used = conv.effective_weight().data
    assert (used == 2 * np.rint(conv.weight.data / 2)).all()
    conv.weight.data[:] = 1000.0
    assert (conv.effective_weight().data == 254).all()
    delayed = cs.Network([Word("4"), Word("3", delay=True)], cs.Loihi(dt=0.5))
    assert delayed.layers[-1].max_delay == 31.0
    assert cs.Network([Word("4"), Word("3", delay=True)], SRM).layers[-1].max_delay is None


def test_yaml_with_every_option():
    layers = [
        {"dim": "9x9x4"},
        {"dim": "8c3", "stride": 2, "padding": [1, 0], "dilation": 1, "groups": 2, "wScale": 3, "neuron": LOIHI},
        {"dim": "2a", "stride": [1, 2], "padding": 1, "dilation": 1},
        {"dim": 20, "wScale": 0.5, "delay": True, "maxDelay": 62},
        {"dim": "10avg"},
    ]
    config = load_config(document(*layers))
    assert config.layers == (
        Word("9x9x4"),
        Word("8c3", stride=2, padding=(1, 0), dilation=1, groups=2, weight_scale=3.0, neuron=cs.Loihi()),
        Word("2a", stride=(1, 2), padding=1, dilation=1),
        Word("20", weight_scale=0.5, delay=True, max_delay=62.0),
        Word("10avg"),
    )
    net = config.network()
    assert net(np.zeros((3, 1, 9, 9, 4), bool)).shape == (3, 1, 10)
    assert kinds(net) == ["Conv", "Loihi", "Shift", "SumPool", "SRM", "Dense", "SRM", "Delay", "Average"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("34x34x2", "16k5"), r"layer\[1\]\.dim '16k5' is no layer; known words: WxHxC the input, N a dense"),
        (("16c5", "10"), r"layer\[0\] must be an input alone, WxHxC or N, got '16c5'"),
        ((10, {"dim": 5, "stride": 2}), r"layer\[1\]\.stride is not for '5', a dense word"),
        ((10, {"dim": "5out", "dropout": 0.1}), r"layer\[1\]\.dropout is not for '5out', a readout word"),
        ((10, {"dim": 5, "maxDelay": 1}), r"layer\[1\]: Word: '5' has max_delay 1 and no delay"),
        ((10, {"dim": 5, "winners": 0}), r"layer\[1\]\.winners must be at least 1, got 0"),
        ((10, {"dim": 5, "neuron": {**LOIHI, "vDecay": 0}}), r"layer\[1\]\.neuron\.vDecay must be at least 1, got 0"),
    ],
)
def test_errors_of_layers_in_yaml(layers, message):
    raises(f"^(load_config: )?{message}", lambda: load_config(document(*layers)))


def test_errors_of_words():
    refused("Word: '5x' is no layer", lambda: Word("5x"))
    refused("Word: text must be a string", lambda: Word(5))
    refused("Word: '10avg' is an average word, which takes no delay", lambda: Word("10avg", delay=True))
    for words in ("5", "8x8x2"):
        with pytest.raises(ValueError, match=rf"^Network: '{words}' must have a layer after its input; known words"):
            cs.Network(words, cs.SRM())
    refused("Network: '' must begin with its input", lambda: cs.Network([], SRM))
    with refuses("Network: '3x3x1' in '9-3x3x1' is an input, which must be the first word"):
        cs.Network("9-3x3x1", SRM)
    with refuses("Network: '4avg' in '9-10-4avg' needs a multiple of 4 channels, its input is (10,)"):
        cs.Network("9-10-4avg", SRM)
    with refuses("Network: '5' in '9-5' has neurons with dt 0.5, the network's 1"):
        cs.Network([Word("9"), Word("5", neuron=replace(SRM, dt=0.5))], SRM)
    for word in ("16k5", "5c", "", "0x"):
        with pytest.raises(ValueError, match=f"Network: '{word}' in '34x34x2-{word}' is no layer; known words: HxWxC"):
            cs.Network(f"34x34x2-{word}", SRM)
    with refuses("Network: '2a' in '34x34x2-10-2a' needs frames (H, W, C), its input is (10,)"):
        cs.Network("34x34x2-10-2a", SRM)
    refused("Network: input 0x3x1 must be at least 1", lambda: cs.Network("0x3x1-10", SRM))
    refused("Network: the window spans 5 rows, the padded image has 3", lambda: cs.Network("3x3x1-2c5v", SRM))
    refused("Network: notation must be a string or words", lambda: cs.Network(3, SRM))
    refused("Network: neuron must be a neuron", lambda: cs.Network("3-2", 3))
    refused("Sequential: layer 1 must be callable", lambda: cs.Sequential(SRM, 3))
    stateful = cs.LIF(tau=9.0, stateful=True)
    refused(
        "Network: layer 3, LIF(tau=9, theta=1, stateful=True), must be new: layer 1 is the same",
        lambda: cs.Network("4-4-4", stateful),
    )
    refused("Average: x must have a multiple of 2 channels", lambda: Average(2)(np.zeros((1, 1, 3))))
    refused("Average: x must be (T, N, C)", lambda: Average(2)(np.zeros((1, 1))))


@pytest.mark.parametrize("neuron", [cs.SRM(theta=3.0, gradient="exact"), cs.Loihi(v_decay=7, first_bin=False)])
def test_constants_of_neurons_round_trip(neuron):
    assert make_neuron("net: neuron.", neuron_constants(neuron), 1.0) == neuron


@pytest.mark.parametrize(
    ("word", "kernel", "padding", "size"),
    [
        ("3c4", 4, 2, (8, 7)),  # an even kernel padded by half makes a row and a column more
        ("3c2", 2, 1, (8, 7)),
        ("3c5", 5, 2, (7, 6)),
        ("3c4z", 4, 2, (8, 7)),
        ("3c4v", 4, 0, (4, 3)),
    ],
)
def test_a_convolution_is_padded_by_half_its_kernel(word, kernel, padding, size):
    net = cs.Network(f"7x6x2-{word}", SRM)
    conv = cs.Conv(2, 3, kernel, padding=padding)
    conv.weight = net[0].weight
    x = np.random.default_rng(0).standard_normal((4, 2, 7, 6, 2)).astype(np.float32)
    assert net[0].padding == (padding, padding)
    assert net[0](x).shape == (4, 2, *size, 3)
    assert (net[0](x).data == conv(x).data).all()
    # The next word fits: words use the output shape of the layer.
    behind = cs.Network(f"7x6x2-{word}-5", SRM)
    assert behind[2].weight.shape == (size[0] * size[1] * 3, 5)
    assert behind(x > 0).shape == (4, 2, 5)


def test_delays_and_averages_are_by_channel():
    net = cs.Network([Word("5x4x2"), Word("3c3", delay=True), Word("6")], SRM)
    assert kinds(net) == ["Conv", "SRM", "Delay", "Dense", "SRM"]
    assert net[2].features == (3,)
    assert net(np.zeros((4, 2, 5, 4, 2), bool)).shape == (4, 2, 6)
    # Rows need not be a multiple of the groups.
    net = cs.Network("5x4x2-6c3-3avg", SRM)
    assert net(np.zeros((4, 2, 5, 4, 2), bool)).shape == (4, 2, 3)
    with refuses("Network: '3avg' in '6x6x2-4c3-3avg' needs a multiple of 3 channels, its input is (6, 6, 4)"):
        cs.Network("6x6x2-4c3-3avg", SRM)
    words = [Word("4"), Word("3", delay=True, max_delay=5.0), Word("2", delay=True)]
    delays = [layer.max_delay for layer in cs.Network(words, cs.Loihi()).layers if isinstance(layer, cs.Delay)]
    assert delays == [5.0, 62.0]


SYNAPTIC = {"recurrent_synaptic_delay": 8.0, "narrowing": 70}
WORDS = (
    Word("6x5x2"),
    Word("8c3", norm="none", winners=40, dropout=0.25),
    Word("2a", dropout=0.5),
    Word("20r", norm="power", recurrent_delay=3.0, delay=True, max_delay=9.0, initial_delay=7.0, **SYNAPTIC),
    Word("12", norm="std"),
    Word("3", delay=True, initial_delay=0.0),
)


def test_options_become_layers():
    srm = replace(SRM, theta=3.0)
    net = cs.Network(WORDS, srm)
    assert kinds(net) == [
        *("Conv", "BatchNorm", "KWinners", "SRM", "Dropout", "SumPool", "SRM", "Dropout"),
        *("Dense", "BatchNorm", "Recurrent", "Delay", "Dense", "BatchNorm", "SRM", "Dense", "SRM", "Delay"),
    ]
    norms = [layer for layer in net.layers if isinstance(layer, cs.BatchNorm)]
    assert [(n.features, n.scale, n.height, n.trained) for n in norms] == [
        (8, "none", srm.theta, False),
        (20, "power", srm.theta, True),
        (12, "std", srm.theta, True),
    ]
    assert (net[2].k, net[4].p, net[7].p, net[10].delay) == (40, 0.25, 0.5, 3.0)
    assert (net[11].max_delay, repr(net[10].layer.delays)) == (9.0, "SynapticDelays(8, steps=70)")
    assert 1.0 < net[11].delay.data.max() <= 7.0
    assert not net[17].delay.data.any()
    assert net.output_shape((6, 5, 2)) == (3,)


def test_poolings_without_neurons():
    net = cs.Network([Word("9x9x2"), Word("4c3"), Word("3max", stride=2), Word("2mean", padding=1), Word("5")], SRM)
    assert kinds(net) == ["Conv", "SRM", "MaxPool", "AvgPool", "Dense", "SRM"]
    assert net.output_shape((9, 9, 2)) == (5,)
    assert net[4].in_features == (3, 3, 4)
    with refuses("Word: '2mean' is a mean word, which takes no bias"):
        Word("2mean", bias=True)
    with refuses("Network: '2max' in '5-2max' needs frames (H, W, C), its input is (5,)"):
        cs.Network("5-2max", SRM)


class OnAGrid(cs.LIF):
    weight_grid = 2.0, (-8.0, 8.0)


def test_layers_have_the_step_and_the_grid_of_their_neurons():
    words = [Word("4"), Word("5r", synaptic_delay=8.0, delay=True, **SYNAPTIC), Word("3out")]
    dense, recurrent, delay, read_out = cs.Network(words, OnAGrid(dt=0.25)).layers
    back = recurrent.layer
    assert {layer.dt for layer in (dense.delays, back.delays, delay, read_out)} == {0.25}
    assert [layer.own_scale for layer in (dense, back)] == [False, False]
    for layer in (dense, back):
        layer.weight.data[...] = np.arange(layer.weight.size).reshape(layer.weight.shape) - 10
        assert set(np.unique(layer.effective_weight().data)) == set(np.arange(-8.0, 9.0, 2.0))


def test_options_in_yaml():
    layers = [
        {"dim": "5x6x2"},
        {"dim": "8c3", "norm": "none", "winners": 40, "dropout": 0.25},
        {"dim": "2a", "dropout": 0.5},
        {"dim": "20r", "norm": "power", "recurrentDelay": 3, "delay": True, "maxDelay": 9, "initialDelay": 7}
        | {"recurrentSynapticDelay": 8, "narrowing": 70},
        {"dim": 12, "norm": "std"},
        {"dim": 3, "delay": True, "initialDelay": 0},
    ]
    config = load_config({"layer": layers, "training": {"sparsity": {"weight": 1e-6, "allowed": 500}}})
    assert config.layers == (Word("5x6x2"), *WORDS[1:])
    loss = config.loss()
    assert isinstance(loss, cs.network.SparsityLoss)
    assert (loss.weight, loss.allowed) == (1e-6, 500.0)
    assert isinstance(loss.loss, cs.SpikeCountLoss)
    assert load_config(yaml.safe_load(config.to_yaml())) == config
    assert load_config({"layer": layers, "training": {"sparsity": {"weight": 1}}}).sparsity == (1.0, 0.0)
    assert isinstance(Config().loss(), cs.SpikeCountLoss)


def test_errors_of_networks():
    raises(r"^Network: '5' in '9-5': norm must be", lambda: cs.Network([Word("9"), Word("5", norm="mean")], SRM))
    with pytest.raises(ValueError, match=r"^Network: '5' in '9-5': winners must be at least 1, got 0"):
        cs.Network([Word("9"), Word("5", winners=0)], SRM)
    with refuses("load_config: training.sparsity.weight must not be negative"):
        load_config({"layer": [{"dim": 4}, {"dim": 3}], "training": {"sparsity": {"weight": -1}}})


def test_a_normalization_that_is_kept_is_not_scaled():
    cs.seed(0)
    net = cs.Network([Word("20"), Word("40", norm="std"), Word("3")], SRM)
    x = np.random.default_rng(0).random((60, 8, 20)) < 0.1
    own = net[0].weight, net[1].gain, net[1].offset
    before = [p.data.copy() for p in own]
    table = cs.calibrate(net, [x], rate=40.0, keep=[1])
    assert not table.layers[0].scaled
    assert net[1].height == SRM.theta
    assert all((p.data == b).all() for p, b in zip(own, before, strict=True))


def test_a_normalization_scales_with_its_factor():
    x = np.random.default_rng(0).normal(size=(9, 3, 4))
    for norm in (
        cs.BatchNorm(4, height=2.0),
        cs.BatchNorm(4, scale="power", height=2.0),
        cs.BatchNorm(4, trained=True),
        cs.BatchNorm(4, scale="none", trained=True),
    ):
        norm.train(False)
        norm.observe(x)
        if norm.offset is not None:
            norm.offset.data[...] = 0.5
        before = norm(x).data
        norm.scale_output(3.0)
        np.testing.assert_allclose(norm(x).data, 3.0 * before, rtol=1e-5, atol=1e-6)
    norm = cs.BatchNorm(4, scale="none")
    norm.train(False)
    norm.observe(x)
    np.testing.assert_allclose(norm.mean.data, x.mean(axis=(0, 1)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(norm.var.data, x.var(axis=(0, 1)), rtol=1e-5)
    before = norm(x).data
    norm.scale_output(3.0)
    np.testing.assert_allclose(norm(3.0 * x).data, 3.0 * before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("digits", ["1" * 10, "9" * 400, "7" * 5000])
@pytest.mark.parametrize(
    "form", ["{}-2", "4-{}", "4-{}r-2", "4-{}out", "4-{}avg", "4x4x1-{}c3-2", "4x4x1-2c{}-2", "{}x4x1-2a"]
)
def test_huge_numbers(form, digits):
    with refuses("Network: numbers in a word must have at most 9 digits") as problem:
        cs.Network(form.format(digits), cs.SRM())
    assert len(str(problem.value)) < 120


def test_huge_sizes_of_layers():
    for make in (lambda n: cs.Dense(n, 3), lambda n: cs.Dense(3, n), lambda n: cs.Conv(1, n, 3)):
        for size in (2**62, 10**400):
            with pytest.raises(ValueError, match="does not fit into memory"):
                make(size)


@pytest.mark.parametrize("kind", ["SRM", "LIF", "Loihi"])
def test_a_sequential_starts_like_its_network(kind):
    neuron = getattr(cs, kind)()
    cs.seed(3)
    net = cs.Network("8x8x2-4c3-2a-10", neuron)
    cs.seed(3)
    conv = cs.Conv(2, 4, 3, padding=1)
    inner = cs.Sequential(cs.Dense((4, 4, 4), 10))
    same = cs.Sequential(conv, neuron, cs.SumPool(2, gain=neuron.pool_gain), neuron, inner, neuron)
    for p, q in zip(net.parameters(), same.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    # What a user has chosen, set, or has in a network already stays.
    chosen = cs.Dense(4, 3, weight_scale=10.0)
    written = cs.Dense(4, 3)
    written.weight.data[:] = 1.0
    placed = cs.Sequential(cs.Dense(4, 3), cs.SRM())[0]
    turned = cs.Dense(4, 3)
    turned.weight.data[:] = turned.weight.data[::-1].copy()  # the same numbers at other places
    assert not turned.as_drawn
    for layer in (chosen, written, placed, turned):
        before = layer.weight.data.copy()
        cs.Sequential(layer, cs.LIF())
        np.testing.assert_array_equal(layer.weight.data, before)


def test_the_mean_of_initial_weights():
    weights = []
    for mean in (None, -0.5):
        cs.seed(3)
        words = [Word("4"), Word("6", weight_scale=2.0, weight_mean=mean), Word("3")]
        weights.append([p.data for p in cs.Network(words, cs.LIF()).parameters()])
    np.testing.assert_array_equal(weights[1][0], weights[0][0] + np.float32(-0.5))
    np.testing.assert_array_equal(weights[1][1], weights[0][1])


def test_a_read_out_filtered_by_neurons():
    cuba = cs.CUBA(3.0, 9.0, dt=0.5)
    net = cs.Network([Word("4"), Word("3out", neuron=cs.CUBA(3.0, 9.0))], cs.LIF(dt=0.5))
    x = np.random.default_rng(0).random((40, 2, 4)) < 0.1
    np.testing.assert_array_equal(net(x).data, cuba.psp(cs.functions.dense(x, net[0].weight)).data)
    with refuses("ReadOut: tau must not be given or trained with a neuron"):
        cs.Network([Word("4"), Word("3out", tau=5.0, neuron=cuba)], cs.LIF(dt=0.5))
