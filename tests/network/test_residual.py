"""Blocks with a skip connection: their joins, gradients, shapes, notation, and what else a network of them can do."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.network import Word
from cuslayer.network.join import gate
from tests.support.branches import SRM, conv, spikes

LIF = cs.LIF(theta=1.0)


def stages(neuron=SRM):
    return conv(2, 2), neuron, conv(2, 2), neuron


@pytest.mark.parametrize(
    ("how", "combined"), [("add", lambda f, x: f + 1.0 * x), ("and", np.logical_and), ("iand", lambda f, x: x & ~f)]
)
def test_a_block_joins_its_input(how, combined):
    cs.seed(3)
    block, x = cs.Residual(*stages(), join=how), spikes(6, 5, 2)
    f = cs.Sequential(*block.layers)(x).data
    assert f.any()
    y = block(x)
    np.testing.assert_array_equal(y.data, combined(f, x))
    assert y.dtype == (np.float32 if how == "add" else bool)
    assert block.output_shape((6, 5, 2)) == (6, 5, 2)
    assert [node.address for node in cs.Sequential(block).graph.nodes] == [*((0, 0, i) for i in range(4)), 0]


@pytest.mark.parametrize("how", ["and", "iand"])
@pytest.mark.parametrize("shape", [(4, 2, 3), (0, 2, 3), (1, 1, 1), (2, 2, 0)])
def test_the_gradient_of_a_gate(how, shape):
    rng = np.random.default_rng(3)
    assert cs.gradcheck(lambda *xs: gate(*xs, how=how), *(rng.standard_normal(shape) for _ in range(2))) < 1e-6
    f, x = (cs.Tensor(rng.random(shape) < 0.5, requires_grad=True) for _ in range(2))
    g = rng.standard_normal(shape).astype(np.float32)
    gate(f, x, how=how).backward(g)
    np.testing.assert_array_equal(f.grad, g * x.data * (1 if how == "and" else -1))
    np.testing.assert_array_equal(x.grad, g * (f.data if how == "and" else ~f.data))


def test_what_passes_by_may_be_a_sum_of_weighted_inputs():
    cs.seed(1)
    block = cs.Residual(LIF, conv(2, 2), LIF, conv(2, 2))
    x = np.random.default_rng(0).standard_normal((5, 2, 4, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(block(x).data, cs.Sequential(*block.layers)(x).data + x)


WORDS = (
    Word("6x5x2"),
    Word("4b3", norm="rms", join="iand", dropout=0.1),
    Word("6b3", stride=2, norm="std", bias=True),
    Word("6b5"),
    Word("3"),
)


def test_words_of_blocks():
    net = cs.Network(WORDS, LIF)
    first, _, second, third = net.layers[:4]
    assert (first.join, second.join, third.join) == ("iand", "add", "add")
    norm = first.layers[1]
    assert (norm.center, norm.height, norm.offset, norm.gain.shape) == (False, LIF.theta, None, (4,))
    assert first.shortcut[0].kernel_size == second.shortcut[0].kernel_size == (1, 1)
    assert (second.layers[0].stride, second.layers[3].stride, second.shortcut[0].stride) == ((2, 2), (1, 1), (2, 2))
    assert third.shortcut is None
    assert third.layers[0].kernel_size == (5, 5)
    assert net.output_shape((6, 5, 2)) == (3,)
    assert [type(stage).__name__ for stage in cs.Network([Word("4x4x1"), Word("2b3")], cs.Loihi())[0].layers].count(
        "Shift"
    ) == 2


def test_a_network_of_blocks_trains_is_saved_and_runs_step_by_step(tmp_path):
    cs.seed(5)
    net = cs.Network(WORDS, LIF)
    x, y = spikes(6, 5, 2, samples=6), np.arange(6) % 3
    loss = cs.SpikeCountLoss(LIF, true=10, false=2)
    trainer = cs.training.Trainer(net, loss, cs.Adam(net.parameters(), lr=0.02))
    scores = [trainer.train([(x, y)]).loss for _ in range(6)]
    assert scores[-1] < scores[0]
    net.eval()
    whole = net(x).data
    cs.save(net, tmp_path / "net.npz")
    np.testing.assert_array_equal(cs.load(tmp_path / "net.npz")(x).data, whole)
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(part).data for part in np.split(x, [3, 4, 11])]), whole)
    with cs.record(net) as recorded:
        net(x)
    assert recorded[(0, 0, 4)].potential.shape == (25, 6, 6, 5, 4)
    cs.diagnose(net, [(x, y)], loss=loss)


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("Residual: layers must be at least one, got none", lambda: cs.Residual()),
        ("Word: '4b3' is a block word, which takes no padding, got 1", lambda: Word("4b3", padding=1)),
        (
            "Parallel: branches must be two for 'and', got 3",
            lambda: cs.Parallel(*[cs.Sequential()] * 3, join="and")(spikes(2)),
        ),
        (
            "Parallel: branches must have one shape for iand, branch 0 has (3,), branch 1 has (2,)",
            lambda: cs.Sequential(cs.Residual(cs.Dense(2, 3), LIF, join="iand"), cs.Dense(3, 2)).output_shape((2,)),
        ),
    ],
)
def test_what_is_refused(message, make):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
