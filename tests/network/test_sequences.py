"""Recordings of different lengths in one batch, labels at each step, and numbers as targets."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays
from cuslayer.network.stream import Stream
from cuslayer.training import Trainer

LENGTHS = np.array([20, 7, 13, 20, 6])
LABELS = np.array([0, 1, 2, 0, 1])
RNG = np.random.default_rng(0)
X = RNG.random((20, 5, 6)) < 0.4  # spikes after the ends, too: they must not count
AT_STEPS = RNG.integers(-1, 3, (20, 5))
SRM = cs.SRM()
LOSSES = [
    (cs.SpikeCountLoss(SRM, true=5, false=1), LABELS),
    (cs.CrossEntropyLoss("every"), AT_STEPS),
]


def network(*, read_out: bool = False, norm: bool = False) -> cs.Sequential:
    cs.seed(0)
    end = cs.ReadOut(8, 3, tau=5.0) if read_out else cs.Sequential(cs.Dense(8, 3, weight_scale=40.0), SRM)
    between = [cs.BatchNorm(8, height=10.0)] if norm else []
    return cs.Sequential(cs.Dense(6, 8, weight_scale=40.0), *between, cs.Recurrent(cs.Dense(8, 8), cs.LIF()), end)


def gradients(net: cs.Sequential) -> list[np.ndarray]:
    found = [p.grad.copy() for p in net.parameters() if p.requires_grad]
    for p in net.parameters():
        p.grad = None
    return found


def part(target: np.ndarray, i: int) -> np.ndarray:
    return target[: LENGTHS[i], i : i + 1] if target.shape[:2] == (20, 5) else target[i : i + 1]


@pytest.mark.parametrize(("loss", "target"), LOSSES, ids=lambda value: type(value).__name__)
def test_a_recording_counts_as_if_it_were_alone(loss, target):
    net = network(read_out=isinstance(loss, (cs.CrossEntropyLoss, cs.MeanSquaredErrorLoss)))
    y = net(cs.Tensor(X, lengths=LENGTHS))
    together = loss(y, target)
    together.backward()
    found, total, sums = gradients(net), 0.0, 0.0
    for i, length in enumerate(LENGTHS):
        alone = net(X[:length, i : i + 1])
        assert np.array_equal(alone.data[:, 0], y.data[:length, i])
        assert not y.data[length:, i].any()
        value = loss(alone, part(target, i))
        value.backward()
        total += value.item()
        sums = [a + b for a, b in zip(sums or [0.0] * len(found), gradients(net), strict=False)]
    assert together.item() == pytest.approx(total, rel=1e-5)
    for g, expected in zip(found, sums, strict=True):
        assert np.abs(g - expected).max() <= 1e-5 * np.abs(expected).max() > 0


@pytest.mark.parametrize("over", ["sum", "mean", "max", "last"])
def test_decisions_and_scores(over):
    net = network(read_out=True)
    y = net(cs.Tensor(X, lengths=LENGTHS))
    alone = [net(X[:length, i : i + 1]) for i, length in enumerate(LENGTHS)]
    decided = cs.classify(y, over=over)
    assert decided.tolist() == [int(cs.classify(each, over=over)[0]) for each in alone]
    assert cs.loss.confidence(y, over=over) == pytest.approx(
        [float(cs.loss.confidence(each, over=over)[0]) for each in alone]
    )
    times = cs.loss.decision_time(y, LABELS, over=over)
    assert times.tolist() == [
        float(cs.loss.decision_time(e, LABELS[i : i + 1], over=over)[0]) for i, e in enumerate(alone)
    ]
    trainer = Trainer(net, cs.CrossEntropyLoss(over), cs.Adam(net.parameters()), calibrate=None)
    score = trainer.test([(cs.Tensor(X, lengths=LENGTHS), LABELS)])
    assert score.accuracy == pytest.approx(np.mean(decided == LABELS))


def test_batch_norm_takes_own_steps_only():
    kept = np.arange(20)[:, None] < LENGTHS
    x = RNG.normal(size=(20, 5, 4))
    norm, flat = cs.BatchNorm(4, trained=True), cs.BatchNorm(4, trained=True)
    padded, one = cs.Tensor(x, requires_grad=True, lengths=LENGTHS), cs.Tensor(x[kept][:, None], requires_grad=True)
    g = RNG.normal(size=x.shape)
    norm(padded).backward(np.where(kept[..., None], g, 0.0))
    y = flat(one)
    y.backward(g[kept][:, None])
    assert np.array_equal(norm(padded).data[kept], flat(one).data[:, 0])
    assert np.array_equal(padded.grad[kept], one.grad[:, 0])
    assert not padded.grad[~kept].any()
    assert np.array_equal(norm.gain.grad, flat.gain.grad)
    for a, b in ((norm.mean, flat.mean), (norm.var, flat.var)):
        assert np.array_equal(a.data, b.data)


def test_calibration_and_health_count_own_steps():
    x = np.concatenate([X, np.zeros((60, 5, 6), bool)])  # silence after the ends would lower a rate fourfold
    rates = []
    for given in (X, cs.Tensor(x, lengths=np.full(5, 20))):
        net = network(norm=True)
        found = cs.calibrate(net, [given], rate=100.0)
        rates.append([(row.rate, row.factor) for row in found.layers])
        health = cs.diagnose(net, [(given, LABELS)], loss=cs.loss.SpikeRateLoss(SRM))
        rates[-1] += [(layer.rate, layer.distance) for layer in health.layers]
    assert np.array(rates[0]) == pytest.approx(np.array(rates[1]), rel=1e-6)
    # Of the first samples, over batches: their own lengths, which the others have not.
    halves = [cs.Tensor(X[:, at], lengths=LENGTHS[at]) for at in (slice(2), slice(2, 5))]
    found = [
        [(row.rate, row.factor) for row in cs.calibrate(network(), batches, rate=100.0, samples=3).layers]
        for batches in ([cs.Tensor(X, lengths=LENGTHS)], halves, [cs.Tensor(X[:, :3], lengths=LENGTHS[:3])])
    ]
    assert found[0] == found[1] == found[2]


def test_a_stream_ends_each_recording():
    net = network()
    stream, y = net.stream(LENGTHS), net(cs.Tensor(X, lengths=LENGTHS)).data
    assert isinstance(stream, Stream)
    assert np.array_equal(np.concatenate([stream(X[:6]), stream(X[6:7]), stream(X[7:])]), y)
    x = np.ones((20, 5, 2), bool)
    for cuts in ([], [4], [6, 7], [1, 13, 19]):
        passing = cs.Sequential().stream(LENGTHS)
        passed = np.concatenate([passing(part) for part in np.split(x, cuts)])
        assert np.array_equal(passed, np.repeat((np.arange(20)[:, None] < LENGTHS)[..., None], 2, axis=2))
    assert x.all()  # an output that is the input itself is not written to


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y: cs.Tensor(X, lengths=[20, 7]), "lengths must be one for each recording"),
        (lambda y: cs.Tensor(X, lengths=[0] * 5), "lengths must be from 1 to 20, the steps of x, got 0"),
        (lambda y: cs.CrossEntropyLoss("max")(y, AT_STEPS), "need over='every'"),
        (lambda y: cs.CrossEntropyLoss("every")(y, AT_STEPS + 1), "is none of 3 classes, nor -1"),
        (lambda y: cs.CrossEntropyLoss("max", window=(6.0, 20.0))(y, LABELS), "recording 4 ends after 6 steps"),
        (lambda y: cs.CrossEntropyLoss(weights=[1, 2])(y, LABELS), "weights must be one for each of 3 classes, got 2"),
        (lambda y: cs.MeanSquaredErrorLoss()(y, X), r"target has shape \(20, 5, 6\)"),
        (lambda y: Arrays([X[:, 0], X[:9, 1]], [[0] * 20, [1] * 8]), r"y\[1\] must have a label for each step"),
        (lambda y: cs.Sequential(cs.layers.Decimate(2))(cs.Tensor(X, lengths=LENGTHS)), "keep the number of steps"),
    ],
)
def test_errors_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call(network(read_out=True)(cs.Tensor(X, lengths=LENGTHS)))
