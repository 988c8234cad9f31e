"""Edge cases of the kernels that random tests rarely reach: potentials at the threshold, edges of blocks and rings."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer._base.parallel import BLOCK
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.kernels.fused import cpu as fused
from cuslayer.kernels.synapse import matrix
from cuslayer.kernels.synapse.conv import spikes as conv_spikes
from cuslayer.kernels.synapse.conv.spikes import CHUNK
from tests.kernels.test_twins import fire, fire_adjoint


def srm_of(theta, **constants):
    theta = float(theta)
    options = {"tau_sr": 4.0, "tau_ref": 3.0, "cutoff": 0.05, "ref_cutoff": 0.05} | constants
    return cs.SRM(theta=theta, tau_rho=1.5 / theta, scale_rho=0.6, **options)


def test_blocks_of_columns_begin_at_rest():
    """A thread that brings one block of columns through time after another leaves nothing of the first behind."""
    cs.threads(1)
    srm = srm_of(2)
    exact = srm.with_gradient("exact")
    response = srm.filter
    assert max(response.taps, srm.refraction.taps) < 40
    x, g = np.random.default_rng(0).normal(0.5, 2, (2, 40, 2 * BLOCK + 3))

    def everything(x, g):
        u, s = fire(cpu, x, srm.spiking)
        return [
            *(u, s, *fire(cpu, x, srm.refracting), response.apply(cpu, x), response.adjoint(cpu, g)),
            *(cpu.filter_bank.fir(x, response.samples()), cpu.filter_bank.fir_adjoint(g, response.samples())),
            *(cpu.sampled_srm.surrogate_adjoint(g, u, srm.spiking), fire_adjoint(cpu, g, u, exact.refracting)),
            *(fire_adjoint(cpu, g, u, srm.spiking), fire_adjoint(cpu, g, u, exact.spiking)),
        ]

    whole = everything(x, g)
    for columns in (slice(BLOCK - 1, BLOCK + 2), slice(2 * BLOCK, None)):
        part = everything(np.ascontiguousarray(x[:, columns]), np.ascontiguousarray(g[:, columns]))
        for all_of_it, some in zip(whole, part, strict=True):
            np.testing.assert_array_equal(all_of_it[:, columns], some)


def test_broken_rows_are_taken_as_whole_ones(emulated):
    """A gradient that was broadcast or transposed is not contiguous, and the kernels want nothing else."""
    generator = np.random.default_rng(0)
    whole = [generator.normal(1, 2, (9, 12)) for _ in range(2)]
    broken = [np.asfortranarray(x) for x in whole]
    srm, delay = srm_of(2), np.arange(12) - 3
    exact = srm.with_gradient("exact")
    response = srm.filter
    taps = response.samples()

    def everything(x, g):
        weights, squares = [np.ones((9, 12)) for _ in range(2)], np.zeros(1)
        numbers = np.array([[0.9, 0.01, -9.0, 9.0]]), np.full((1, 1, 1), 0.1), np.zeros(2, int), np.zeros((1, 2), int)
        gpu.optim.sgd_all(weights[:1], [g], weights[1:], *numbers)
        gpu.optim.add_squares(squares, [g])
        return [
            *(
                squares,
                *weights,
                *gpu.optim.clip_values([g], 1.0),
                *fire(gpu, x, srm.spiking),
                *fire(gpu, x, srm.refracting),
            ),
            *(response.apply(gpu, x), response.apply(gpu, x > 1), response.adjoint(gpu, g)),
            *(
                gpu.filter_bank.fir(x, taps),
                gpu.filter_bank.fir_adjoint(g, taps),
                gpu.delay.shift(x, delay),
                gpu.delay.shift_spikes(x > 1, delay),
            ),
            *(gpu.sampled_srm.surrogate_adjoint(g, x, srm.spiking), fire_adjoint(gpu, g, x, exact.refracting)),
            *(fire_adjoint(gpu, g, x, srm.spiking), fire_adjoint(gpu, g, x, exact.spiking)),
        ]

    for ours, theirs in zip(everything(*broken), everything(*whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Two whole chunks and a part of one, so that rings of the cut and a chunk turn; and more blocks than parts of a sum.
STEPS = 70
FIRST = {"spiking": srm_of(10, tau_sr=3.0, cutoff=0.2).spiking}
SECOND = {"spiking": srm_of(9, tau_sr=2.0, cutoff=0.1).spiking}
NONE = np.empty((0, 1), np.float32)


def neurons(x, constants):
    return functions.neuron(x, **constants)


def steady(samples, *shape):
    return np.random.default_rng(0).random((STEPS, samples, *shape)) < 0.3


def weight(*shape):
    # float32: in no other type is all of it one pass.
    return cs.Tensor((np.random.default_rng(1).standard_normal(shape) * 6).astype(np.float32), requires_grad=True)


def same(ours, theirs, rate):
    assert ours[0].mean() > rate
    np.testing.assert_array_equal(ours[0], theirs[0])
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=100 * np.finfo(one.dtype).eps * np.abs(other).max())


def without_gradients(x, w, constants, monkeypatch):
    """Return the spikes behind a dense layer where no gradient is wanted, and see that they were made in one pass."""
    one_pass, calls = fused.dense_neuron, []
    monkeypatch.setattr(
        fused, "dense_neuron", lambda *given, **shift: calls.append(len(given)) or one_pass(*given, **shift)
    )
    with cs.no_grad():
        s = functions.dense_neuron(x, w, **constants)
    assert len(calls) == 1
    return s.data


@pytest.mark.parametrize("wanted", [False, True])
# Channels that are less than a vector, and those that are a vector and a rest.
@pytest.mark.parametrize(("together", "outputs"), [(1, 3), (1024, 19)])
def test_whole_chunks_of_convolution_and_pooling(together, outputs, wanted, monkeypatch):
    monkeypatch.setattr(conv_spikes, "_TOGETHER", together)
    pool, runs = cs.SumPool((2, 3), gain=8.0), []
    for one_pass in (True, False):
        x, w = cs.Tensor(steady(8, 5, 8, 2), requires_grad=wanted), weight(3, 2, 2, outputs)
        if one_pass:
            pooling = Pooling(Window.of((2, 3), (2, 3), 0, 1), 8.0, NONE, **SECOND)
            s = functions.conv_pool(x, w, pooling=pooling, padding=(1, 0), **FIRST)
        else:
            s = neurons(pool(neurons(functions.conv(x, w, padding=(1, 0)), FIRST)), SECOND)
        s.backward(np.random.default_rng(2).standard_normal(s.shape))
        runs.append([s.data, w.grad, *([x.grad] if wanted else [])])
    same(*runs, 0.05)


@pytest.mark.parametrize("groups", [1, 2])
def test_blocks_of_frames_leave_no_seam(groups, monkeypatch):
    generator = np.random.default_rng(0)
    window = Window.of((3, 2), 1, 1, 1)
    x, w = generator.standard_normal((7, 6, 5, 4)), generator.standard_normal((3, 2, 4 // groups, 6))
    g = generator.standard_normal((7, 6, 6, 6))

    def everything():
        return [matrix.conv(x, w, window, groups), matrix.conv_weight_adjoint(x, g, window, groups)]

    whole = everything()
    # Two frames of patches at a time; the last block has one.
    two = 2 * (6 * 6) * (3 * 2 * 4) * 8
    monkeypatch.setattr(matrix, "_BLOCK_BYTES", two)
    for ours, theirs in zip(everything(), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


# Past spikes are remembered for 59 steps, longer than a chunk. The cut is at a tenth of the peak, so that a spike that
# is forgotten too late or too early moves others.
LONG = srm_of(10, tau_ref=12.0, ref_cutoff=2.0, tau_sr=3.0, cutoff=0.2)


@pytest.mark.parametrize("layer", ["dense", "conv", "conv_pool"])
def test_a_refraction_longer_than_a_chunk(layer, monkeypatch):
    cut = LONG.refraction.taps
    assert CHUNK < cut < 2 * CHUNK
    constants = {"spiking": LONG.spiking}
    generator = np.random.default_rng(3)
    if layer == "dense":
        x, w = generator.random((200, 4, 9)) < 0.3, generator.standard_normal((9, 20)) * 9
        one, two = without_gradients(x, w, constants, monkeypatch), neurons(functions.dense(x, w), constants).data
    else:
        x, w = generator.random((200, 2, 4, 6, 2)) < 0.3, weight(3, 2, 2, 3)
        pooling = Pooling(Window.of(2, 2, 0, 1), 8.0, (), LONG.spiking)
        apart = neurons(functions.conv(x, w), constants)
        if layer == "conv":
            one, two = functions.conv_neuron(x, w, **constants).data, apart.data
        else:
            one = functions.conv_pool(x, w, pooling=pooling, **constants).data
            two = neurons(cs.SumPool(2, gain=8.0)(apart), constants).data
    assert two[cut:].mean() > 0.02
    np.testing.assert_array_equal(one, two)


def test_the_gain_of_pooling_is_float32():
    """5.61 is none of float32's numbers: a sum of spikes times it has other bits where the gain is a float64."""
    gain, counts = 5.61, np.arange(1, 7, dtype=np.float32)
    rounded = counts * np.float32(gain)
    assert (rounded != (counts.astype(np.float64) * gain).astype(np.float32)).any()
    x = np.tril(np.ones((6, 6), bool))[:, None, :, None]
    window = Window.of((1, 6), (1, 6), 0, 1)
    found = cpu.pool.forward(x, window, gain)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.ravel(), rounded)
    spread = cpu.pool.adjoint(found, (1, 6), window, gain)
    np.testing.assert_array_equal(spread[:, 0, 0, 0], rounded * np.float32(gain))


