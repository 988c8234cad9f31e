"""Dense layers and their neurons in one pass on emulated CUDA, and the gradient, against the CPU's two passes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Product
from cuslayer.kernels.fused import gpu_dense
from cuslayer.kernels.step.derive import StepSpiking
from tests.kernels.test_twins import (
    Array,
    close,
    dtypes,
    filters,
    fire,
    fire_adjoint,
    norm,
    normal,
    same_bits,
    seeds,
    srms,
    train,
)
from tests.kernels.test_twins_conv import emulator as emulator
from tests.kernels.test_twins_dense import activities, drawn_weights, of_every_activity
from tests.support.packed_bits import packed_on_host
from tools.emulator.driver import emulation

drawn = settings(max_examples=20, deadline=None)
steps_drawn = st.one_of(st.integers(1, 9), st.sampled_from([31, 32, 33, 70]))
samples_drawn = st.integers(0, 3)
# Within a word, of several words, of two blocks.
outputs_drawn = st.sampled_from([0, 1, 10, 32, 33, 130])
frames_drawn = st.sampled_from([(0,), (1,), (40,), (3, 5, 2), (9, 33, 1)])
kept_types = st.sampled_from(["real", "float16", None])
SRM = cs.SRM(tau_sr=5.0, ref_cutoff=0.1)


class Sizes(NamedTuple):
    steps: int
    samples: int
    outputs: int

    @property
    def by_row(self) -> tuple[int, int]:
        return self.steps * self.samples, self.outputs

    @property
    def by_step(self) -> tuple[int, int]:
        return self.steps, self.samples * self.outputs


def stored(u: Array, keep: str | None) -> Array:
    """Return potentials as the kernel stores them."""
    if keep is None:
        return np.empty((0, 0), u.dtype)
    return cpu.float16.store(u) if keep == "float16" else u


def none(w: Array) -> Array:
    """Return the constants that differ between spike response neurons."""
    return np.empty((0, 1), w.dtype)


def check_neuron(
    sizes: Sizes,
    frame: tuple[int, ...],
    rate: float,
    dtype: str,
    seed: int,
    spiking: StepSpiking,
    keep: str | None = "real",
) -> Array:
    """Hold potentials and both layouts of the spikes against the CPU's, and return its potentials."""
    x = train(seed, (sizes.steps, sizes.samples, *frame), rate)
    w = normal(seed, (math.prod(frame), sizes.outputs), dtype, spiking.theta)
    return check(x, w, sizes, spiking, keep)


def check(x: Array, w: Array, sizes: Sizes, spiking: StepSpiking, keep: str | None = "real") -> Array:
    """The same for an input and a weight, with a bias for every other number of steps."""
    wanted = None if keep is None else np.dtype(keep if keep == "float16" else w.dtype)
    shift = normal(3, (sizes.outputs,), w.dtype, spiking.theta / 4) if sizes.steps % 2 == 0 else None
    u, s = gpu_dense.dense_neuron(packed_on_host(x), sizes.steps, w, none(w), spiking, wanted, shift)
    rows = cpu.spikes.synapse_input(x.reshape(sizes.by_row[0], len(w)))
    weighted = cpu.dense.forward(rows, w)
    if shift is not None:
        weighted += shift
    potential, fired = fire(cpu, weighted.reshape(sizes.by_step), spiking)
    same_bits(u, stored(potential, keep))
    expected = packed_on_host(fired.reshape(sizes))
    assert (s.shape, s.line, s.dtype) == (sizes.by_row, sizes.outputs, bool)
    same_bits(s.words, expected.words)
    same_bits(s.by_neuron, expected.by_neuron)
    return potential


@drawn
@given(
    st.builds(Sizes, steps_drawn, samples_drawn, outputs_drawn),
    frames_drawn,
    st.sampled_from([0, 0.1, 1]),
    dtypes,
    seeds,
    srms(),
    kept_types,
)
@example(Sizes(40, 1, 3), (4500,), 0.02, "float32", 0, SRM, None)
@example(Sizes(9, 1, 3), (4500,), 0.5, "float32", 0, SRM, "real")  # busy, of more words than a warp loads together
def test_dense_neuron(
    sizes: Sizes,
    frame: tuple[int, ...],
    rate: float,
    dtype: str,
    seed: int,
    srm: cs.SRM,
    keep: str | None,
) -> None:
    potential = check_neuron(sizes, frame, rate, dtype, seed, srm.spiking, keep)
    assert potential.shape == sizes.by_step


