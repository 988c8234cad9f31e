"""Fused passes of neurons that are written as a step on emulated CUDA, against the CPU's single operations.

Forward is equal to the bit. The loops of these passes are those of spike response neurons, which other tests hold.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Pooling, Product, Window
from cuslayer.kernels.fused import gpu_conv, gpu_dense, gpu_pool
from cuslayer.kernels.step.derive import StepSpiking
from tests.kernels.test_twins import Array, close, dtypes, normal, same_bits, seeds, train
from tests.kernels.test_twins_conv import WIDE, cases, rates
from tests.kernels.test_twins_conv import emulator as emulator
from tests.kernels.test_twins_conv_adjoint import added
from tests.kernels.test_twins_neuron import constants_of
from tests.support.kinds import Compartments, Echo, Quadratic
from tests.support.packed_bits import packed_on_host, unpacked_on_host

drawn = settings(max_examples=15, deadline=None)
times = st.tuples(st.sampled_from([1, 9, 33, 70]), st.integers(0, 3))
kept = st.sampled_from(["numbers", "float16"])
EXACT = cs.CUBA(gradient="exact").spiking


# One of each number of inputs and states, for which a pass is compiled. The steps of the others, and what their numbers
# do, are those of test_twins_neuron.py.
KINDS = (
    *(cs.LIF(reset="subtract"), cs.CUBA(theta=2.0), cs.AdaptiveLIF(tau_rho=0.5), cs.neurons.ResonateAndFire(theta=0.7)),
    # With the constants below and the usual q of 120, its states would leave the range of float32 within 33 steps.
    cs.AdLIF(theta=0.5, q=1.0),
)


@st.composite
def fusable(draw: st.DrawFn) -> StepSpiking:
    """Draw neurons whose backward needs nothing of forward but the potential."""
    spiking = draw(st.sampled_from(KINDS)).spiking
    exact = replace(spiking, exact=True)
    return exact if draw(st.booleans()) and not exact.saved(False) else spiking


def neurons_of(weighted: Array, steps: int, constants: Array, spiking: StepSpiking) -> tuple[Array, Array]:
    """Return the CPU's potentials (steps, numbers of a step) and spikes (frames, ...) for a weighted input."""
    by_step = steps, weighted.size // max(steps, 1)
    u, s, _ = cpu.scan.forward(weighted.reshape(1, *by_step), constants, spiking)
    return u, s.reshape(weighted.shape)


def adjoint_of(g: Array, u: Array, steps: int, constants: Array, spiking: StepSpiking) -> Array:
    by_step = steps, g.size // max(steps, 1)
    nothing = np.empty((0, *by_step), g.dtype)
    y, _ = cpu.scan.adjoint(g.reshape(by_step), u.astype(g.dtype).reshape(by_step), nothing, constants, spiking)
    return y[0].reshape(g.shape)


def same_neurons(ours: Any, theirs: tuple[Array, Array], keep: Any) -> None:
    same_bits(ours[0], cpu.float16.store(theirs[0]) if keep == np.float16 else theirs[0])
    np.testing.assert_array_equal(unpacked_on_host(ours[1]), theirs[1])


def near(ours: Array, theirs: Array) -> None:
    close(ours, theirs, 2e-4 if theirs.dtype == np.float32 else 1e-10, least=1.0)


def stored_as(keep: str, dtype: str) -> Any:
    return np.dtype("float16" if keep == "float16" else dtype)


