"""Tests of potentials that backward computes again from checkpoints: the same bits as of potentials that were saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import on_potential, recomputable
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.kernels.fused.cpu import Checkpoints, ConvPass, saved_type
from cuslayer.kernels.synapse.conv.spikes import CHUNK

pytestmark = pytest.mark.cpu_only

NONE = np.empty((0, 1), np.float32)  # no constants of each neuron
SRM = cs.SRM(theta=3.0, tau_sr=3.0, scale_ref=1.0)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 5])
@pytest.mark.parametrize(
    "srm",
    [
        SRM,
        replace(SRM, cutoff=0.0, ref_cutoff=0.0),
        replace(SRM, tau_sr=20.0),
        replace(SRM, tau_ref=9.0),
        replace(SRM, ref_cutoff=0.0),
    ],
    ids=["short", "uncut", "long response", "long refraction", "uncut refraction"],
)
def test_gradients_of_computed_potentials_have_the_bits_of_saved_ones(steps: int, srm: cs.SRM) -> None:
    """For filters shorter and longer than a chunk, cut and uncut; maps of which the last block has fewer rows."""
    generator = np.random.default_rng(steps)
    for samples, rows, columns, channels, maps, height in ((2, 7, 5, 2, 3, 2), (1, 9, 16, 1, 32, 3)):
        x = generator.random((steps * samples, rows, columns, channels)) < 0.2
        w = (4 * generator.standard_normal((3, 3, channels, maps))).astype(np.float32)
        pooling = Pooling(Window.of(height, height, 0, 1), 3.3, NONE, srm.spiking)
        frames, window = cpu.spikes.synapse_input(x), Window.of(3, 1, 1, 1)
        fused: Any = cpu.fused.conv_pool_kernels(frames, window, 1, pooling, srm.spiking)
        constants = window, NONE, srm.spiking, pooling
        found = []
        for keep in (w.dtype, Checkpoints):
            u, pooled_u, s = fused.conv_pool(frames, steps, w, *constants, keep)
            assert isinstance(u, Checkpoints) == (keep is Checkpoints)
            g = np.random.default_rng(1).standard_normal(s.shape).astype(np.float32)
            back = fused.conv_pool_adjoint(frames, steps, g, u, pooled_u, *constants, True)
            found.append([s, *back])
        assert steps < 3 or (found[0][1] != 0).any()
        for saved, computed in zip(*found, strict=True):
            assert saved.tobytes() == computed.tobytes()


def trained(cores: int, *, observed: bool = False) -> list[bytes]:
    """Return the spikes and gradients of a network on a number of cores."""
    cs.threads(cores)
    cs.seed(3)
    net = cs.Network("12x11x2-4c3-2a-6c3-2a-5", cs.SRM(tau_ref=3.0))
    x = np.random.default_rng(0).random((75, 3, 12, 11, 2)) < 0.045
    assert saved_type(cpu.spikes.synapse_input(x.reshape(-1, *x.shape[2:])))
    if observed:
        with on_potential(lambda u: None):
            spikes = net(x)
    else:
        spikes = net(x)
    spikes.backward(np.random.default_rng(1).standard_normal(spikes.shape).astype(np.float32))
    assert all((p.grad != 0).any() for p in net.parameters())
    return [spikes.data.tobytes(), *(p.grad.tobytes() for p in net.parameters())]


def test_observers_and_cores_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An observer sees potentials, which are saved then."""
    alone = trained(1)
    assert trained(1, observed=True) == alone
    for cores in (2, 3):
        assert trained(cores) == alone


def test_the_potential_before_pooling_takes_a_byte_a_step() -> None:
    """States of 16 bytes for 32 steps, and a byte for each spike within refraction."""
    steps, srm = 300, cs.SRM()
    x = np.zeros((steps, 34, 34, 2), bool)
    frames, window = cpu.spikes.synapse_input(x), Window.of(5, 1, 2, 1)
    pooling = Pooling(Window.of(2, 2, 0, 1), 11.0, NONE, srm.spiking)
    fused: Any = cpu.fused.conv_pool_kernels(frames, window, 1, pooling, srm.spiking)
    w = np.ones((5, 5, 2, 16), np.float32)
    u, _, _ = fused.conv_pool(frames, steps, w, window, NONE, srm.spiking, pooling, Checkpoints)
    assert 0 < u.states.nbytes + u.fired.nbytes < steps * 34 * 34 * 16


@pytest.mark.parametrize(("spikes", "expected"), [(0, Checkpoints), (9, Checkpoints), (10, None), (200, None)])
def test_potentials_of_busy_input_are_saved(spikes: int, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 5 % on, here 10 of 200 bins."""
    x = (np.arange(200) < spikes).reshape(10, 1, 5, 4, 1)
    assert saved_type(cpu.spikes.synapse_input(x[:, 0])) is expected
    kept = []
    forward = ConvPass.conv_pool
    monkeypatch.setattr(
        ConvPass, "conv_pool", lambda *given, **shift: kept.append(given[-1]) or forward(*given, **shift)
    )
    cs.Network("5x4x1-2c3-2a", SRM)(x)
    assert kept == [expected or np.float32]


def test_potentials_are_saved_for_observers_and_without_gradients_not_at_all() -> None:
    assert recomputable()
    with cs.no_grad():
        assert not recomputable()
    with on_potential(lambda u: None):
        assert not recomputable()
