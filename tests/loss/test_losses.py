"""The losses against their formulas, the decision, and the known error of a recording."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays
from tests.support import reference
from tests.support.lif import LIF, Lookalike

RNG = np.random.default_rng(9)
NEURONS = [LIF(dt=0.5), Lookalike()]


@pytest.mark.parametrize("region", [None, (0, 30), (5, 25), (0, 1), (29, 30)])
@pytest.mark.parametrize("dt", [1.0, 0.5])
@pytest.mark.parametrize("piecewise", [False, True])
def test_spike_count(region, dt, piecewise):
    srm = cs.SRM(tau_sr=4.0, dt=dt)
    s = RNG.random((30, 4, 3)) < 0.3
    labels = np.array([0, 2, 1, 2])
    steps = region and tuple(dt * edge for edge in region)
    first, last = region or (0, 30)
    true, false = min(7, last - first), min(2, last - first)
    loss = cs.SpikeCountLoss(srm, true, false, region=steps, piecewise=piecewise)

    error = np.zeros(s.shape)
    outside = s.astype(float)
    outside[first:last] = 0
    error[:] = reference.psp(outside, srm.response)
    desired = np.where(labels[:, None] == np.arange(3), true, false)
    counts = (s[first:last].sum(axis=0) - desired) / (last - first)
    error[first:last] = counts if piecewise else error[first:last] + counts
    for labelled in (labels, labels.tolist(), np.eye(3)[labels], cs.Tensor(np.eye(3)[labels])):
        t = cs.Tensor(s, requires_grad=True)
        value = loss(t, labelled)
        assert value.shape == ()
        assert value.item() == pytest.approx(0.5 * (error**2).sum() * dt, rel=1e-5)
        value.backward()
        expected = reference.psp_adjoint(error, srm.response) * dt
        np.testing.assert_allclose(t.grad, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "neuron", [cs.SRM(tau_sr=3.0, dt=0.5), LIF(dt=0.5), Lookalike()], ids=lambda n: type(n).__name__
)
def test_spike_time(neuron):
    s, target = RNG.random((2, 40, 2, 5)) < 0.2
    error = reference.psp(s.astype(float) - target, neuron.response)
    t = cs.Tensor(s, requires_grad=True)
    value = cs.SpikeTimeLoss(neuron)(t, target)
    assert value.item() == pytest.approx(0.5 * neuron.dt * (error**2).sum(), rel=1e-5)
    value.backward()
    np.testing.assert_allclose(t.grad, neuron.dt * reference.psp_adjoint(error, neuron.response), atol=1e-5)


def test_gradient_of_spike_time():
    loss, target = cs.SpikeTimeLoss(cs.SRM()), RNG.random((30, 2, 3)) < 0.2
    assert cs.gradcheck(lambda s: loss(s, target), RNG.random((30, 2, 3))) < 1e-6
    assert cs.gradcheck(loss, RNG.random((30, 2, 3)), RNG.random((30, 2, 3))) < 1e-6


def test_oxford_with_a_silent_output(recordings):
    from cuslayer.data import read_events

    target = read_events(recordings / "oxford" / "output.bs1").to_spikes((200,), 1900, rounding="nearest")[:, None]
    value = cs.SpikeTimeLoss(cs.SRM())(np.zeros((1900, 1, 200), bool), target)
    assert round(value.item()) == 223_909


def test_classify():
    s = np.zeros((9, 3, 4), bool)
    s[:3, 0, 2] = s[:2, 0, 1] = True
    s[:4, 1, 3] = s[:4, 1, 0] = True
    found = cs.classify(cs.Tensor(s))
    assert found.tolist() == [2, 0, 0]
    assert found.dtype == np.int64
    assert cs.classify(np.zeros((5, 0, 2))).shape == (0,)


SPIKES = np.random.default_rng(0).random((20, 3, 4)) < 0.3
LOSSES = [cs.SpikeCountLoss(cs.SRM(), true=5, false=1), cs.SpikeRateLoss(cs.SRM())]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_whole_numbers_are_labels(loss):
    wanted = loss(SPIKES, np.array([2, 0, 3])).item()
    assert loss(SPIKES, cs.Tensor([2, 0, 3])).item() == wanted
    assert loss(SPIKES, cs.Tensor(np.eye(4)[[2, 0, 3]])).item() == wanted
    for wrong in (0.5, np.nan):
        with pytest.raises(TypeError, match=f"^{type(loss).__name__}: labels must be integers, got {wrong}$"):
            loss(SPIKES, cs.Tensor([2, wrong, 3]))
    with pytest.raises(ValueError, match="label 4 of sample 1 is none of 4 classes"):
        loss(SPIKES, cs.Tensor([2, 4, 3]))


def test_in_arrays():
    data = Arrays(SPIKES, cs.Tensor(np.arange(20)))
    assert data.labels.tolist() == list(range(20))
    with pytest.raises(TypeError, match=r"^Arrays: y must be integers from 0, got 0\.5$"):
        Arrays(SPIKES, cs.Tensor([0.5, *range(19)]))


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: type(n).__name__)
def test_the_error_of_counts_is_reassigned_by_the_neurons_response(neuron):
    s = RNG.random((20, 1, 2)) < 0.3
    loss = cs.SpikeCountLoss(neuron, true=5, false=1, region=(2, 8))
    assert loss.region == (4, 16)
    outside = s.astype(float)
    outside[4:16] = 0
    e = reference.psp(outside, neuron.response)
    e[4:16] += (s[4:16].sum(axis=0) - [[1, 5]]) / 12
    assert loss(s, [1]).item() == pytest.approx(0.25 * (e**2).sum(), rel=1e-5)


def test_a_temporal_filter_starts_as_the_response_of_a_user_written_neuron():
    for neuron in NEURONS:
        assert np.array_equal(cs.TemporalFilter(neuron).weight.data, neuron.response.astype(np.float32))
