"""The losses against their formulas, the decision, and the known error of a recording."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

RNG = np.random.default_rng(9)


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


def test_count_is_reassigned_to_every_bin():
    """A wrong count gives gradients of one sign in all bins, also without a spike and outside the region."""
    srm = cs.SRM()
    t = cs.Tensor(np.zeros((40, 1, 1)), requires_grad=True)
    cs.SpikeCountLoss(srm, true=5, false=0, region=(20, 40))(t, [0]).backward()
    assert (t.grad[:39] < 0).all()
    assert t.grad[39] == 0  # eps[0] = 0: a spike in the last bin changes no later potential


def test_spike_time():
    srm = cs.SRM(tau_sr=3.0, dt=0.5)
    s, target = RNG.random((2, 40, 2, 5)) < 0.2
    error = reference.psp(s.astype(float) - target, srm.response)
    t = cs.Tensor(s, requires_grad=True)
    value = cs.SpikeTimeLoss(srm)(t, target)
    assert value.item() == pytest.approx(0.5 * (error**2).sum() * 0.5, rel=1e-5)
    value.backward()
    np.testing.assert_allclose(t.grad, 0.5 * reference.psp_adjoint(error, srm.response), atol=1e-5)


def test_gradient_of_spike_time():
    loss, target = cs.SpikeTimeLoss(cs.SRM()), RNG.random((30, 2, 3)) < 0.2
    assert cs.gradcheck(lambda s: loss(s, target), RNG.random((30, 2, 3))) < 1e-6
    assert cs.gradcheck(loss, RNG.random((30, 2, 3)), RNG.random((30, 2, 3))) < 1e-6


def test_gradient_of_spike_count_outside_the_region():
    """Outside the region the gradient is the derivative; inside, the count is not differentiated by design."""
    srm = cs.SRM()
    kept = RNG.random((30, 1, 2))

    def outside(s):
        inside = np.zeros((30, 1, 1))
        inside[:10] = 1
        return cs.SpikeCountLoss(srm, true=0, false=0, region=(29, 30))(s * (1 - inside) + kept * inside, [0])

    t = cs.Tensor(kept, requires_grad=True)
    outside(t).backward()
    # The region is the last bin, where the response to its own spike is 0: the rest is differentiable.
    assert t.grad.shape == kept.shape
    error = reference.psp(np.concatenate([kept[:29], np.zeros((1, 1, 2))]), srm.response)
    error[29] += kept[29]
    np.testing.assert_allclose(t.grad[10:], reference.psp_adjoint(error, srm.response)[10:], atol=1e-10)


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


def test_types():
    s, labels = RNG.random((10, 2, 3)), [0, 1]
    loss = cs.SpikeCountLoss(cs.SRM(), true=3, false=1)
    assert loss(s, labels).dtype == np.float64
    assert loss(s.astype(np.float32), labels).dtype == np.float32
    assert loss(s > 0.5, labels).dtype == np.float32


def test_errors():
    srm, s = cs.SRM(dt=0.5), np.zeros((10, 2, 3), bool)
    loss = cs.SpikeCountLoss(srm)
    with pytest.raises(ValueError, match="SpikeCountLoss: label 3 of sample 1 is none of 3 classes"):
        loss(s, [0, 3])
    with pytest.raises(ValueError, match="SpikeCountLoss: label -1 of sample 0 is none of 3 classes"):
        loss(s, [-1, 0])
    with pytest.raises(ValueError, match=r"labels have shape \(3,\), spikes \('T', 2, 3\) expect \(2,\) or \(2, 3\)"):
        loss(s, [0, 1, 2])
    with pytest.raises(TypeError, match="SpikeCountLoss: labels must be integers, got float64"):
        loss(s, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"labels \(N, classes\) must hold one 1 a sample and 0 elsewhere"):
        loss(s, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"SpikeCountLoss: spikes must be \(T, N, C\), got shape \(10, 2\)"):
        loss(s[..., 0], [0, 1])
    with pytest.raises(ValueError, match="SpikeCountLoss: region reaches to 6 ms, the spikes end at 5 ms"):
        cs.SpikeCountLoss(srm, region=(0, 6))(s, [0, 1])
    with pytest.raises(ValueError, match=r"SpikeCountLoss: region must hold a step of 0\.5 ms, got 3 to 3 ms"):
        cs.SpikeCountLoss(srm, region=(3, 3))
    with pytest.raises(ValueError, match="SpikeCountLoss: region must not be negative, got -1"):
        cs.SpikeCountLoss(srm, region=(-1, 3))
    with pytest.raises(ValueError, match=r"SpikeCountLoss: region must be \(start, stop\) in ms, got 5"):
        cs.SpikeCountLoss(srm, region=5)
    for name in ("true", "false"):
        with pytest.raises(ValueError, match=f"SpikeCountLoss: {name} must not be negative, got -1"):
            cs.SpikeCountLoss(srm, **{name: -1})
    with pytest.raises(TypeError, match="SpikeCountLoss: neuron must be a neuron, got int"):
        cs.SpikeCountLoss(3)
    with pytest.raises(TypeError, match="SpikeTimeLoss: neuron must be a neuron, got NoneType"):
        cs.SpikeTimeLoss(None)
    with pytest.raises(
        ValueError, match=r"SpikeTimeLoss: spikes has shape \(10, 2, 3\), target has shape \(10, 2, 1\)"
    ):
        cs.SpikeTimeLoss(srm)(s, s[..., :1])
    with pytest.raises(ValueError, match=r"classify: spikes must be \(T, N, classes\), got shape \(10, 2, 0\)"):
        cs.classify(s[..., :0])
    filt = srm.filter
    with pytest.raises(ValueError, match=r"spike_time_error: s has shape \(10, 2, 3\), target has shape \(10, 2, 1\)"):
        functions.spike_time_error(s, s[..., :1], response=filt)
    with pytest.raises(ValueError, match=r"spike_time_error: s must be \(T, N, ...\), got shape \(10,\)"):
        functions.spike_time_error(s[:, 0, 0], s[:, 0, 0], response=filt)
    with pytest.raises(ValueError, match="spike_count_error: region must lie within 0 and 10 steps, got 0 to 11"):
        functions.spike_count_error(s, desired=np.ones((2, 3)), region=(0, 11), response=filt)
    with pytest.raises(ValueError, match=r"spike_count_error: desired has shape \(3,\), s expects \(2, 3\)"):
        functions.spike_count_error(s, desired=np.ones(3), region=(0, 5), response=filt)
    with pytest.raises(ValueError, match=r"spike_count_error: s must be \(T, N, C\), got shape \(10, 2\)"):
        functions.spike_count_error(s[..., 0], desired=np.ones(2), region=(0, 5), response=filt)
