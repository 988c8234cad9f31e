"""The cross-entropy of a read-out, for one class or several labels; the decisions that go with it."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import binary_cross_entropy, cross_entropy
from cuslayer.loss.base import OVER, over_time
from cuslayer.training import Trainer
from tests.support.refused import refuses

RNG = np.random.default_rng(8)
Y = RNG.standard_normal((7, 4, 3))


def log_softmax(z):
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def test_decisions_over_time():
    y = np.array([[[9.0, 0.0, 1.0]], [[0.0, 5.0, 4.0]], [[0.0, 5.0, 6.0]]])
    assert [cs.classify(y, over=over).item() for over in OVER] == [2, 2, 0, 2, 2]
    assert cs.loss.running_decision(y, over="max").ravel().tolist() == [0, 0, 0]
    assert cs.loss.running_decision(y, over="last").ravel().tolist() == [0, 1, 2]
    assert cs.loss.running_decision(y).ravel().tolist() == [0, 0, 2]
    assert cs.loss.decision_time(y, [2], over="last").tolist() == [2.0]
    assert cs.loss.decision_time(y, [0], over="max").tolist() == [0.0]


@pytest.mark.parametrize("over", OVER)
def test_a_confidence_is_the_softmax_of_the_decision(over):
    z = over_time(Y, over)
    np.testing.assert_allclose(cs.loss.confidence(Y, over=over), np.exp(log_softmax(z)).max(axis=1))
    assert cs.loss.confidence(1e4 * Y, over=over).tolist() == [1.0] * 4


def test_errors_of_decisions():
    for name in ("classify", "confidence"):
        with pytest.raises(ValueError, match=rf"^{name}: spikes must have a step for over='max', got T = 0"):
            getattr(cs.loss, name)(Y[:0], over="max")
    with refuses("running_decision: width must be None for over='max'"):
        cs.loss.running_decision(Y, over="max", width=3)
    assert cs.classify(Y[:0]).tolist() == [0] * 4


def test_large_numbers_have_finite_losses():
    z, chosen = np.array([1e4, -1e4, 0.0]), np.array([False, True, True])
    given = cs.Tensor(z, requires_grad=True)
    error = binary_cross_entropy(given, chosen=chosen)
    error.backward()
    assert error.item() == pytest.approx(2e4 + np.log(2))
    assert given.grad.tolist() == [1.0, -1.0, -0.5]
    assert cs.gradcheck(lambda z: binary_cross_entropy(z, chosen=chosen), np.array([0.3, -2.0, 1.0])) < 1e-6


def task():
    """Return recordings of four classes: a quarter of the neurons fires more."""
    rng, labels = np.random.default_rng(1), np.arange(24) % 4
    x = rng.random((40, 24, 20)) < 0.03
    for sample, label in enumerate(labels):
        x[:, sample, 5 * label : 5 * label + 5] |= rng.random((40, 5)) < 0.25
    return x, labels


@pytest.mark.parametrize("over", ["max", "mean", "last", "every"])
def test_a_network_with_a_read_out_learns(over):
    cs.seed(2)
    x, labels = task()
    net = cs.Network("20-24-4out", cs.SRM())
    trainer = Trainer(net, cs.CrossEntropyLoss(over), cs.Adam(net.parameters(), 0.03))
    first = trainer.train([(x, labels)])
    for _ in range(30):
        trainer.train([(x, labels)])
    score = trainer.test([(x, labels)])
    assert score.accuracy > 0.9
    assert score.loss < first.loss / 3
    assert (cs.classify(net(x), over=over) == labels).mean() == score.accuracy
    assert trainer.calibration is not None
    assert trainer.calibration.layers[0].scaled


@pytest.mark.parametrize("margin", [17.0, 40.0, 80.0])
def test_a_sample_that_is_nearly_certain_has_a_loss_and_a_gradient(margin):
    """1 - p is exp(-margin), which float32 would round to 0 beside 1."""
    small = np.exp(-margin)
    z = cs.Tensor(np.array([[margin, -margin]], np.float32), requires_grad=True)
    error = binary_cross_entropy(z, chosen=np.array([[True, False]]))
    error.backward()
    assert error.item() == pytest.approx(2 * small, rel=1e-5)
    assert z.grad is not None
    assert z.grad.ravel().tolist() == pytest.approx([-small, small], rel=1e-5)
    for counts, probability in ((np.array([[margin, 0.0, -5.0]]), "softmax"), (np.array([[1e9, 0.0, 0.0]]), "ratio")):
        c = cs.Tensor(counts.astype(np.float32), requires_grad=True)
        error = cross_entropy(c, chosen=np.array([[True, False, False]]), probability=probability)
        error.backward()
        others = small * (1 + np.exp(-5.0)) if probability == "softmax" else 2e-9
        assert error.item() == pytest.approx(others, rel=1e-5)
        slope = others if probability == "softmax" else others / 1e9
        assert c.grad is not None
        assert c.grad[0, 0] == pytest.approx(-slope, rel=1e-5)
    for operation, far in ((cs.sigmoid, small), (cs.tanh, 4 * np.exp(-2 * 0.5 * margin))):
        x = cs.Tensor(np.array([margin, -margin], np.float32) * (1.0 if operation is cs.sigmoid else 0.5))
        x.requires_grad = True
        operation(x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == pytest.approx([far, far], rel=1e-5)