@drawn
@given(
    *(times, st.sampled_from([(0,), (40,), (9, 33, 1)]), st.sampled_from([0, 1, 33, 130]), rates, dtypes, seeds),
    *(fusable(), st.sampled_from([0, 1, 10, 32]), kept),
)
@example((70, 3), (40,), 130, 0.2, "float32", 2, cs.AdaptiveLIF().spiking, 10, "numbers")
@example((70, 3), (40,), 10, 0.2, "float64", 2, EXACT, 0, "float16")
def test_dense_neuron(
    time: tuple[int, int],
    frame: tuple[int, ...],
    outputs: int,
    rate: float,
    dtype: str,
    seed: int,
    spiking: StepSpiking,
    following: int,
    keep: str,
) -> None:
    (steps, samples), kind = time, stored_as(keep, dtype)
    x = train(seed, (steps, samples, *frame), rate)
    w = normal(seed, (math.prod(frame), outputs), dtype, spiking.theta)
    constants = constants_of(spiking, seed, (outputs,), dtype)
    u, s = gpu_dense.dense_neuron(packed_on_host(x), steps, w, constants, spiking, kind)
    rows = cpu.spikes.synapse_input(x.reshape(steps * samples, len(w)))
    theirs = neurons_of(cpu.dense.forward(rows, w), steps, constants, spiking)
    same_bits(u, cpu.float16.store(theirs[0]) if keep == "float16" else theirs[0])
    expected = packed_on_host(theirs[1].reshape(steps, samples, outputs))
    same_bits(s.words, expected.words)
    same_bits(s.by_neuron, expected.by_neuron)
    g: Any = normal(seed + 1, (steps * samples, outputs), dtype)
    whole = g
    if following:
        g = Product(normal(seed + 1, (len(g), following), dtype), normal(seed + 2, (outputs, following), dtype))
        whole = (g.errors.astype(np.float64) @ g.weight.T.astype(np.float64)).astype(dtype)
    errors = gpu_dense.dense_neuron_adjoint(g, u, steps, constants, spiking)
    near(errors, adjoint_of(whole, u, steps, constants, spiking))


