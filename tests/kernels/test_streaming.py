"""Rows of large results are written past the caches: the same bits, wherever they begin and end."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import cuslayer
from cuslayer import jit
from cuslayer.kernels import cpu
from cuslayer.kernels.host import streaming
from cuslayer.neurons.adaptive_lif import AdaptiveLIF
from cuslayer.neurons.lif import LIF
from cuslayer.neurons.sampled_srm import SampledSRM
from cuslayer.neurons.srm import SRM


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_row_is_copied_and_nothing_beside_it(dtype):
    lanes = streaming.VECTOR_BYTES // np.dtype(dtype).itemsize
    memory = np.zeros(8 * lanes, dtype)
    source = np.arange(1, 4 * lanes + 1).astype(dtype)
    for begin in range(lanes + 1):
        for size in (0, 1, lanes - 1, lanes, lanes + 1, 3 * lanes + 1):
            memory[:] = 0
            streaming.write_row(memory[begin : begin + size], source[:size], True)
            np.testing.assert_array_equal(memory[begin : begin + size], source[:size])
            assert np.count_nonzero(memory) == size


def adaptive(x, g, keep):
    spiking = AdaptiveLIF(theta=1.0, gradient="exact").spiking
    states = np.stack([abs(x[0])] * 4)
    u, s, h, r = cpu.adaptive.forward(x, (keep,) * 4, spiking, states, True)
    alone = cpu.adaptive.forward(x, (keep,) * 4, spiking)[:2]
    return [states, u, s, h, r, *alone, *cpu.adaptive.adjoint(g, u, h, r, (keep,) * 4, spiking, None, True)]


def leaky(x, g, keep):
    return [cpu.leaky.adjoint(g, x, keep, keep, LIF(theta=1.0, gradient="exact").spiking)]


def srm(x, g, keep):
    neuron = SRM(theta=1.0)
    constants = neuron.filter, neuron.spiking
    return [cpu.srm.neuron_adjoint(g, x, *constants), cpu.srm.neuron_adjoint_exact(g, x, *constants)]


def sampled(x, g, keep):
    neuron = SRM(theta=1.0)
    return [*cpu.sampled_srm.sampled_spike(x, SampledSRM(neuron.response, neuron.refractory, theta=1.0).spiking)]


def filtered(x, g, keep):
    w = np.linspace(1, 2, 22).reshape(2, 11).astype(x.dtype)
    both = np.repeat(g, 2, axis=1)
    forward = [cpu.filter_bank.forward(given, w) for given in (x, x > 0, x > 1.5)]
    return [*forward, cpu.filter_bank.adjoint(both, w), cpu.response.fir_adjoint(g, w[0])]


def delayed(x, g, keep):
    delay, near = np.arange(x.shape[1]) % 13 - 3, abs(g[0])
    linear = cpu.delay.shift_linear(x, delay, near, near)
    shared = cpu.response.shift(x, delay * 0 + 2)
    return [linear, shared, cpu.response.shift(x, delay), cpu.response.shift_spikes(x > 1, delay)]


def clipped(x, g, keep):
    return [*cpu.optim.clip_values([x, g[0, :1]], 0.5), *cpu.optim.clip_norm([x, g[0, :1]], 0.5)]


@pytest.mark.parametrize("results", [adaptive, leaky, srm, sampled])
@pytest.mark.parametrize("begin", [1, 512, 2100])
def test_a_column_does_not_know_where_its_piece_begins(results, begin, monkeypatch):
    # One part of all columns, whatever the machine.
    monkeypatch.setattr(jit, "cores", lambda: 1)
    generator = np.random.default_rng(5)
    x, g = (generator.standard_normal((11, 3001), np.float32) for _ in range(2))
    keep = generator.random(3001, np.float32)
    parts = [np.ascontiguousarray(array[..., begin:]) for array in (x, g, keep)]
    for one, other in zip(results(x, g, keep), results(parts[0], parts[1], parts[2]), strict=True):
        assert one[..., begin:].tobytes() == other.tobytes()


@pytest.mark.parametrize("results", [adaptive, leaky, srm, sampled, filtered, delayed, clipped])
@pytest.mark.parametrize(
    ("dtype", "shape"), [("float32", (37, 4133)), ("float64", (9, 301)), ("float32", (20, 1040)), ("float32", (3, 1))]
)
def test_large_results_have_the_bits_of_small_ones(results, dtype, shape, monkeypatch):
    generator = np.random.default_rng(4)
    x, g = (generator.standard_normal(shape).astype(dtype) for _ in range(2))
    keep = np.full(1, 0.9, dtype)
    monkeypatch.setattr(jit, "cores", lambda: 1)
    small = results(x, g, keep)
    monkeypatch.setattr(streaming, "_LARGE", 0)
    for one, other in zip(small, results(x, g, keep), strict=True):
        assert one.tobytes() == other.tobytes()


def test_kernels_complete_what_they_write_past_the_caches():
    """Whatever writes such rows ends with a fence: another thread may read them next."""
    found, writers = 0, ("write_row", "put", "filter_tile")
    for path in (Path(cuslayer.__file__).parent / "kernels").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or node.name in writers:
                continue
            if any(re.search(rf"\b{writer}\(", ast.unparse(node.body)) for writer in writers):
                found += 1
                assert ast.unparse(node.body[-1]) == "fence()", f"{path.name}: {node.name}"
    assert found >= 12
