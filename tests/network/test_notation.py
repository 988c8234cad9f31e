"""Tests of the notation: strings and YAML, options of words, averages and shifts."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers import Average, Shift
from cuslayer.network.notation import GRAMMAR, Word, read_words, rows_first
from cuslayer.neurons.names import make_neuron, neuron_constants
from cuslayer.training import figures, load_config, load_stats, train
from tests.support.tiny import write_folder

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


@pytest.mark.parametrize(
    ("text", "kind", "numbers"),
    [
        ("34x30x2", "input", (34, 30, 2)),
        ("16c5", "conv", (16, 5)),
        ("16c5v", "conv", (16, 5)),
        ("2a", "pool", (2,)),
        ("10avg", "average", (10,)),
        ("512", "dense", (512,)),
    ],
)
def test_words(text, kind, numbers):
    word = Word(text)
    assert (word.kind, word.numbers, word.options()) == (kind, numbers, {})


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


def test_a_string_and_its_words_give_the_same_network():
    text = "6x5x2-4c3-2a-8-4avg"
    cs.seed(3)
    a = cs.Network(text, SRM)
    cs.seed(3)
    b = cs.Network(read_words(text), SRM)
    x = np.random.default_rng(1).random((20, 2, 6, 5, 2)) < 0.4
    assert a.notation == b.notation == text
    assert (a(x).data == b(x).data).all()
    assert kinds(a) == ["Conv", "SRM", "Pool", "SRM", "Dense", "SRM", "Average"]


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


def test_the_vote_can_be_trained_and_classified():
    net = cs.Network("8-12-3avg", cs.SRM(gradient="exact"))
    x = np.random.default_rng(1).random((30, 2, 8)) < 0.3
    out = net(x)
    assert cs.classify(out).shape == (2,)
    cs.SpikeCountLoss(SRM, true=20, false=1)(out, [0, 2]).backward()
    assert net.parameters()[0].grad.any()


def test_gradient_and_adjoint_of_the_vote():
    rng = np.random.default_rng(2)
    for shape in ((4, 2, 6), (3, 1, 2, 3, 6)):
        x = rng.standard_normal(shape)
        assert cs.gradcheck(Average(3), x) < 1e-6
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
            t = cs.Tensor(x.astype(dtype), requires_grad=True)
            y = Average(3)(t)
            g = rng.standard_normal(y.shape).astype(dtype)
            y.backward(g)
            forth, back = float((y.data * g).sum()), float((t.data * t.grad).sum())
            assert abs(forth - back) <= tolerance * max(1.0, abs(forth))


def test_the_shift_as_a_layer():
    x = np.random.default_rng(0).random((6, 2, 3)) < 0.5
    y = Shift(1.0, dt=0.5)(x)
    assert y.data.dtype == bool
    assert (y.data[2:] == x[:-2]).all()
    assert not y.data[:2].any()
    assert repr(Shift(1.0, dt=0.5)) == "Shift(1, dt=0.5)"
    with pytest.raises(ValueError, match="Shift: delay must be finite, got nan"):
        Shift(float("nan"))
    with pytest.raises(ValueError, match="Shift: dt must be positive, got 0"):
        Shift(1.0, dt=0)


def test_a_network_of_the_chip():
    net = cs.Network("6x6x2-4c3-2a-10", cs.Loihi(dt=0.5))
    assert kinds(net) == ["Conv", "Loihi", "Shift", "Pool", "Loihi", "Shift", "Dense", "Loihi", "Shift"]
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


def test_frames_of_yaml_are_columns_first():
    assert rows_first(Word("34x30x2")).text == "30x34x2"
    assert rows_first(Word("34")).text == "34"
    net = load_config(document("8x6x2", "4c3", 10)).network()
    assert net.input_shape == (6, 8, 2)
    assert net(np.zeros((3, 1, 6, 8, 2), bool)).shape == (3, 1, 10)


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
    assert kinds(net) == ["Conv", "Loihi", "Shift", "Pool", "SRM", "Dense", "SRM", "Delay", "Average"]


def test_a_run_of_the_chip_with_delays_and_a_vote(tmp_path, monkeypatch):
    hidden, output = {"dim": 24, "delay": True, "wScale": 1000}, {"dim": 6, "wScale": 200}
    described = document("34x34x2", hidden, output, "3avg", neuron=LOIHI)
    described["training"] = {
        "error": {
            "type": "NumSpikes",
            "tgtSpikeRegion": {"start": 0, "stop": 30},
            "tgtSpikeCount": {True: 6, False: 1},
        },
        "path": {"in": str(write_folder(tmp_path / "data")), "out": str(tmp_path / "out")},
        "optimizer": {"type": "NAdam", "lr": 0.5, "warmup": 0},
        "epochs": 10,
        "batch": 4,
    }
    drawn = []
    monkeypatch.setattr(figures, "draw_rasters", lambda figure, trains, dt: drawn.extend(name for name, _ in trains))
    out = train(load_config(described), log=lambda line: None)
    first, *_, last = load_stats(out / "metrics.csv")
    assert last.train_loss < first.train_loss / 10
    assert drawn[1:] == ["after Dense((34, 34, 2), 24)", "output"]
    assert load_config(out / "config.yaml") == load_config(described)


def test_false_delay_is_none():
    assert load_config(document(4, {"dim": 3, "delay": False})).layers[1] == Word("3")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("34x34x2", "16k5"), r"layer\[1\]\.dim '16k5' is no layer; known words: WxHxC the input, N a dense"),
        (("34x34", "10"), r"layer\[0\]\.dim '34x34' is no layer"),
        (("16c5", "10"), r"layer\[0\] must be an input alone, WxHxC or N, got '16c5'"),
        (({"dim": 10, "wScale": 2}, 10), r"layer\[0\] must be an input alone"),
        ((10, "3x3x1"), r"layer\[1\]\.dim '3x3x1' is an input, which must be the first word"),
        ((10, {"dim": 5, "stride": 2}), r"layer\[1\]\.stride is not for '5', a dense word"),
        ((10, {"dim": "5avg", "neuron": LOIHI}), r"layer\[1\]\.neuron is not for '5avg', an average word"),
        ((10, {"dim": 5, "wscale": 2}), r"layer\[1\]\.wscale is an unknown key; did you mean wScale"),
        ((10, {"dim": 5, "wScale": 0}), r"layer\[1\]\.wScale must be positive, got 0"),
        ((10, {"dim": 5, "delay": True, "maxDelay": -1}), r"layer\[1\]\.maxDelay must not be negative"),
        ((10, {"dim": 5, "maxDelay": 1}), "Word: '5' has max_delay 1 and no delay"),
        (("9x9x1", {"dim": "2c3", "stride": 0}), r"layer\[1\]\.stride must be at least 1, got 0"),
        (("9x9x1", {"dim": "2c3", "padding": [1, 2, 3]}), r"layer\[1\]\.padding must be one integer or two, got 3"),
        (("9x9x1", {"dim": "2c3", "groups": 0}), r"layer\[1\]\.groups must be at least 1, got 0"),
        ((10, {"dim": 5, "neuron": {"type": "LOIHI"}}), r"layer\[1\]\.neuron\.vThMant is missing"),
        ((10, {"dim": 5, "neuron": {**LOIHI, "vDecay": 0}}), r"layer\[1\]\.neuron\.vDecay must be at least 1, got 0"),
        ((10, {"dim": 5, "neuron": {**LOIHI, "theta": 1}}), r"layer\[1\]\.neuron\.theta is an unknown key"),
        ((10, {"dim": 5, "neuron": {}}), r"layer\[1\]\.neuron\.type is missing"),
    ],
)
def test_errors_of_layers_in_yaml(layers, message):
    with pytest.raises(ValueError, match=f"^(load_config: )?{message}"):
        load_config(document(*layers))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"dim": 5, "delay": 1}, r"layer\[1\]\.delay must be true or false, got 1"),
        ({"dim": 5, "wScale": "big"}, r"layer\[1\]\.wScale must be a number, got str"),
        ({"dim": 5, "neuron": 3}, r"layer\[1\]\.neuron must be a mapping, got int"),
        ({"dim": 5, "neuron": {**LOIHI, "iDecay": 1.5}}, r"layer\[1\]\.neuron\.iDecay must be an integer, got float"),
    ],
)
def test_layers_of_the_wrong_kind_in_yaml(layer, message):
    with pytest.raises(TypeError, match=f"^load_config: {message}"):
        load_config(document(10, layer))


def test_errors_of_words():
    with pytest.raises(ValueError, match=re.escape(f"Word: '5x' is no layer; known words: {GRAMMAR}")):
        Word("5x")
    with pytest.raises(TypeError, match="Word: text must be a string, got int"):
        Word(5)
    with pytest.raises(ValueError, match=r"Word: '10avg' is an average word, which takes no delay, got True"):
        Word("10avg", delay=True)
    for words in ("5", "8x8x2"):
        with pytest.raises(ValueError, match=rf"^Network: '{words}' must have a layer after its input; known words"):
            cs.Network(words, cs.SRM())
    with pytest.raises(ValueError, match=r"Network: '' must begin with its input; known words"):
        cs.Network([], SRM)
    with pytest.raises(ValueError, match="Network: '3x3x1' in '9-3x3x1' is an input, which must be the first word"):
        cs.Network("9-3x3x1", SRM)
    with pytest.raises(ValueError, match="Network: '4avg' in '9-10-4avg' needs a multiple of 4 channels, its input is"):
        cs.Network("9-10-4avg", SRM)
    with pytest.raises(ValueError, match=r"Network: '5' in '9-5' has neurons with dt 0.5, the network's 1"):
        cs.Network([Word("9"), Word("5", neuron=replace(SRM, dt=0.5))], SRM)
    with pytest.raises(ValueError, match="Average: x must have a multiple of 2 channels, got 3"):
        Average(2)(np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match=r"Average: x must be \(T, N, C\), got shape \(1, 1\)"):
        Average(2)(np.zeros((1, 1)))
    with pytest.raises(ValueError, match="Average: groups must be at least 1, got 0"):
        Average(0)


@pytest.mark.parametrize("neuron", [cs.SRM(theta=3.0, gradient="exact"), cs.Loihi(v_decay=7, first_bin=False)])
def test_constants_of_neurons_round_trip(neuron):
    assert make_neuron("net: neuron.", neuron_constants(neuron), 1.0) == neuron


def test_errors_of_neurons():
    with pytest.raises(
        TypeError,
        match=r"neuron must be of a named kind \(ALIF, CUBA, LIF, LOIHI, RESONATE, SIGMADELTA, SRMALPHA\), got int",
    ):
        neuron_constants(3)
    with pytest.raises(
        ValueError,
        match=r"^net: neuron\.type must be one of SRMALPHA, SIGMADELTA, RESONATE, .*, got 'LOHI'; did you mean LO",
    ):
        make_neuron("net: neuron.", {"type": "LOHI"}, 1.0)
    with pytest.raises(ValueError, match=r"^net: neuron\.vThMent is an unknown key; did you mean vThMant"):
        make_neuron("net: neuron.", {**LOIHI, "vThMent": 3}, 1.0)


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


def test_a_delay_has_one_value_per_channel():
    net = cs.Network([Word("5x4x2"), Word("3c3", delay=True), Word("6")], SRM)
    assert kinds(net) == ["Conv", "SRM", "Delay", "Dense", "SRM"]
    assert net[2].features == (3,)
    assert net(np.zeros((4, 2, 5, 4, 2), bool)).shape == (4, 2, 6)


def test_words_may_have_spaces_between_them():
    assert read_words("5x4x2 - 3c3 -6") == read_words("5x4x2-3c3-6")


def test_the_average_of_frames_is_over_channels():
    """Rows need not be a multiple of the groups."""
    net = cs.Network("5x4x2-6c3-3avg", SRM)
    assert net(np.zeros((4, 2, 5, 4, 2), bool)).shape == (4, 2, 3)
    with pytest.raises(ValueError, match="Network: '3avg' in '6x6x2-4c3-3avg' needs a multiple of 3 channels"):
        cs.Network("6x6x2-4c3-3avg", SRM)


def test_max_delay_of_a_word_overrides_the_neurons():
    words = [Word("4"), Word("3", delay=True, max_delay=5.0), Word("2", delay=True)]
    delays = [layer.max_delay for layer in cs.Network(words, cs.Loihi()).layers if isinstance(layer, cs.Delay)]
    assert delays == [5.0, 62.0]