@activities
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_frame_is_summed_in_the_order_of_the_cpu(
    frame: tuple[int, ...], outputs: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 10 and 33 outputs it is gathered again when it leaves the response."""
    if outputs in (10, 33):
        monkeypatch.setattr(gpu_dense, "most_shared", lambda: 0)
    w = drawn_weights(outputs, math.prod(frame), outputs, dtype)
    x = of_every_activity(outputs, frame).swapaxes(0, 1)
    potential = check(x, w, Sizes(len(x), 1, outputs), filters(2).spiking)
    assert potential.any()


def test_no_steps() -> None:
    """Without rows there is no number of samples either."""
    x = packed_on_host(np.zeros((0, 3, 7), bool))
    w = normal(0, (7, 5), "float32")
    u, s = gpu_dense.dense_neuron(x, 0, w, none(w), SRM.spiking, np.dtype("float32"))
    assert (u.shape, s.words.shape, s.shape) == ((0, 0), (0, 1, 1), (0, 5))
    g = gpu_dense.dense_neuron_adjoint(normal(0, (0, 5), "float32"), u, 0, none(w), SRM.spiking)
    assert (g.shape, g.dtype) == ((0, 5), np.float32)


# Cuts within a batch of steps and a word of spikes, at their edges, beyond both, and none.
cuts = pytest.mark.parametrize("cut", [2, 8, 9, 31, 32, 33, 64, 65, None])
both = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both
@cuts
def test_filters_of_every_length(cut: int | None, dtype: str) -> None:
    potential = check_neuron(Sizes(104, 2, 10), (40,), 0.1, dtype, 0, filters(cut).spiking)
    assert 0.02 < (potential >= 10).mean() < 0.9


@both
@pytest.mark.parametrize("cut", [2, 33, 65])
@pytest.mark.parametrize("outputs", [10, 130])
def test_inputs_that_do_not_fit_are_gathered_again(
    outputs: int, cut: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_dense, "most_shared", lambda: 0)
    assert gpu_dense._block(104, 2, outputs, cut, 4)[:3] == (1, 1, True)
    potential = check_neuron(Sizes(104, 2, outputs), (40,), 0.1, dtype, 0, filters(cut).spiking)
    assert 0.02 < (potential >= 10).mean() < 0.9


@both
@pytest.mark.parametrize("samples", [1, 4, 5])
def test_several_samples_in_a_block(samples: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_dense, "_BLOCKS", 1)
    assert gpu_dense._block(40, 5, 10, 20, 4).together == 4
    potential = check_neuron(Sizes(40, samples, 10), (3, 5, 2), 0.2, dtype, 0, SRM.spiking)
    assert 0.02 < (potential >= SRM.theta).mean() < 0.9


@pytest.mark.parametrize("flush", [False, True])
def test_a_long_silence(flush: bool) -> None:
    """States that decay become 0 on both devices, before they are subnormal numbers, which a GPU may flush."""
    x, w = np.zeros((600, 1, 5), bool), normal(0, (5, 3), "float32", 20)
    x[:3] = True
    neurons = [cs.SRM(tau_sr=2.0, cutoff=0, ref_cutoff=0, gradient=of).spiking for of in ("slayer", "exact")]
    potential, _ = fire(cpu, cpu.dense.forward(cpu.spikes.synapse_input(x[:, 0]), w), neurons[0])
    g = normal(1, (600, 3), "float32") * (np.arange(600) > 590)[:, None]
    with emulation(flush):
        u, _ = gpu_dense.dense_neuron(packed_on_host(x), 600, w, none(w), neurons[0], np.dtype("float32"))
        found = [gpu_dense.dense_neuron_adjoint(g, u, 600, none(w), spiking) for spiking in neurons]
    same_bits(u, potential)
    assert (u[-1] == 0).all()
    for ours, spiking in zip(found, neurons, strict=True):
        close(ours, fire_adjoint(cpu, g, potential, spiking))
        assert (ours[0] == 0).all()


# The exact gradient grows by 20 at a step.
GROWING = cs.SRM(1.0, 1.0, 2.0, cutoff=0, ref_cutoff=0, tau_rho=0.05078125, scale_rho=0.65625, gradient="exact")


def check_adjoint(sizes: Sizes, following: int | None, dtype: str, seed: int, srm: cs.SRM, half: bool) -> None:
    """Hold the gradient against the CPU's; g is a product with the weight of a layer if `following`."""
    u = normal(seed, sizes.by_step, dtype, 3 * srm.theta)
    kept = stored(u, "float16") if half else u
    g: Any = normal(seed + 1, sizes.by_row, dtype)
    if following is not None:
        g = Product(
            normal(seed + 1, (sizes.by_row[0], following), dtype), normal(seed + 2, (sizes.outputs, following), dtype)
        )
    matrix = g if following is None else (g.errors.astype(np.float64) @ g.weight.T.astype(np.float64)).astype(dtype)
    given_ = matrix.reshape(sizes.by_step), kept.astype(dtype)
    ours = gpu_dense.dense_neuron_adjoint(g, kept, sizes.steps, none(u), srm.spiking)
    # Of a filter that is cut very short only the rounding of its two states is left, and a product may cancel.
    factors = norm(g.errors) * norm(g.weight) if following else 0
    least = max(norm(fire_adjoint(cpu, *given_, srm.refracting)), srm.spiking.height * factors)
    theirs, double = (
        fire_adjoint(cpu, *(x.astype(of) for x in given_), srm.spiking).reshape(sizes.by_row) for of in (dtype, float)
    )
    close(ours, theirs, least=least, double=double)


@drawn
@given(
    st.builds(Sizes, steps_drawn, samples_drawn, outputs_drawn),
    st.sampled_from([None, 0, 1, 10, 32, 33]),
    dtypes,
    seeds,
    srms(),
    st.booleans(),
)
@example(Sizes(33, 2, 10), 3, "float32", 0, SRM, True)
@example(Sizes(9, 2, 33), 0, "float64", 0, SRM, False)
@example(Sizes(31, 2, 130), None, "float32", 1785, GROWING, False)
def test_dense_neuron_adjoint(
    sizes: Sizes, following: int | None, dtype: str, seed: int, srm: cs.SRM, half: bool
) -> None:
    check_adjoint(sizes, following, dtype, seed, srm, half)


@both
@pytest.mark.parametrize("room", [232_448, 0])
@cuts
def test_adjoint_filters_of_every_length(
    cut: int | None, room: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without room for the gradients of the potential in shared memory."""
    monkeypatch.setattr(gpu_dense, "most_shared", lambda: room)
    for gradient in ("slayer", "exact"):
        srm = filters(cut, gradient)
        check_adjoint(Sizes(104, 2, 17), None, dtype, 0, srm, half=False)
        # Two filters of different lengths.
        other = filters(9)
        srm = replace(srm, tau_ref=other.tau_ref, ref_cutoff=other.ref_cutoff)
        check_adjoint(Sizes(70, 1, 33), 3, dtype, 0, srm, half=True)
