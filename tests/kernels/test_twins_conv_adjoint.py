"""Gradients of convolution and pooling on emulated CUDA, from packed spikes and errors, against the CPU's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Pooling, Product, Window
from cuslayer.kernels.fused import gpu_conv, gpu_pool
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.synapse.conv import gpu as conv_gpu
from cuslayer.kernels.synapse.conv import tap_sums
from tests.kernels.test_twins import CLOSE, Array, close, dtypes, fire_adjoint, norm, normal, same_bits, seeds, srms
from tests.kernels.test_twins_conv import OUTSIDE, WIDE, WIDE_GROUPS, Case, cases, rates
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host
from tools.emulator.driver import Emulator, emulation

drawn = settings(max_examples=12, deadline=None)
times = st.one_of(st.integers(0, 18), st.sampled_from([1, 8, 9, 16, 17]))
kept = st.sampled_from(["numbers", "half"])


def held(ours: Array, case: Case, x: Array, errors: Array, double: Array, terms: Array | None = None) -> None:
    """Compare the gradient of the weights with the CPU's, to the rounding of its terms: they may cancel."""
    spikes, shape = cpu.spikes.synapse_input(x), (case.window, case.groups)
    least = norm(cpu.conv.weight_adjoint(spikes, abs(errors) if terms is None else terms, *shape))
    theirs, exactly = (cpu.conv.weight_adjoint(spikes, each, *shape) for each in (errors, double))
    close(ours, theirs, least=least, double=exactly)


def compare_weight_adjoint(case: Case, frames: int, rate: float, dtype: str, seed: int) -> None:
    x, errors = case.spikes(seed, frames, rate), normal(seed, (frames, *case.maps), dtype)
    held(gpu.conv.weight_adjoint(packed_on_host(x, 1), errors, case.window, case.groups), case, x, errors, errors)


@drawn
@given(cases(), st.integers(0, 20), rates, dtypes, seeds)
@example(WIDE, 3, 0.3, "float32", 0)
@example(WIDE_GROUPS, 70, 0.3, "float64", 0)
@example(OUTSIDE, 33, 0.5, "float32", 0)
@example(Case((3, 2), 1, 70, 1, Window((2, 2), (1, 1), (1, 1), (1, 1))), 9, 0.5, "float32", 0)
@example(Case((8, 2), 70, 2, 1, Window((7, 1), (1, 1), (0, 0), (1, 1))), 9, 0.1, "float32", 0)
@example(Case((4, 3), 1, 2, 41, Window((2, 2), (1, 1), (1, 1), (1, 1))), 9, 0.5, "float32", 0)
def test_conv_weight_adjoint(case: Case, frames: int, rate: float, dtype: str, seed: int) -> None:
    compare_weight_adjoint(case, frames, rate, dtype, seed)


