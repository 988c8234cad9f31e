"""States that decay become 0 before they are subnormal, by the same rule on both devices."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import flushed_taps, least_state
from cuslayer.kernels.host.states import flushed
from cuslayer.kernels.scan.blocks import ENDLESS, forward_of
from cuslayer.kernels.scan.blocks import forward as forward_block
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.filters import Alpha
from cuslayer.kernels.step.kind import read_step
from cuslayer.neurons import SRM
from cuslayer.surrogates import EXPONENTIAL
from tests.kernels.test_twins import fire, fire_adjoint
from tools.emulator.driver import emulation

FLOATS = ("float32", "float64")
# (tau, dt); the first two lose more than a factor of 10 in a step.
FILTERS = [(0.2, 1.0), (0.2, 0.5), (1.0, 1.0), (1.0, 0.5), (10.0, 1.0), (10.0, 0.5)]
# float64 takes longer to fall to its bound.
STEPS = {"float32": 2_000, "float64": 14_000}


def srm_of(tau, dt, cutoff=0.01):
    # A narrow surrogate: gradients fall by many orders of magnitude at each neuron.
    return SRM(tau_sr=tau, tau_ref=tau, dt=dt, tau_rho=0.1, cutoff=cutoff, ref_cutoff=cutoff)


def ends_in_silence(columns, dtype, steps):
    """Return 50 steps of input before silence; the columns differ by up to 30 orders of magnitude."""
    x = np.zeros((steps, columns), dtype)
    x[:50] = np.random.default_rng(0).normal(100, 200, (50, columns)) * np.logspace(0, -30, columns)
    return x


def subnormal(x):
    return int(np.count_nonzero((x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)))


def forward(k, srm, x):
    """Return what the kernels of a device compute forward: bits are the same on all."""
    u, s = fire(k, x, srm.spiking)
    alone, fired = fire(k, x, srm.refracting)
    backward = np.ascontiguousarray(x[::-1])
    psp, psp_adjoint = srm.filter.apply(k, x), srm.filter.adjoint(k, backward)
    return {"u": u, "s": s, "alone": alone, "fired": fired, "psp": psp, "psp_adjoint": psp_adjoint}


def backward(k, srm, x, u):
    """Return the gradients of a loss that depends on the last 50 steps only."""
    g = x[::-1] * x.dtype.type(1e-8)
    return {gradient: fire_adjoint(k, g, u, srm.with_gradient(gradient).spiking) for gradient in ("slayer", "exact")}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("cutoff", [0.0, 0.01])
@pytest.mark.parametrize(("tau", "dt"), FILTERS)
def test_a_long_silence_has_no_subnormal_number(tau, dt, cutoff, dtype):
    srm, x = srm_of(tau, dt, cutoff), ends_in_silence(24, dtype, STEPS[dtype])
    found = forward(cpu, srm, x)
    assert found["s"][:60].any()
    assert {name: subnormal(y) for name, y in found.items() if y.dtype != bool} == dict.fromkeys(
        ("u", "alone", "psp", "psp_adjoint"), 0
    )
    gradients = backward(cpu, srm, x, found["u"])
    assert {name: subnormal(y) for name, y in gradients.items()} == dict.fromkeys(gradients, 0)
    assert not found["u"][-1].any()
    assert not gradients["slayer"][0].any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("tau", "dt"), FILTERS)
def test_both_devices_have_the_same_bits(tau, dt, dtype):
    """Whether the device replaces subnormal numbers by 0 or not."""
    srm, x = srm_of(tau, dt), ends_in_silence(5, dtype, 501)
    here = forward(cpu, srm, x)
    gradients = backward(cpu, srm, x, here["u"])
    runs = []
    for flush_to_zero in (False, True):
        with emulation(flush=flush_to_zero):
            runs.append(forward(gpu, srm, x) | backward(gpu, srm, x, here["u"]))
    for there in runs:
        assert {name for name, y in here.items() if y.tobytes() != there[name].tobytes()} == set()
        for name, y in gradients.items():
            # Up to the rounding of exp; where one is 0, the other is.
            assert np.abs(y - there[name]).max() <= 1e-6 * np.abs(y).max()
            # A state just above the bound on one device alone is replaced by 0 there at the next check, 8 steps later.
            assert np.count_nonzero((y == 0) != (there[name] == 0)) <= 8
            assert subnormal(there[name]) == 0
    assert {name for name, y in runs[0].items() if y.tobytes() != runs[1][name].tobytes()} == set()


def test_a_fused_pass_has_the_bits_of_separate_ones():
    """A pass in chunks of time knows the number of its step."""
    x = np.zeros((301, 2, 6, 6, 2), bool)
    x[:30] = np.random.default_rng(0).random((30, 2, 6, 6, 2)) < 0.3
    srm = srm_of(1.0, 1.0)
    conv = cs.Conv(2, 3, 3)
    net = cs.Sequential(conv, srm)
    with cs.record(net) as seen:
        spikes = net(x)
    u, s = fire(cpu, conv(x).data, srm.spiking)
    assert (s == spikes.data).all()
    assert seen[1].potential.tobytes() == u.tobytes()
    g = np.zeros(s.shape, np.float32)
    g[-20:] = np.random.default_rng(1).standard_normal(g[-20:].shape)
    spikes.backward(g)
    found = conv.weight.grad
    assert found is not None
    conv.weight.grad = None
    conv(x).backward(fire_adjoint(cpu, g, u, srm.spiking))
    assert found.tobytes() == conv.weight.grad.tobytes()


def holds(c, v, x):
    u = c.share * v + x
    return v, u


@pytest.mark.parametrize("dtype", FLOATS)
def test_small_states_are_flushed_at_every_eighth_step(dtype):
    real = np.dtype(dtype).type
    least = real(least_state(dtype))
    given = np.array([least, np.nextafter(least, real(0)), -least / 2, 0, np.nan, np.inf, -1], dtype)
    kept = np.array([least, 0, 0, 0, np.nan, np.inf, -1], dtype)

    def after(t, decay):
        kind = read_step("Holds", holds, ("v",), (), fading={"v": "share"})
        surrogate = {"theta": np.inf, "width": 1.0, "height": 0.0, "exact": False, "graded": False}
        spiking = StepSpiking(kind=kind, values=(decay,), shape=EXPONENTIAL.shape, **surrogate)
        block = forward_of(np.dtype(dtype), ENDLESS, np.empty((0, 1), dtype), spiking)
        states = given.copy()
        row = np.zeros((1, states.size), dtype)
        forward_block(t, t + 1, states, row, 0, row.copy(), 0, np.zeros((1, 0), np.uint8), 0, states.size, block)
        return states

    for t in (0, 8, 800):
        np.testing.assert_array_equal(after(t, 0.9), kept)
    for t in (1, 7, 9, 804):
        np.testing.assert_array_equal(after(t, 0.9), given)
        np.testing.assert_array_equal(after(t, 0.1), given)
        np.testing.assert_array_equal(after(t, 0.09), kept)
    assert [flushed(x) for x in (1e-300, -2.0)] == [0.0, -2.0]


@pytest.mark.parametrize("dtype", FLOATS)
def test_constants_that_make_subnormals_are_0(dtype):
    fast = Alpha(1.0, 0.01, 1.0, 0.0).recurrence(np.dtype(dtype), 100)
    assert (fast.decay, fast.gain > 0) == (0, True)
    late = Alpha(1.0, 1.0, 1.0, 1e-30).recurrence(np.dtype(dtype), 100)
    assert late.cut > 0
    assert (late.cut_p, late.cut_q) == (0, 0)
    usual = Alpha(1.0, 10.0, 1.0, 0.01).recurrence(np.dtype(dtype), 100)
    assert usual.decay == np.dtype(dtype).type(np.exp(-0.1))
    assert usual.cut_q == np.dtype(dtype).type(usual.cut * np.exp(-0.1) ** usual.cut)


@pytest.mark.parametrize(
    "run", [lambda k, x, h: k.filter_bank.fir(x, h), lambda k, x, h: k.filter_bank.fir_adjoint(x, h)]
)
def test_taps_under_the_bound_are_0(run):
    taps = np.array([0.5, 1e-40, -1e-30, 1e-19])
    assert flushed_taps(taps, np.float32).tolist() == [0.5, 0, 0, float(np.float32(1e-19))]
    assert flushed_taps(taps, np.float64).tolist() == taps.tolist()
    x = np.zeros((9, 3), np.float32)
    x[4] = 1
    here = run(cpu, x, taps)
    with emulation():
        there = run(gpu, x, taps)
    assert here.tobytes() == there.tobytes()
    assert np.count_nonzero(here) == 6


@pytest.mark.parametrize(("distance", "passes"), [(39.9, True), (40.1, False)])
def test_the_surrogate_ends_where_exp_does_on_both_devices(distance, passes):
    spiking = SRM(theta=1.0).spiking
    u = np.array([[1 + distance], [1 - distance]], np.float32)
    g = np.full_like(u, 1.0)
    with emulation():
        both = [k.sampled_srm.surrogate_adjoint(g, u, spiking) for k in (cpu, gpu)]
        exact = SRM(theta=1.0, gradient="exact").refracting
        both += [fire_adjoint(k, g, u, exact) for k in (cpu, gpu)]
    for y in both:
        assert (y != 0).all() == passes
        assert (y == 0).all() == (not passes)
    assert (cpu.sampled_srm.surrogate_adjoint(g.astype(float), u.astype(float), spiking) != 0).all()
