"""Emulated CUDA kernels of recurrent populations against the CPU's: equal to the bit forward, up to rounding back."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Product, Window
from cuslayer.kernels.recurrent.constants import Geometry, lags_of
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.kernels.step.derive import StepSpiking
from tests.kernels import test_twins_neuron
from tests.kernels.test_twins import Array, close, dtypes, few, normal, same_bits, seeds, srms
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins_neuron import constants_of
from tests.kernels.test_twins_surrogate import surrogates
from tests.support.packed_bits import packed_on_host, unpacked_on_host

# Less than a warp, one exactly, and one more; several neurons a thread; nothing at all.
neurons = st.one_of(st.integers(0, 70), st.sampled_from([0, 1, 31, 32, 33, 512, 530]))
shapes = st.one_of(
    st.tuples(st.integers(0, 20), st.integers(0, 4), neurons),
    st.tuples(st.integers(0, 20), st.integers(1, 2), st.integers(1, 3), st.integers(1, 5)),
)


NAMES = ("LIF", "CUBA", "AdaptiveLIF", "ResonateAndFire", "Quadratic", "Resting", "AdLIF", "NormalizedALIF", "Echo")


@st.composite
def spikings(draw: st.DrawFn) -> StepSpiking:
    if draw(st.booleans()):
        spiking: StepSpiking = draw(srms(surrogates)).spiking
        return spiking
    return draw(test_twins_neuron.spikings((*NAMES, "BalancedResonateAndFire")).filter(lambda s: not s.graded))


def spikes_of(found: Any) -> Any:
    """Return potentials, spikes and values for backward with the spikes as booleans."""
    if not isinstance(found[1], PackedSpikes):
        return found
    u, s, more = found
    if s.size:
        same_bits(s.by_neuron, packed_on_host(unpacked_on_host(s).reshape(*u.shape[:2], s.line)).by_neuron)
    return u, unpacked_on_host(s).reshape(u.shape), more


def case(spiking: StepSpiking, shape: tuple[int, ...], dtype: str, seed: int) -> tuple[Any, ...]:
    count, theta = math.prod(shape[2:]), spiking.theta
    x = normal(seed, shape, dtype, 2 * theta)
    lags = 1 + seed % 3
    w = normal(seed + 1, (lags * count, count), dtype, theta / max(lags * count, 1) ** 0.5)
    return x, w, constants_of(spiking, seed, shape, dtype)


@few
@given(shapes, dtypes, spikings(), st.integers(1, 5), seeds, st.booleans())
def test_recurrent(
    shape: tuple[int, ...], dtype: str, spiking: StepSpiking, delay: int, seed: int, trained: bool
) -> None:
    x, w, keeps = case(spiking, shape, dtype, seed)
    saves = spiking.saved(trained)
    ours, theirs = (k.recurrent.forward(x, w, spiking, keeps, delay, None, None, saves) for k in (gpu, cpu))
    ours = spikes_of(ours)
    for mine, other in zip(ours, theirs, strict=True):
        same_bits(mine, other)


def check_parts(
    x: Array,
    w: Array,
    spiking: StepSpiking,
    keeps: Array,
    delay: int,
    trained: bool,
    *ends: int,
    geometry: Geometry | None = None,
) -> None:
    """Run a population in parts, forward and back, on both devices, and as one call on the CPU."""
    saves, longest, g = spiking.saved(trained), delay + lags_of(w, geometry) - 1, normal(2, x.shape, str(x.dtype))
    parts = [slice(*pair) for pair in itertools.pairwise(sorted(min(e, len(x)) for e in (0, *ends, len(x))))]
    whole = cpu.recurrent.forward(x, w, spiking, keeps, delay, geometry, None, saves)
    back = cpu.recurrent.adjoint(g, whole[0], whole[2], w, spiking, keeps, delay, geometry, None, trained)
    for k in (cpu, gpu):
        held, begun, found = k.recurrent.held(x, spiking, longest), [], []
        for part in parts:
            begun.append((held.states.copy(), held.steps))
            found.append(spikes_of(k.recurrent.forward(x[part], w, spiking, keeps, delay, geometry, held, saves)))
        for mine, axis, other in zip(zip(*found, strict=True), (0, 0, 1), whole, strict=True):
            same_bits(np.concatenate(mine, axis), other)
        later, errors, sums = k.recurrent.nothing_later(g, spiking, longest), [], 0
        for part, (states, start), (u, _, more) in zip(parts[::-1], begun[::-1], found[::-1], strict=True):
            given = g[part], u, more, w, spiking, keeps, delay, geometry, states, trained, later, start
            y, some = k.recurrent.adjoint(*given)
            errors, sums = [y[: len(u)], *errors], sums + some
        for mine, other in zip((np.concatenate(errors), sums), back, strict=True):
            close(mine, other, 1e-4 if x.dtype == "float32" else 1e-10, least=1.0)


LIF = cs.CUBA(gradient="exact", tau_rho=0.5).spiking
SRM = cs.SRM(1.0, 2.0, tau_rho=0.5, scale_rho=0.1, gradient="exact").spiking


@few
@given(shapes, dtypes, spikings(), st.integers(1, 5), seeds, st.booleans())
@example((4, 1, 530), "float32", LIF, 2, 13, True)
@example((4, 1, 530), "float32", SRM, 1, 13, False)
def test_parts(shape: tuple[int, ...], dtype: str, spiking: StepSpiking, delay: int, seed: int, trained: bool) -> None:
    x, w, keeps = case(spiking, shape, dtype, seed)
    check_parts(x, w * w.dtype.type(0.2), spiking, keeps, delay, trained, seed % 5, seed % 9)


@few
@given(shapes, dtypes, spikings(), st.integers(1, 5), seeds, st.booleans())
def test_adjoint(
    shape: tuple[int, ...], dtype: str, spiking: StepSpiking, delay: int, seed: int, trained: bool
) -> None:
    x, w, keeps = case(spiking, shape, dtype, seed)
    u, _, more = cpu.recurrent.forward(x, w, spiking, keeps, delay, None, None, spiking.saved(trained))
    g, w = normal(seed + 2, shape, dtype), w * w.dtype.type(0.2)
    given = g, u, more, w, spiking, keeps, delay, None, None, trained
    (ours, sums), theirs = (k.recurrent.adjoint(*given) for k in (gpu, cpu))
    assert not ours[len(g) :].any()
    product = Product(*(normal(seed, (math.prod(part), 1 + seed % 40), dtype) for part in (shape[:2], shape[2:])))
    both = product, product.materialize().reshape(shape)
    of_product, of_array = (cpu.recurrent.adjoint(each, *given[1:]) for each in both)
    # What goes round grows or cancels.
    for mine, other in zip((ours[: len(g)], sums, *of_product), (*theirs, *of_array), strict=True):
        close(mine, other, 1e-4 if dtype == "float32" else 1e-10, least=1.0)


def test_a_ring_of_neurons_goes_round_at_its_delay() -> None:
    """Across warps, and beyond the first neurons of each thread."""
    count, w = 600, np.roll(np.eye(600, dtype=np.float32), 1, axis=1) * 2
    x, keeps = np.zeros((20, 1, count), np.float32), np.zeros((2, 1), np.float32)
    x[0, 0, [0, 510, 599]] = 1.0
    for device in (cpu, gpu):
        _, s, _ = spikes_of(device.recurrent.forward(x, w, LIF, keeps, 3))
        expected = {(3 * k, 0, (first + k) % count) for k in range(7) for first in (0, 510, 599)}
        assert {tuple(map(int, at)) for at in np.argwhere(s)} == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_older_than_a_response_has_left_it(dtype: str) -> None:
    """Inputs and spikes, in parts that are shorter and longer than both responses; then a silence."""
    x, w, keeps = case(SRM, (300, 2, 5), dtype, 4)
    x[40:] = 0
    check_parts(x, w * w.dtype.type(0.2), SRM, keeps, 1, False, 3, 5, 21, 67)


def test_rows_that_are_not_contiguous() -> None:
    keeps = np.array([[0.5], [0.9]], np.float32)
    x, w = normal(1, (7, 2, 12), "float32", 2).transpose(2, 1, 0), normal(2, (7, 7), "float32").T
    ours, theirs = (spikes_of(k.recurrent.forward(x, w, LIF, keeps, 1)) for k in (gpu, cpu))
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        same_bits(mine, other)
    g = np.broadcast_to(normal(0, (1, 1, 7), "float32"), (12, 2, 7))
    close(*(k.recurrent.adjoint(g, theirs[0], theirs[2], w, LIF, keeps, 1)[0][:12] for k in (gpu, cpu)), 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spiking", [LIF, SRM], ids=["cuba", "srm"])
@pytest.mark.parametrize("device", [cpu, gpu], ids=["cpu", "gpu"])
def test_a_long_silence_has_no_subnormal_number(device: Any, spiking: Any, dtype: str) -> None:
    steps = 1500 if dtype == "float32" else 9000
    x, w = np.zeros((steps, 1, 3), dtype), np.zeros((3, 3), dtype)
    x[:9] = abs(normal(0, (9, 1, 3), dtype))
    keeps = np.empty((0, 1), dtype) if spiking is SRM else np.array([[0.9, 0.5, 0.0], [0.5, 0.9, 0.0]], dtype)
    u, _, more = device.recurrent.forward(x, w, spiking, keeps, 1)
    y, _ = device.recurrent.adjoint(np.ascontiguousarray(x[::-1]), u, more, w, spiking, keeps, 1)
    for found in (u, y):
        assert found.any()
        assert not ((found != 0) & (abs(found) < np.finfo(found.dtype).tiny)).any()


def test_what_is_not_finite_stays_so() -> None:
    keeps = np.array([[0.0], [0.9]])
    x = np.array([[[np.nan, -np.inf, 1.0]]] * 9)
    for device in (cpu, gpu):
        u, s, more = spikes_of(device.recurrent.forward(x, np.zeros((3, 3)), LIF, keeps, 1))
        assert not np.isfinite(u[..., :2]).any()
        assert s[..., 2].all()
        back = device.recurrent.adjoint(np.ones_like(x), u, more, np.eye(3), LIF, keeps, 1)[0][: len(x)]
        assert np.isnan(back[..., :2]).all()
        # A product with a weight of 0 too.
        assert np.isnan(back[:-1, ..., 2]).all()
        assert np.isfinite(back[-1, ..., 2]).all()


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], Geometry]:
    """Return the shape of a population and a convolution that keeps it; groups end within and at words of bits."""
    groups, width = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 11, 16, 35]))
    kernel, dilation = (draw(st.tuples(st.sampled_from(n), st.sampled_from(n))) for n in ([1, 3, 5], [1, 2]))
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    frame = draw(st.integers(1, 5)), draw(st.integers(1, 5)), groups * width
    shape = draw(st.integers(0, 12)), draw(st.integers(0, 3)), *frame
    return shape, Geometry(Window(kernel, (1, 1), padding, dilation), groups)


ODD = (12, 2, 5, 4, 33), Geometry(Window((3, 5), (1, 1), (2, 2), (2, 1)), 3)


@few
@given(convolutions(), dtypes, spikings(), st.integers(1, 3), seeds, st.booleans())
@example(ODD, "float32", SRM, 2, 4, False)
def test_a_convolution(
    of: tuple[tuple[int, ...], Geometry], dtype: str, spiking: StepSpiking, delay: int, seed: int, trained: bool
) -> None:
    """In one call, and in parts of which backward goes on."""
    shape, geometry = of
    x, _, keeps = case(spiking, shape, dtype, seed)
    fan_in = math.prod(geometry.window.kernel) * shape[4] // geometry.groups
    weights = *geometry.window.kernel, shape[4] // geometry.groups, shape[4]
    w = normal(seed + 1, weights, dtype, 0.2 * spiking.theta / fan_in**0.5)
    check_parts(x, w, spiking, keeps, delay, trained, geometry=geometry)
    check_parts(x, w, spiking, keeps, delay, trained, 1, 3, seed % 9, geometry=geometry)