def test_more_pieces_than_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread reads several pieces, of which there are more than bits in a mask."""
    monkeypatch.setattr(tap_sums, "_THREADS", 1)
    monkeypatch.setattr(tap_sums, "_blocks", tap_sums._blocks.__wrapped__)
    case = Case((6, 6), 2, 1, 2, Window((6, 6), (1, 1), (0, 0), (1, 1)))
    compare_weight_adjoint(case, 9, 0.2, "float32", 0)


@drawn
@given(cases(), st.integers(0, 20), dtypes, seeds)
@example(WIDE, 2, "float32", 0)
@example(WIDE_GROUPS, 2, "float64", 0)
@example(OUTSIDE, 33, "float32", 0)
@example(Case((3, 3), 70, 9, 1, Window((3, 3), (1, 1), (1, 1), (1, 1))), 1, "float32", 0)
@example(Case((9, 9), 3, 2, 1, Window((3, 3), (2, 2), (1, 1), (1, 1))), 15, "float32", 0)
def test_conv_input_adjoint(case: Case, frames: int, dtype: str, seed: int) -> None:
    g, w = normal(seed, (frames, *case.maps), dtype), case.weights(seed, dtype)
    arguments = g, w, case.image, case.window, case.groups
    least = norm(cpu.conv.input_adjoint(abs(g), abs(w), *arguments[2:]))
    # The CPU's transforms for windows of 3 x 3 round more often.
    close(gpu.conv.input_adjoint(*arguments), cpu.conv.input_adjoint(*arguments), 4 * CLOSE[dtype], least=least)


@drawn
@given(cases(), st.integers(0, 9), st.integers(0, 3), dtypes, seeds)
def test_pool_adjoint(case: Case, frames: int, channels: int, dtype: str, seed: int) -> None:
    shape = (frames, *case.window.outputs(case.image, ceil=True), channels)
    arguments = normal(seed, shape, dtype), case.image, case.window, 1.7
    same_bits(gpu.pool.adjoint(*arguments), cpu.pool.adjoint(*arguments))


@pytest.mark.parametrize(("count", "size"), [(1, 3), (2, 33), (40, 65), (17, 32)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_add_parts(count: int, size: int, dtype: str) -> None:
    parts = normal(count, (count, size), dtype)
    close(tap_sums.add_parts(parts, (size, 1)), parts.sum(axis=0)[:, None], least=norm(parts))


def potentials(seed: int, shape: tuple[int, ...], dtype: str, kept: str, theta: float) -> tuple[Array, Array]:
    """Return potentials about the threshold as they are saved, and as numbers."""
    u = normal(seed, shape, dtype, theta) + np.dtype(dtype).type(theta / 2)
    saved = u.astype(np.float16) if kept == "half" else u
    return saved, saved.astype(dtype)


def neuron_adjoint(g: Array, u: Array, steps: int, spiking: StepSpiking, dtype: str | None = None) -> Array:
    given = (x.reshape(steps, g.size // max(steps, 1)).astype(dtype or x.dtype) for x in (g, u))
    of_input: Array = fire_adjoint(cpu, *given, spiking)
    return of_input.reshape(g.shape)


def terms_of(g: Array, u: Array, steps: int, srm: cs.SRM) -> Array:
    """Return how large the terms of `neuron_adjoint` are: those of a filter that is cut very short cancel."""
    of_input, of_potential = (neuron_adjoint(g, u, steps, spiking) for spiking in (srm.spiking, srm.refracting))
    found: Array = abs(of_input) + abs(of_potential)
    return found


def none(dtype: str) -> Array:
    """Return the constants that differ between spike response neurons."""
    return np.empty((0, 1), dtype)


def added(errors: Array | None, of_weight: Any, case: Case) -> tuple[Array | None, Array]:
    """Return errors and weight gradient; parts of it are added beside the input's gradient, to the same bits."""
    if not isinstance(of_weight, tap_sums.Parts):
        return errors, of_weight
    assert errors is not None
    w = normal(3, of_weight.shape, errors.dtype.name)
    options = errors.reshape(-1, *case.maps), w, case.image, case.window, case.groups
    x, sums = conv_gpu.adjoints(*options, of_weight)
    same_bits(x, gpu.conv.input_adjoint(*options))
    same_bits(sums, tap_sums.add_parts(*of_weight))
    return errors, sums


def compare_conv_neuron(
    case: Case, times: tuple[int, int], rate: float, dtype: str, kept: str, flags: Any, srm: cs.SRM, seed: int
) -> None:
    (steps, samples), (keep, product), spiking = times, flags, srm.spiking
    x = case.spikes(seed, steps * samples, rate)
    u, numbers = potentials(seed, (steps * samples, *case.maps), dtype, kept, spiking.theta)
    g: Any = normal(seed + 1, u.shape, dtype)
    whole = g
    if product is not None:
        features = int(np.prod(case.maps))
        g = Product(normal(seed, (steps * samples, product), dtype), normal(seed, (features, product), dtype))
        whole = (g.errors @ g.weight.T).reshape(u.shape)
    expected, double = (neuron_adjoint(whole, numbers, steps, spiking, d) for d in (dtype, "float64"))
    packed = packed_on_host(x, 1)
    options = (case.window, case.groups, none(dtype), spiking, keep)
    errors, ours = added(*gpu_conv.conv_neuron_adjoint(packed, steps, g, u, *options), case)
    terms = terms_of(whole, numbers, steps, srm)
    held(ours, case, x, expected, double, terms)
    assert (errors is not None) == keep
    if errors is not None:
        least = max(norm(terms), norm(whole) * (0 if product is None else spiking.height))
        close(errors, expected, least=least, double=double)


