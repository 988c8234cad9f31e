"""Tests of potentials saved as float16: their error, the error of the gradients, and equal spikes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import _tape as tape
from cuslayer import functions
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Pooling, Window
from tests.support.refused import refuses
from tools.emulator.driver import emulation

pytestmark = pytest.mark.all


def by_numbers(convert):
    """Convert so few numbers at a time that no vector is full."""
    return lambda x, *dtype: np.concatenate([convert(x[k : k + 7], *dtype) for k in range(0, x.size, 7)])


@pytest.fixture(params=["in vectors", "by numbers", "on a GPU", "on a GPU that flushes"])
def way(request):
    if request.param == "in vectors":
        yield cpu.float16
    elif request.param == "by numbers":
        yield SimpleNamespace(store=by_numbers(cpu.float16.store), load=by_numbers(cpu.float16.load))
    else:
        with emulation(flush=request.param.endswith("flushes")):
            yield gpu.float16


EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
EVERY = EVERY[np.isfinite(EVERY)]
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@both
def test_every_float16_and_what_lies_between(way, dtype):
    whole = way.load(EVERY, np.dtype(dtype))
    assert whole.tobytes() == EVERY.astype(dtype).tobytes()
    assert way.store(whole).tobytes() == EVERY.tobytes()
    middles = (whole[:-1] + whole[1:]) / 2
    middles = middles[np.abs(middles) < 65504]
    for x in (middles, np.nextafter(middles, dtype(np.inf)), np.nextafter(middles, dtype(-np.inf))):
        assert way.store(x).tobytes() == x.astype(np.float16).tobytes()


@both
def test_what_becomes_zero_keeps_its_sign(way, dtype):
    """Down to the least subnormal number, which a GPU flushes."""
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, tiny, 3 * tiny, np.finfo(dtype).tiny, 1e-40, 1e-30, 2.0**-25, 1e-8] * 3, dtype)
    for signed in (x, -x):
        half = way.store(signed)
        assert not half.any()
        assert half.tobytes() == signed.astype(np.float16).tobytes()


@both
def test_too_large_is_cut(way, dtype):
    large = [65504.0, 65519.0, 65520.0, 1e30, np.finfo(dtype).max]
    x = np.tile(np.array([*large, *(-one for one in large)], dtype), 4)
    assert way.store(x).tolist() == ([65504.0] * 5 + [-65504.0] * 5) * 4


@both
def test_what_is_not_finite_stays_so(way, dtype):
    x = np.tile(np.array([np.inf, -np.inf, np.nan], dtype), 9)
    half = way.store(x)
    assert half.reshape(9, 3)[:, :2].tolist() == [[np.inf, -np.inf]] * 9
    assert half.tobytes() == cpu.float16.store(x).tobytes()
    assert (np.abs(way.load(half, np.dtype(dtype))) == np.inf).all()


@both
def test_a_kernel_reads_every_float16(dtype):
    code = """extern "C" __global__ void read_float16(const float16 *half, real *x, long long count)
    {
        GRID_STRIDE(i, count) x[i] = from_float16(half[i]);
    }"""
    half, x = np.append(EVERY, np.float16([np.inf, -np.inf])), np.zeros(EVERY.size + 2, dtype)
    with emulation(flush=True):
        cs.kernel(code, "read_float16")(half.size, half=half, x=x, count=half.size)
    assert x.tobytes() == half.astype(dtype).tobytes()


def step(make, x, **options):
    cs.seed(2)
    net = make(**options)
    spikes = net(x)
    spikes.backward(np.random.default_rng(1).standard_normal(spikes.shape).astype(np.float32))
    return spikes.data, [p.grad for p in net.parameters()]


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
def test_spikes_are_the_same_and_gradients_near(gradient):
    srm = cs.SRM(gradient=gradient)
    cases = [
        (lambda **o: cs.Network("40-30-3", srm, **o), (60, 2, 40)),
        (lambda **o: cs.Network("8x8x2-4c3-2a-6c3-3", srm, **o), (60, 2, 8, 8, 2)),
        (lambda **o: cs.Sequential(cs.Dense(40, 6), srm.psp, srm.spike, **o), (60, 2, 40)),
    ]
    for make, shape in cases:
        x = np.random.default_rng(0).random(shape) < 0.2
        spikes, grads = step(make, x)
        half_spikes, half_grads = step(make, x, potentials="float16")
        assert spikes.any()
        assert (spikes == half_spikes).all()
        for full, half in zip(grads, half_grads, strict=True):
            error = np.linalg.norm(full - half) / np.linalg.norm(full)
            assert 0 < error < 2e-3


def test_the_surrogates_error():
    """The relative error is |u| / (2048 tau_rho theta), as documented for `potentials`."""
    srm = cs.SRM()
    u = np.linspace(-60, 60, 5001, dtype=np.float32)
    theta, steep, height = (float(v) for v in srm.spiking.surrogate(np.dtype(np.float64)))
    rho, half = (
        height * np.exp(-np.abs(v.astype(float) - theta) * steep)
        for v in (u, cpu.float16.load(cpu.float16.store(u), np.float32))
    )
    assert (np.abs(half - rho) <= 1.01 * rho * np.abs(u) * steep / 2048 + 1e-12).all()
    assert np.abs(half / rho - 1).max() > 1e-4


def recorded(potentials, **asked):
    """Run a pass of convolution and pooling and a dense layer, recorded, and return the network, input and record."""
    cs.seed(2)
    net = cs.Network("6x6x2-4c3-2a-5", cs.SRM(), potentials=potentials)
    x = np.random.default_rng(0).random((60, 2, 6, 6, 2)) < 0.2
    with cs.record(net, **asked) as seen:
        spikes = net(x)
    spikes.backward(np.random.default_rng(1).standard_normal(spikes.shape).astype(np.float32))
    return net, x, seen


@pytest.mark.parametrize("asked", [{"layers": None}, {"window": (0, 55)}, {"neurons": [0, 3, 4]}])
def test_recorded_errors_are_of_potentials_as_float16(asked):
    _, _, seen = recorded("float16", **asked)
    for at in (1, 3, 5):
        u = seen[at].potential.values
        assert u.dtype == np.float32
        half = u.astype(np.float16).astype(float)
        exact, rho = (np.exp(-abs(v - 10.0) / 10.0) / 10.0 for v in (u.astype(float), half))
        np.testing.assert_allclose(seen[at].potential_error, rho * seen[at].spikes_error, rtol=2e-6, atol=1e-12)
        assert abs(exact / rho - 1).max() > 1e-4


def test_recorded_errors_of_a_selection_equal_the_whole():
    """The error of a neuron in a map comes through pooled neurons, whose potentials are float16 too."""
    _, _, whole = recorded("float16", layers=None)
    _, _, part = recorded("float16", neurons={1: [0, 5, 77]})
    expected = whole[1].spikes_error.values.reshape(60, 2, -1)[..., [0, 5, 77]]
    np.testing.assert_allclose(part[1].spikes_error, expected, rtol=0, atol=2e-6 * abs(expected).max())


def test_nested_settings_are_restored():
    """The end of an inner block restores the setting and the observers of the outer one."""
    srm, x = cs.SRM(), cs.Tensor(np.ones((5, 1, 2), np.float32), requires_grad=True)
    outer, inner = [], []
    with tape.on_potential(lambda u: outer.append(u.values.dtype)):
        with tape.on_potential(lambda u: inner.append(u.values.dtype)):
            srm(x)
        srm(x)
    srm(x)
    assert (len(outer), len(inner)) == (2, 1)
    single = np.dtype(np.float32)
    with tape.potential_format("float16"):
        assert tape.wanted_dtype(single) == np.float16
        with tape.potential_format("full"):
            assert tape.wanted_dtype(single) == single
        assert tape.wanted_dtype(single) == np.float16
    assert tape.wanted_dtype(single) == single


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pooling_counts_spikes_in_float32_whatever_the_weights_are(dtype):
    """With one fused pass, as in float32, or without."""
    srm, seen = cs.SRM(), []
    pooling = Pooling(Window.of(2, 2, 0, 1), 11.0, (), srm.spiking)
    x, w = np.ones((5, 1, 4, 4, 1), bool), np.ones((3, 3, 1, 2), dtype)
    with tape.on_potential(lambda u: seen.append(u.values.dtype)):
        functions.conv_pool(x, w, spiking=srm.spiking, pooling=pooling)
    assert seen == [dtype, np.float32]


@pytest.mark.parametrize("form", tape.POTENTIAL_FORMATS)
def test_a_potential_is_returned_once(form):
    """Backward overwrites it: a second call would have other numbers, or none."""
    u = np.linspace(-3, 3, 7, dtype=np.float32)
    with tape.potential_format(form):
        saved = tape.save_for_backward(cpu, u)
    assert saved().shape == (7,)
    with refuses(
        "save_for_backward: the potential was returned before, and its memory may have other numbers now", "; call"
    ):
        saved()