def test_the_potential_behind_fused_pooling_has_the_gain_in_float32():
    x, w = steady(2, 4, 7, 2), np.abs(weight(3, 2, 2, 3).data)
    window, tiles = Window.of((3, 2), 1, 0, 1), Window.of((2, 3), (2, 3), 0, 1)
    pooling = Pooling(tiles, 5.61, NONE, **SECOND)
    frames = cpu.spikes.synapse_input(x.reshape(-1, *x.shape[2:]))
    constants = (window, NONE, FIRST["spiking"])
    _, kept, s = cpu.fused.conv_pool_kernels(frames, window, 1, pooling, FIRST["spiking"]).conv_pool(
        frames, STEPS, w, *constants, pooling, np.dtype(np.float32)
    )
    passes = cpu.fused.conv_kernels(frames, window, 1, FIRST["spiking"])
    _, between = passes.conv_neuron(frames, STEPS, w, *constants, None)
    pooled = cpu.pool.forward(between, tiles, 5.61)
    # The counts at which the two gains make different numbers, as in the test above.
    counts = np.arange(7, dtype=np.float32)
    differ = counts * np.float32(5.61) != (counts.astype(np.float64) * 5.61).astype(np.float32)
    assert np.isin(pooled, (counts * np.float32(5.61))[differ]).sum() > 5
    u, fired = fire(cpu, pooled.reshape(STEPS, -1), SECOND["spiking"])
    np.testing.assert_array_equal(s.ravel(), fired.ravel())
    # The potentials are kept by sample, each being one block: a row of 2 tiles of 3 channels.
    each = u.reshape(STEPS, 2, -1)
    np.testing.assert_array_equal(kept[:, :, : each.shape[2]], each.swapaxes(0, 1))