flags = st.tuples(st.booleans(), st.sampled_from([None, None, 0, 3, 33]))
batches = st.tuples(times, st.integers(1, 3))


# All weights have the same sum, in which errors cancel.
CANCELLED = cs.SRM(1.0, 1.0, scale_ref=0.0, cutoff=0, ref_cutoff=0, tau_rho=0.375)


@drawn
@given(cases(), batches, rates, dtypes, kept, flags, srms(), seeds)
@example(
    *(Case((1, 3), 33, 1, 1, Window((1, 1), (1, 1), (0, 0), (1, 1))), (8, 1), 1.0, "float32", "numbers"),
    *((False, None), CANCELLED, 0),
)
def test_conv_neuron_adjoint(
    case: Case, times: tuple[int, int], rate: float, dtype: str, kept: str, flags: Any, srm: cs.SRM, seed: int
) -> None:
    compare_conv_neuron(case, times, rate, dtype, kept, flags, srm, seed)


DEFAULT = cs.SRM(tau_sr=3.0, cutoff=0.05, ref_cutoff=0.1)
SHORT = cs.SRM(tau_sr=1.0, tau_ref=0.5, cutoff=0.3, ref_cutoff=0.3)
modes = pytest.mark.parametrize("gradient", ["slayer", "exact"])


@modes
@pytest.mark.parametrize("srm", [DEFAULT, SHORT])
def test_several_blocks_and_blocks_with_several_shares(
    gradient: str, srm: cs.SRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case((5, 6), 3, 18, 1, Window((3, 3), (1, 1), (1, 1), (1, 1)))
    for most in (1, 4 * 27 * 18 * 3, 1 << 24):
        monkeypatch.setattr(tap_sums, "_PART_BYTES", most)
        compare_conv_neuron(case, (21, 3), 0.3, "float32", "half", (True, None), replace(srm, gradient=gradient), 0)


def test_a_block_with_several_shares_of_a_weight_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap_sums, "_PART_BYTES", 1)
    case = Case((5, 6), 3, 18, 1, Window((3, 3), (1, 1), (1, 1), (1, 1)))
    compare_weight_adjoint(case, 300, 0.3, "float32", 0)


