"""The loss of spike counts as SLAYER-PyTorch computes it, in its units; its piecewise form; the scale of counts."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from tests.support import reference
from tests.support.refused import refuses

RNG = np.random.default_rng(31)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize(
    ("dt", "steps", "window", "scale"),
    [
        (0.1, 60, (1.0, 4.0), 1.0),
        (0.5, 50, (7.5, 25.0), 1.0),
        (1.0, 40, (10, 40), 3.0),
        (1.0, 40, (39, 40), 1.0),
        (2.0, 30, (14, 36), 0.25),
    ],
)
def test_as_slayer_pytorch(dt, steps, window, scale, dtype, tolerance):
    """With spikes of height 1/Ts on the axes N, C, H, W, T, for windows that do not begin at 0."""
    srm = cs.SRM(tau_sr=6.0 * dt, dt=dt)
    s = RNG.random((steps, 3, 4)) < 0.3
    labels = np.array([2, 0, 3])
    first, last = (round(edge / dt) for edge in window)
    desired = np.where(labels[:, None] == np.arange(4), 9.0, 2.0)[:, :, None, None]
    theirs = cs.interchange.to_nchwt(s, dt=dt).astype(np.float64)
    eps = reference.alpha(1.0, srm.tau_sr, dt, srm.cutoff, 500)
    expected, gradient, error = reference.slayer_num_spikes(theirs, desired, first, last, eps, dt, scale)
    loss = cs.SpikeCountLoss(srm, true=9, false=2, window=window, count_scale=scale)
    t = cs.Tensor(s.astype(dtype), requires_grad=True)
    value = loss(t, labels)
    value.backward()
    assert abs(error[..., first:last] - error[..., first : first + 1]).max() > 0.1 or last - first == 1
    assert value.item() == pytest.approx(expected, rel=tolerance)
    # A unit spike stands for a height of 1/Ts over a bin of Ts, so that its gradient is 1/Ts times theirs.
    ours = cs.interchange.to_nchwt(t.grad.astype(np.float64)) * dt
    np.testing.assert_allclose(ours, gradient, rtol=0, atol=tolerance * np.abs(gradient).max())


def test_a_long_response_in_float32():
    srm = cs.SRM(tau_sr=30.0, dt=0.1)
    s, labels = RNG.random((500, 2, 3)) < 0.02, [0, 2]
    loss = cs.SpikeCountLoss(srm, window=(15, 50))
    assert loss(s, labels).item() == pytest.approx(loss(s.astype(np.float64), labels).item(), rel=5e-7)


def test_empty_batches():
    for shape in ((10, 0, 3), (10, 2, 0)):
        s, desired = np.zeros(shape, bool), np.zeros(shape[1:])
        response = cs.SRM().filter
        assert functions.spike_count_error(s, desired=desired, window=(2, 8), response=response).item() == 0.0


def test_a_count_that_is_not_given_may_be_more_than_a_short_input_has_steps():
    """It is SLAYER-PyTorch's for 300 steps; one that is given must fit."""
    silent = np.zeros((20, 1, 2), bool)
    assert cs.SpikeCountLoss(cs.SRM())(silent, [1]).item() > 0
    with refuses("SpikeCountLoss: true must be at most 20, a spike in each step of the input"):
        cs.SpikeCountLoss(cs.SRM(), true=60)(silent, [1])