@drawn
@given(cases(), times, rates, dtypes, seeds, fusable(), st.sampled_from([None, 3]), kept, st.booleans())
@example(WIDE, (9, 1), 0.3, "float32", 0, cs.AdaptiveLIF().spiking, None, "numbers", True)
@example(WIDE, (9, 2), 0.3, "float64", 0, EXACT, 3, "float16", False)
def test_conv_neuron(
    case: Any,
    time: tuple[int, int],
    rate: float,
    dtype: str,
    seed: int,
    spiking: StepSpiking,
    following: int | None,
    keep: str,
    with_input: bool,
) -> None:
    steps, samples = time
    steps = min(steps, 1 + 4000 // (math.prod(case.maps) * max(samples, 1)))
    x, w = case.spikes(seed, steps * samples, rate), case.weights(seed, dtype, spiking.theta)
    constants = constants_of(spiking, seed, case.maps, dtype)
    packed = packed_on_host(x, 1)
    kind = stored_as(keep, dtype)
    ours = gpu_conv.conv_neuron(packed, steps, w, case.window, case.groups, constants, spiking, kind)
    weighted = cpu.conv.forward(cpu.spikes.synapse_input(x), w, case.window, case.groups)
    same_neurons(ours, neurons_of(weighted, steps, constants, spiking), kind)
    g: Any = normal(seed + 1, weighted.shape, dtype)
    whole = g
    if following is not None:
        features = math.prod(case.maps)
        g = Product(normal(seed, (len(g), following), dtype), normal(seed, (features, following), dtype))
        whole = (g.errors @ g.weight.T).reshape(weighted.shape)
    options = case.window, case.groups, constants, spiking, with_input
    errors, of_weight = added(*gpu_conv.conv_neuron_adjoint(packed, steps, g, ours[0], *options), case)
    expected = adjoint_of(whole, ours[0], steps, constants, spiking)
    assert (errors is not None) == with_input
    if errors is not None:
        near(errors, expected)
    numbers = cpu.spikes.synapse_input(x)
    near(of_weight, cpu.conv.weight_adjoint(numbers, expected, case.window, case.groups, steps))


@drawn
@given(cases(), times, rates, seeds, fusable(), fusable(), st.sampled_from([(2, 2), (3, 1), (4, 4)]), kept)
@example(WIDE, (9, 1), 0.3, 0, cs.LIF().spiking, cs.LIF().spiking, (2, 2), "numbers")
@example(WIDE, (33, 1), 0.3, 0, cs.LIF().spiking, cs.CUBA().spiking, (2, 2), "numbers")
@example(WIDE, (9, 1), 0.3, 0, EXACT, EXACT, (2, 2), "float16")
def test_conv_pool(
    case: Any,
    time: tuple[int, int],
    rate: float,
    seed: int,
    spiking: StepSpiking,
    after: StepSpiking,
    tile: tuple[int, int],
    keep: str,
) -> None:
    """Layers of two kinds take two passes."""
    steps, samples = time
    steps = min(steps, 1 + 4000 // (math.prod(case.maps) * max(samples, 1)))
    x, w = case.spikes(seed, steps * samples, rate), case.weights(seed, "float32", spiking.theta)
    window, after = Window(tile, tile, (0, 0), (1, 1)), replace(after, exact=False)
    spiking = spiking if after.exact == spiking.exact else replace(spiking, exact=False)
    (rows, columns), outputs = case.maps[:2], case.maps[2]
    constants = constants_of(spiking, seed, case.maps, "float32")
    pooled_shape = (*window.outputs((rows, columns), ceil=True), outputs)
    pooling = Pooling(window, 1.5 * after.theta, constants_of(after, seed + 1, pooled_shape, "float32"), after)
    packed, kind = packed_on_host(x, 1), stored_as(keep, "float32")
    fused = gpu.fused.conv_pool_kernels(packed, case.window, case.groups, pooling, spiking)
    assert fused is not None
    u, pooled_u, s = fused.conv_pool(packed, steps, w, case.window, constants, spiking, pooling, kind)
    weighted = cpu.conv.forward(cpu.spikes.synapse_input(x), w, case.window, case.groups)
    before, fired = neurons_of(weighted, steps, constants, spiking)
    same_bits(u, cpu.float16.store(before) if keep == "float16" else before)
    pooled = cpu.pool.forward(fired, window, pooling.gain)
    same_neurons((pooled_u, s), neurons_of(pooled, steps, pooling.constants, after), kind)
    g = normal(seed, pooled.shape, "float32")
    options = u, pooled_u, case.window, constants, spiking, pooling, True
    errors, of_weight = added(*fused.conv_pool_adjoint(packed, steps, g, *options), case)
    of_pooled = adjoint_of(g, pooled_u, steps, pooling.constants, after)
    of_spikes = cpu.pool.adjoint(of_pooled, (rows, columns), window, pooling.gain)
    expected = adjoint_of(of_spikes, u, steps, constants, spiking)
    near(errors, expected)
    near(of_weight, cpu.conv.weight_adjoint(cpu.spikes.synapse_input(x), expected, case.window, case.groups, steps))


@drawn
@given(cases(), times, rates, seeds, fusable(), st.booleans(), kept)
@example(WIDE, (33, 1), 0.3, 0, EXACT, True, "numbers")
def test_pool_neuron(
    case: Any, time: tuple[int, int], rate: float, seed: int, spiking: StepSpiking, tiles: bool, keep: str
) -> None:
    (steps, samples), kind = time, stored_as(keep, "float32")
    x = case.spikes(seed, steps * samples, rate)
    window = Window(case.window.kernel, case.window.kernel, (0, 0), (1, 1)) if tiles else case.window
    pooled = cpu.pool.forward(x, window, 1.1)
    constants = constants_of(spiking, seed, pooled.shape[1:], "float32")
    ours = gpu_pool.pool_neuron(packed_on_host(x, 1), steps, window, 1.1, constants, spiking, kind)
    same_neurons(ours, neurons_of(pooled, steps, constants, spiking), kind)
    g = normal(seed, pooled.shape, "float32")
    options = window, 1.1, case.image, constants, spiking
    expected = cpu.pool.adjoint(adjoint_of(g, ours[0], steps, constants, spiking), case.image, window, 1.1)
    near(gpu_pool.pool_neuron_adjoint(g, ours[0], steps, *options), expected)


def test_a_kind_with_two_earlier_inputs_takes_two_passes() -> None:
    x = packed_on_host(train(0, (9, 2, 4, 4, 3), 0.3).reshape(18, 4, 4, 3), 1)
    window = Window.of(2, 2, 0, 1)
    for neuron, fuses in ((Echo(), False), (cs.SRM(), True)):
        spiking = neuron.spiking
        pooling = Pooling(window, 1.0, np.empty((0, 1), np.float32), spiking)
        passes = gpu.fused.dense_kernels(x, spiking), gpu.fused.pool_kernels(x, spiking)
        passes += (
            gpu.fused.conv_kernels(x, window, 1, spiking),
            gpu.fused.conv_pool_kernels(x, window, 1, pooling, spiking),
        )
        assert [each is not None for each in passes] == [fuses] * 4


def test_what_is_not_fused() -> None:
    """Neurons whose backward needs values of forward, or whose spikes carry the potential, take two operations."""
    exact = cs.LIF(gradient="exact"), cs.CUBA(gradient="exact"), cs.AdLIF()
    for fits in (*exact, cs.AdaptiveLIF(), cs.neurons.ResonateAndFire()):
        assert fits.spiking.fusable
    for neuron in (cs.AdaptiveLIF(gradient="exact"), cs.LIF(graded=True), Quadratic(), Compartments()):
        assert not neuron.spiking.fusable