@modes
def test_the_gradient_of_a_dense_layer_is_multiplied_in_the_sweep(
    gradient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case((3, 3), 2, 3, 1, Window((2, 2), (1, 1), (0, 0), (1, 1)))
    srm = replace(SHORT, gradient=gradient)
    for inputs in (0, 10):
        compare_conv_neuron(case, (21, 2), 0.3, "float32", "numbers", (True, inputs), srm, 0)
    several = Case((5, 6), 3, 18, 1, Window((3, 3), (1, 1), (1, 1), (1, 1)))
    for most in (1, 1 << 24):
        monkeypatch.setattr(tap_sums, "_PART_BYTES", most)
        compare_conv_neuron(several, (9, 3), 0.3, "float64", "numbers", (False, 5), srm, 0)


def test_errors_are_stored_where_the_sums_do_not_fit(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    case = Case((3, 3), 40, 3, 1, Window((3, 3), (1, 1), (1, 1), (1, 1)))
    monkeypatch.setattr(tap_sums, "most_shared", lambda: 48 << 10)
    emulator.launches.clear()
    for keep in (False, True):
        compare_conv_neuron(case, (9, 2), 0.3, "float32", "half", (keep, None), DEFAULT, 0)
    assert emulator.launches.count("conv_weight_adjoint") == 2


def test_a_device_without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap_sums, "most_shared", lambda: 64)
    x, errors = packed_on_host(np.ones((2, 3, 3, 1), bool), 1), np.ones((2, 3, 3, 1), np.float32)
    message = "^a block must have shared memory for 9 taps, got 64 bytes$"
    with pytest.raises(ValueError, match=message):
        gpu.conv.weight_adjoint(x, errors, Window((3, 3), (1, 1), (1, 1), (1, 1)), 1)


@st.composite
def pools(draw: st.DrawFn) -> tuple[tuple[int, int], float]:
    return draw(st.sampled_from([(2, 2), (1, 1), (2, 3), (3, 1), (4, 4)])), draw(st.floats(0.1, 3))


def compare_conv_pool(
    case: Case, times: tuple[int, int], kept: str, keep: bool, pool: Any, neurons: tuple[cs.SRM, cs.SRM], seed: int
) -> None:
    (steps, samples), (tile, gain), (srm, after) = times, pool, neurons
    spiking, pooled_spiking = srm.spiking, after.spiking
    window = tile if isinstance(tile, Window) else Window(tile, tile, (0, 0), (1, 1))
    pooling = Pooling(window, gain, none("float32"), pooled_spiking)
    rows, columns, outputs = case.maps
    x = case.spikes(seed, steps * samples, 0.3)
    u, numbers = potentials(seed, (steps * samples, *case.maps), "float32", kept, spiking.theta)
    shape = (steps * samples, *window.outputs((rows, columns), ceil=True), outputs)
    pooled_u, pooled_numbers = potentials(seed + 1, shape, "float32", kept, pooled_spiking.theta)
    g = normal(seed, shape, "float32")

    def expected_in(dtype: str) -> Array:
        pooled = neuron_adjoint(g, pooled_numbers, steps, pooled_spiking, dtype)
        of_spikes = cpu.pool.adjoint(pooled, (rows, columns), pooling.window, gain)
        return neuron_adjoint(of_spikes, numbers, steps, spiking, dtype)

    expected, double = expected_in("float32"), expected_in("float64")
    options = (case.window, case.groups, none("float32"), spiking, pooling, keep)
    found = gpu_conv.conv_pool_adjoint(packed_on_host(x, 1), steps, g, u, pooled_u, *options)
    errors, ours = added(*found, case)
    terms = terms_of(g, pooled_numbers, steps, after)
    terms = cpu.pool.adjoint(terms, (rows, columns), pooling.window, gain)
    terms = terms_of(terms, numbers, steps, srm)
    held(ours, case, x, expected, double, terms)
    assert (errors is not None) == keep
    if errors is not None:
        close(errors, expected, least=norm(terms), double=double)


@st.composite
def both(draw: st.DrawFn) -> tuple[cs.SRM, cs.SRM]:
    """Draw two neurons with one mode of the gradient."""
    gradient = draw(st.sampled_from(["slayer", "slayer", "exact"]))
    return replace(draw(srms()), gradient=gradient), replace(draw(srms()), gradient=gradient)


@drawn
@given(cases(), batches, kept, st.booleans(), pools(), both(), seeds)
def test_conv_pool_adjoint(
    case: Case, times: tuple[int, int], kept: str, keep: bool, pool: Any, neurons: tuple[cs.SRM, cs.SRM], seed: int
) -> None:
    compare_conv_pool(case, times, kept, keep, pool, neurons, seed)


@pytest.mark.parametrize(("most", "outputs"), [(1, 18), (4 * 27 * 18 * 3, 18), (1 << 24, 4)])
def test_several_blocks_of_pooling_windows(most: int, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case((5, 6), 3, outputs, 1, Window((3, 3), (1, 1), (1, 1), (1, 1)))
    monkeypatch.setattr(tap_sums, "_PART_BYTES", most)
    compare_conv_pool(case, (41, 3), "half", True, ((2, 2), 0.5), (DEFAULT, DEFAULT), 0)


def test_a_window_with_too_many_pixels_takes_two_sweeps(emulator: Emulator) -> None:
    case = Case((18, 18), 1, 2, 1, Window((1, 1), (1, 1), (0, 0), (1, 1)))
    emulator.launches.clear()
    compare_conv_pool(case, (5, 1), "half", False, ((17, 17), 0.5), (DEFAULT, DEFAULT), 0)
    assert emulator.launches[:2] == ["pool_neuron_adjoint", "conv_neuron_adjoint"]


@pytest.mark.parametrize("window", [Window((3, 3), (2, 2), (0, 0), (1, 1)), Window((2, 2), (2, 2), (1, 1), (1, 1))])
def test_windows_that_do_not_tile_the_map_take_two_sweeps(window: Window) -> None:
    case = Case((5, 6), 3, 4, 1, Window((3, 3), (1, 1), (1, 1), (1, 1)))
    for kept in ("numbers", "half"):
        compare_conv_pool(case, (21, 2), kept, True, (window, 0.5), (DEFAULT, DEFAULT), 0)


@modes
def test_flush_to_zero_changes_no_bit(gradient: str) -> None:
    """Gradients of the last step only, whose errors fade over a long time before it."""
    case, steps = Case((4, 4), 1, 2, 1, Window((3, 3), (1, 1), (1, 1), (1, 1))), 300
    x = packed_on_host(case.spikes(0, steps, 0.3), 1)
    spiking = cs.SRM(tau_sr=2.0, cutoff=0, ref_cutoff=0, gradient=gradient).spiking
    u, pooled_u = normal(0, (steps, *case.maps), "float32", 10), normal(1, (steps, 2, 2, 2), "float32", 10)
    g, pooled_g = np.zeros_like(u), np.zeros_like(pooled_u)
    g[-1] = pooled_g[-1] = 1
    pooling = Pooling(Window((2, 2), (2, 2), (0, 0), (1, 1)), 0.5, none("float32"), spiking)
    options = (case.window, case.groups, none("float32"), spiking)
    found = []
    for flush in (False, True):
        with emulation(flush=flush):
            first = gpu_conv.conv_neuron_adjoint(x, steps, g, u, *options, True)
            second = gpu_conv.conv_pool_adjoint(x, steps, pooled_g, u, pooled_u, *options, pooling, True)
            found += [*added(*first, case), *added(*second, case)]
    for plain, flushed in zip(found[:4], found[4:], strict=True):
        assert plain is not None
        assert flushed is not None
        assert plain.any()
        same_bits(plain, flushed)


# A response that is cut before its first value.
CUT = cs.SRM(1.0, 0.5, 1.0, 0.0, dt=2.0, cutoff=0.3, ref_cutoff=0)


@drawn
@given(cases(), batches, st.integers(0, 3), dtypes, kept, st.booleans(), srms(), seeds)
@example(
    *(Case((1, 1), 1, 1, 1, Window((1, 1), (1, 1), (0, 0), (1, 1))), (3, 1), 3, "float64", "numbers", False),
    *(CUT, 0),
)
def test_pool_neuron_adjoint(
    case: Case,
    times: tuple[int, int],
    channels: int,
    dtype: str,
    kept: str,
    tiles: bool,
    srm: cs.SRM,
    seed: int,
) -> None:
    (steps, samples), spiking = times, srm.spiking
    window = Window(case.window.kernel, case.window.kernel, (0, 0), (1, 1)) if tiles else case.window
    assume(all(size >= 1 for size in case.image))
    shape = (steps * samples, *window.outputs(case.image, ceil=True), channels)
    u, numbers = potentials(seed, shape, dtype, kept, spiking.theta)
    g = normal(seed + 1, shape, dtype)
    expected, double = (
        cpu.pool.adjoint(neuron_adjoint(g, numbers, steps, spiking, each), case.image, window, 0.7)
        for each in (dtype, "float64")
    )
    ours = gpu_pool.pool_neuron_adjoint(g, u, steps, window, 0.7, case.image, none(dtype), spiking)
    terms = terms_of(g, numbers, steps, srm)
    close(ours, expected, least=norm(cpu.pool.adjoint(terms, case.image, window, 0.7)), double=double)
