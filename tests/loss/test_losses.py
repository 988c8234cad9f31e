"""The losses against their formulas, and the decision."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions as f
from tests.support import reference
from tests.support.lif import LIF, Lookalike
from tests.support.refused import refused

RNG = np.random.default_rng(9)
NEURONS = [LIF(dt=0.5), Lookalike()]


@pytest.mark.parametrize("neuron", [cs.SRM(tau_sr=3, dt=0.5), LIF(dt=0.5), Lookalike()], ids=lambda n: type(n).__name__)
def test_spike_time(neuron):
    s, target = RNG.random((2, 40, 2, 5)) < 0.2
    error = reference.psp(s.astype(float) - target, neuron.response)
    t = cs.Tensor(s, requires_grad=True)
    value = cs.SpikeTimeLoss(neuron)(t, target)
    assert value.item() == pytest.approx(0.5 * neuron.dt * (error**2).sum(), rel=1e-5)
    value.backward()
    np.testing.assert_allclose(t.grad, neuron.dt * reference.psp_adjoint(error, neuron.response), atol=1e-5)


def test_padding_and_images():
    s, target, ends = *(RNG.random((2, 20, 2, 3)) < 0.3), [20, 8]
    padded, own = cs.Tensor(s, lengths=ends), (np.arange(20)[:, None] < ends)[:, :, None]
    under = np.maximum(0.5 - (s & own).sum(axis=(0, 1)) / 28, 0)
    assert cs.loss.RateRegularizer(500)(padded).item() == pytest.approx((under**2).sum(), rel=1e-5)
    found, alone = (cs.loss.van_rossum(*pair, tau=4.0) for pair in ((padded, target), (s & own, target & own)))
    np.testing.assert_array_equal(found, alone)
    y, wanted = RNG.random((9, 3, 2, 2, 1)), RNG.random((3, 2, 2, 1))  # targets without time, of four axes
    assert cs.MeanSquaredErrorLoss(window=(2, 5))(y, wanted).item() == pytest.approx(((y[2:5] - wanted) ** 2).sum() / 3)


def test_gradient_of_spike_time():
    assert cs.gradcheck(cs.SpikeTimeLoss(cs.SRM()), RNG.random((30, 2, 3)), RNG.random((30, 2, 3))) < 1e-6


def test_classify():
    s = np.zeros((9, 3, 4), bool)
    s[:3, 0, 2] = s[:2, 0, 1] = True
    s[:4, 1, 3] = s[:4, 1, 0] = True
    found = cs.classify(cs.Tensor(s))
    assert found.tolist() == [2, 0, 0]
    assert found.dtype == np.int64
    assert cs.classify(np.zeros((5, 0, 2))).shape == (0,)


SPIKES = np.random.default_rng(0).random((20, 3, 4)) < 0.3
LOSSES = [cs.SpikeCountLoss(cs.SRM(), true=5, false=1), cs.loss.SpikeRateLoss(cs.SRM())]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_whole_numbers_are_labels(loss):
    wanted = loss(SPIKES, np.array([2, 0, 3])).item()
    assert loss(SPIKES, cs.Tensor([2, 0, 3])).item() == wanted
    assert loss(SPIKES, [True, False, True]).item() == loss(SPIKES, [1, 0, 1]).item()
    assert loss(SPIKES, cs.Tensor(np.eye(4)[[2, 0, 3]])).item() == wanted
    for wrong in (0.5, np.nan):
        with pytest.raises(TypeError, match=f"^{type(loss).__name__}: labels must be integers, got {wrong}$"):
            loss(SPIKES, cs.Tensor([2, wrong, 3]))
    with pytest.raises(ValueError, match="label 4 of sample 1 is none of 4 classes"):
        loss(SPIKES, cs.Tensor([2, 4, 3]))


@pytest.mark.all
@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: type(n).__name__)
def test_the_error_of_counts_is_reassigned_by_the_neurons_response(neuron):
    s = RNG.random((20, 1, 2)) < 0.3
    loss = cs.SpikeCountLoss(neuron, true=5, false=1, window=(2, 8))
    assert loss.window == (2, 8)
    outside = s.astype(float)
    outside[4:16] = 0
    e = reference.psp(outside, neuron.response)
    e[4:16] += (s[4:16].sum(axis=0) - [[1, 5]]) / 12
    assert loss(s, [1]).item() == pytest.approx(0.25 * (e**2).sum(), rel=1e-5)


def test_a_temporal_filter_starts_as_the_response_of_a_user_written_neuron():
    for neuron in NEURONS:
        assert np.array_equal(cs.layers.TemporalFilter(neuron).weight.data, neuron.response.astype(np.float32))


# What losses and decisions refuse: one line with the operation, the argument, the rule and what came


SRM = cs.SRM(dt=0.5)
S, Y, COUNTS = np.zeros((10, 2, 3), bool), np.zeros((7, 4, 3)), np.zeros((2, 3))
FILTER = {"response": SRM.filter}
LABELS, MANY = [0, 2, 1, 1], np.zeros((4, 3), int)

REFUSED = {
    "ProbabilityWindowLoss: width must be at least a step of": lambda: cs.loss.ProbabilityWindowLoss(SRM, width=0.2),
    "cross_entropy: probability must be one of": lambda: f.cross_entropy(COUNTS, chosen=COUNTS > 0, probability="rate"),
    "cross_entropy: chosen has shape (3,), counts have shape (2": lambda: f.cross_entropy(COUNTS, chosen=COUNTS[0] > 0),
    "cross_entropy: counts must have a class": lambda: f.cross_entropy(COUNTS[:, :0], chosen=COUNTS[:, :0] > 0),
    "CrossEntropyLoss: window reaches to 9 ms": lambda: cs.CrossEntropyLoss(window=(0, 9))(Y, LABELS),
    "BinaryCrossEntropyLoss: labels must be (N, labels), (4, 3)": lambda: cs.BinaryCrossEntropyLoss()(Y, LABELS),
    "BinaryCrossEntropyLoss: labels must be 0 or 1, got 2": lambda: cs.BinaryCrossEntropyLoss()(Y, MANY + 2),
    "BinaryCrossEntropyLoss: output must be (T, N,": lambda: cs.BinaryCrossEntropyLoss().probabilities(Y[0]),
    "binary_cross_entropy: chosen has shape": lambda: f.binary_cross_entropy(Y, chosen=Y[0] > 0),
    "SpikeRateLoss: false must be at most a spike a step, 500 Hz,": lambda: cs.loss.SpikeRateLoss(
        cs.SRM(dt=2.0), false=501
    ),
    "SpikeRateLoss: true must be at least false": lambda: cs.loss.SpikeRateLoss(SRM, true=5, false=6),
    "RateRegularizer: high must be at least low, 50 Hz": lambda: cs.loss.RateRegularizer(50, 5),
    "RateRegularizer: spikes must have a step": lambda: cs.loss.RateRegularizer()(np.zeros((0, 3), bool)),
    "SpikeTimeLoss: spikes has shape (10, 2, 3), target has shape (10, 2": lambda: cs.SpikeTimeLoss(SRM)(S, S[..., :1]),
    "SpikeTimeLoss: target must be finite, got nan in it": lambda: cs.SpikeTimeLoss(SRM)(S, S * np.nan),
    "SpikeTimeLoss: target must be finite, got inf in it": lambda: cs.SpikeTimeLoss(SRM)(Y, cs.Tensor(Y + np.inf)),
    "MeanSquaredErrorLoss: target must be finite": lambda: cs.MeanSquaredErrorLoss()(Y, Y * np.nan),
    "BinaryCrossEntropyLoss: labels must be 0 or 1, got nan": lambda: cs.BinaryCrossEntropyLoss()(Y, MANY * np.nan),
    "CrossEntropyLoss: labels (T, N, classes) must be one-hot": lambda: cs.CrossEntropyLoss("every")(Y, Y * np.nan),
    "CrossEntropyLoss: labels (N, classes) must hold one 1": lambda: cs.CrossEntropyLoss()(Y, MANY * np.nan),
    "SpikeTimeLoss: target must be spike trains of shape": lambda: cs.SpikeTimeLoss(SRM)(S, [0, 1]),
    "spike_time_error: s must be (T, N, ...)": lambda: f.spike_time_error(S[:, 0, 0], S[:, 0, 0], **FILTER),
    "spike_count_error: window must": lambda: f.spike_count_error(S, desired=COUNTS, window=(0, 11), **FILTER),
    "spike_count_error: desired has": lambda: f.spike_count_error(S, desired=np.ones(3), window=(0, 5), **FILTER),
    "classify: spikes must be (T, N, classes)": lambda: cs.classify(S[..., :0]),
    "decision_time: labels must be (2,)": lambda: cs.loss.decision_time(S, [0, 1, 2]),
    "decision_time: label 3 of sample 1 is none of 3 classes": lambda: cs.loss.decision_time(S, [0, 3]),
    "van_rossum: a has shape (10, 2, 3), b has shape (10, 2, 1)": lambda: cs.loss.van_rossum(S, S[..., :1], tau=1.0),
    "SpikeTimeLoss: neuron must be a neuron": lambda: cs.SpikeTimeLoss(None),
    "CrossEntropyLoss: got an unexpected keyword argument 'weight'": lambda: cs.CrossEntropyLoss(weight=1),
    "CrossEntropyLoss: weights must be a list of a factor": lambda: cs.CrossEntropyLoss(weights={0: 1.0, 1: 6.0}),
    "decision_time: labels must be integers": lambda: cs.loss.decision_time(S, [0.0, 1.0]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_error(message):
    refused(message, REFUSED[message])
