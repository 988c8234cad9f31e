"""Emulated CUDA of every kind of neuron against the CPU: equal to the bit forward, up to exp's rounding back."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import neurons
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.print_cuda import header
from cuslayer.neurons import loihi
from cuslayer.neurons.base import GRADIENTS
from tests.kernels.test_twins import Array, close, dtypes, normal, same_bits, seeds, shapes
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins_surrogate import surrogates
from tests.support import reference
from tests.support.kinds import Compartments, Echo, Names, Offset, Quadratic, Resting
from tools import nvrtc

many = settings(max_examples=20, deadline=None)
KINDS: dict[str, Any] = {
    "LIF": lambda draw, **o: cs.LIF(reset=draw(st.sampled_from(["zero", "subtract", None])), **o),
    "CUBA": lambda draw, **o: cs.CUBA(reset=draw(st.sampled_from(["zero", "subtract", None])), **o),
    "AdaptiveLIF": lambda draw, **o: cs.AdaptiveLIF(rise=draw(st.floats(0, 2)), scale_ref=draw(st.floats(0, 2)), **o),
    "ResonateAndFire": lambda draw, **o: cs.neurons.ResonateAndFire(
        reset=draw(st.sampled_from(["izhikevich", "zero", "subtract", None])), **o
    ),
    "BalancedResonateAndFire": lambda draw, **o: cs.neurons.BalancedResonateAndFire(1.0, 0.5, dt=500.0, **o),
    # With the default q, the constants drawn here let numbers grow beyond all bounds.
    "AdLIF": lambda draw, **o: cs.AdLIF(q=draw(st.sampled_from([0.5, 2.0])), **o),
    "Quadratic": lambda draw, **o: Quadratic(**o),
    "Resting": lambda draw, **o: Resting(**o),
    "Compartments": lambda draw, **o: Compartments(**o),
    "Offset": lambda draw, **o: Offset(**o),
    "Echo": lambda draw, **o: Echo(near=draw(st.integers(0, 9)), far=draw(st.integers(1, 90)), **o),
    "SigmaDelta": lambda draw, **o: cs.neurons.SigmaDelta(
        activation=draw(st.sampled_from(["relu", None])), sums=draw(st.booleans()), **(o | {"graded": True})
    ),
}
SHIPPED = [kind for kind in vars(neurons).values() if getattr(kind, "step", None) is not None]
for kind in SHIPPED:  # kinds without options of their own here
    if kind is not cs.Loihi:
        KINDS.setdefault(kind.__name__, lambda draw, kind=kind, **o: kind(**o))


@st.composite
def spikings(draw: st.DrawFn, names: tuple[str, ...] = tuple(KINDS)) -> StepSpiking:
    options = {"theta": draw(st.floats(0.5, 5)), "gradient": draw(st.sampled_from(GRADIENTS))}
    options |= {"graded": draw(st.booleans()), "tau_rho": draw(st.floats(0.3, 2)), "scale_rho": 0.2}
    options["surrogate"] = draw(st.one_of(st.just("exponential"), surrogates))
    name = draw(st.sampled_from(names))
    if name == "SigmaDelta" or options["graded"]:
        options["gradient"] = draw(st.sampled_from(GRADIENTS[:3]))
    found: StepSpiking = KINDS[name](draw, **options).spiking
    return found


def constants_of(spiking: StepSpiking, seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    """Return constants, one for all or one for each of the last axis, some of them 0 except units, which divide."""
    generator = np.random.default_rng(seed)
    size = (len(spiking.kind.columns), int(generator.choice([1, max(shape[-1], 1)])))
    constants = generator.uniform(-0.3, 0.9, size) * (generator.random(size) < 0.9)
    for row, name in zip(constants, spiking.kind.columns, strict=True):
        if name == "unit":
            row[:] = 0.1 + np.abs(row)
    return constants.astype(dtype)


RELATIVE = {"float32": 1e-4, "float64": 1e-10}


def at_kind(x: Array | None, dtype: str) -> Array | None:
    return None if x is None else x.astype(dtype)


def case(spiking: StepSpiking, shape: tuple[int, ...], dtype: str, seed: int, held: bool) -> tuple[Any, ...]:
    kind = spiking.kind
    inputs = normal(seed, (len(kind.inputs), *shape), dtype, max(spiking.theta, 1.0))
    states = normal(seed + 1, (len(kind.states), math.prod(shape[1:])), dtype) if held else None
    return inputs, constants_of(spiking, seed, shape, dtype), states


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans(), st.booleans())
def test_neuron(shape: tuple[int, ...], dtype: str, spiking: StepSpiking, seed: int, held: bool, trained: bool) -> None:
    *given, states = case(spiking, shape, dtype, seed, held)
    after = [None if states is None else states.copy() for _ in range(2)]
    saves = spiking.saved(trained)
    ours, theirs = (k.scan.forward(*given, spiking, at, saves) for k, at in zip((gpu, cpu), after, strict=True))
    # Each device rounds the exponential of this step in its own way; in float64 no spike depends on it.
    rounds = spiking.kind.name == "Compartments"
    for mine, other in zip((*ours, *after), (*theirs, *after[::-1]), strict=True):
        if mine is not None and not rounds:
            same_bits(mine, other)
        elif mine is not None and dtype == "float64":
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9)


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans(), st.booleans())
def test_neuron_adjoint(
    shape: tuple[int, ...], dtype: str, spiking: StepSpiking, seed: int, held: bool, trained: bool
) -> None:
    inputs, constants, states = case(spiking, shape, dtype, seed, held)
    before = None if states is None else states.copy()
    u, _, kept = cpu.scan.forward(inputs, constants, spiking, before, spiking.saved(trained))
    numbers = (normal(seed + 2, shape, dtype), u, kept, constants)
    twins = [(gpu, dtype), (cpu, dtype), (cpu, "float64")]
    later = [None if states is None else np.zeros_like(states, kind) for _, kind in twins]
    # Only trained constants may need the gradients of some states: the second pass shows what the others do.
    for _ in range(2 if held else 1):
        ours, theirs, doubles = (
            device.scan.adjoint(*(x.astype(kind) for x in numbers), spiking, at_kind(states, kind), trained, at)
            for (device, kind), at in zip(twins, later, strict=True)
        )
        for mine, other, double in zip(ours, theirs, doubles, strict=True):
            close(mine, other, RELATIVE[dtype], least=1.0, double=double)
    if held and trained:
        close(*later[:2], RELATIVE[dtype], least=1.0, double=later[2])


PLAIN = {
    "LIF": (cs.LIF(gradient="exact"), [[0.9, 0.5, 0.01, 1e-8, 0.0]]),
    "CUBA": (cs.CUBA(gradient="exact"), [[0.9, 0.5, 0.01, 1e-8, 0.0], [0.5, 0.9, 0.0, 0.9, 1e-9]]),
    "AdaptiveLIF": (cs.AdaptiveLIF(gradient="exact"), [[0.9, 0.5, 0.01, 0.0, 0.7], [0.5] * 5, [0.9] * 5, [0.2] * 5]),
    "ResonateAndFire": (
        cs.neurons.ResonateAndFire(gradient="exact", tau_rho=0.5, scale_rho=0.1),
        [[0.8, 0.1, 0.0, 0.3, 0.2], [0.3, 0.1, 0.5, 0.0, 0.7]],
    ),
    "AdLIF": (cs.AdLIF(), [[0.9, 0.5, 0.01, 0.0, 0.7], [0.9] * 5, [0.1, 0.0, 0.1, 0.1, 0.2], [0.05] * 5]),
    "BalancedResonateAndFire": (
        cs.neurons.BalancedResonateAndFire(1.0, dt=500.0, scale_rho=1e-3),
        [[0.8, 0.1, 0.0, 0.3, 0.2], [0.3, 0.1, 0.5, 0.0, 0.7]],
    ),
    "NormalizedALIF": (cs.neurons.NormalizedALIF(), [[0.9, 0.5, 0.01, 0.0, 0.7], [0.9] * 5]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("device", [cpu, gpu], ids=["cpu", "gpu"])
def test_a_long_silence_has_no_subnormal_number(device: Any, kind: str, dtype: str) -> None:
    neuron, given = PLAIN[kind]
    steps, constants = 1500 if dtype == "float32" else 9000, np.array(given, dtype)
    x = np.zeros((1, steps, 5), dtype)
    x[:, :9] = normal(0, (9, 5), dtype)
    states = np.zeros((len(neuron.states), 5), dtype)
    u, _, kept = device.scan.forward(x, constants, neuron.spiking, states, neuron.spiking.saved(True))
    assert not states.any()
    y, _ = device.scan.adjoint(np.ascontiguousarray(x[0, ::-1]), u, kept, constants, neuron.spiking, None, True)
    for found in (u, kept, y):
        assert found.any() or not found.size
        assert not ((found != 0) & (abs(found) < np.finfo(found.dtype).tiny)).any()
    assert not u[-1].any()
    assert not y[0, 0].any()


@pytest.mark.parametrize("device", [cpu, gpu], ids=["cpu", "gpu"])
def test_at_the_threshold_and_past_every_number(device: Any) -> None:
    spiking, constants = cs.LIF(gradient="exact").spiking, np.full((1, 1), 0.9)
    x = np.array([[np.nextafter(1.0, 0.0), 1.0, np.nextafter(1.0, 2.0), np.nan, np.inf, -np.inf]])
    assert device.scan.forward(x[None], constants, spiking)[1].tolist() == [[False, True, True, False, True, False]]
    x = np.repeat(x, 9, axis=0)
    u, s, kept = device.scan.forward(x[None], constants, spiking)
    assert not np.isfinite(u[:, 3:]).any()
    assert s[1:, :3].any()
    back = device.scan.adjoint(np.ones_like(x), u, kept, constants, spiking)[0][0]
    assert np.isnan(back[:, 3:]).all()
    assert np.isfinite(back[:, :3]).all()


LOIHI = st.builds(
    cs.Loihi,
    vth_mant=st.one_of(st.integers(1, 300), st.integers(1, 2**17 - 1)),
    v_decay=st.integers(50, 4095),
    i_decay=st.integers(50, 4095),
    ref_delay=st.one_of(st.integers(1, 8), st.integers(1, 64)),
    wgt_exp=st.integers(-7, 7),
    tau_rho=st.floats(0.05, 2),
    scale_rho=st.floats(0.1, 1),
    first_bin=st.booleans(),
    surrogate_at=st.sampled_from(["before_reset", "recorded"]),
)


@many
@given(shapes, dtypes, LOIHI, st.floats(0, 6), seeds)
def test_loihis_integers(shape: tuple[int, ...], dtype: str, neuron: cs.Loihi, size: float, seed: int) -> None:
    x = normal(seed, shape, dtype, 10**size)
    ours, theirs = (loihi.run(k, x, neuron.constants) for k in (gpu, cpu))
    for mine, other in zip(ours, theirs, strict=True):
        same_bits(mine, other)
    flat = np.rint(x.reshape(shape[0], math.prod(shape[1:])))
    u, s = loihi.run(gpu, flat, neuron.constants)
    v, spikes = reference.loihi(flat[:, :3], neuron)
    np.testing.assert_array_equal(s[:, :3], spikes)
    seen = np.where(spikes, neuron.v_decay, v) if neuron.surrogate_at == "recorded" else v
    np.testing.assert_array_equal(u[:, :3].astype(np.int64), seen.astype(np.int64))
    g = normal(seed + 1, shape, dtype)
    close(*(loihi.adjoint(k, g, theirs[0], neuron.constants) for k in (gpu, cpu)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_size(dtype: str) -> None:
    x = np.array([[np.inf, -np.inf, np.nan, 1e30, -1e30, 2.0**18, -0.0, 80.0]] * 9, dtype)
    for neuron in (cs.Loihi(), cs.Loihi(vth_mant=2**17 - 1, wgt_exp=7, ref_delay=3)):
        for mine, other in zip(*(loihi.run(k, x, neuron.constants) for k in (gpu, cpu)), strict=True):
            same_bits(mine, other)


def test_the_command_shows_every_shipped_kind() -> None:
    shown = subprocess.check_output([sys.executable, "-m", "cuslayer.neurons"], text=True)
    assert all(f"struct {kind.__name__} {{" in shown for kind in (*SHIPPED, cs.SRM))


FUSED = [f"{layer}_neuron{back}" for layer in ("dense", "conv", "pool") for back in ("", "_adjoint")]
FUSED += ["conv_pool_adjoint", "norm_neuron"]
# The type of numbers on each architecture.
TYPES = {"sm_70": "float32", "sm_100": "float64"}


@pytest.mark.parametrize("arch", TYPES)
@pytest.mark.parametrize(
    "kind", [*(kind for kind in SHIPPED if kind is not cs.LIF), Quadratic, Resting, Compartments, Offset, Echo, Names]
)
def test_each_kind_compiles_without_warnings_and_keeps_everything_in_registers(kind: Any, arch: str) -> None:
    """`test_nvrtc.py` compiles the same sources for LIF. AdaptiveLIF has the most states, and needs most registers."""
    topics = ["scan", *(["recurrent"] if kind is not cs.Loihi else []), *(FUSED if kind is cs.AdaptiveLIF else [])]
    for topic in topics:
        options = (*source.OPTIONS, "--ptxas-options=-v")
        text = source.text(topic, np.dtype(TYPES[arch]), header(kind.kind(), cs.surrogates.MultiGaussian().shape.curve))
        machine, log = nvrtc.compile(text, arch, options)
        assert machine.startswith(b"\x7fELF")
        assert not [line for line in log.splitlines() if "warning" in line.lower() and "deprecated" not in line]
        assert set(re.findall(r"(\d+) bytes (?:stack|spill)", log)) == {"0"}
