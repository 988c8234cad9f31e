"""Emulated CUDA kernels of batch normalization against the CPU's, whose sums are in float64."""

import math

import numpy as np
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cuslayer._tape import to_shape
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.norm.scaling import Scale, Scaling
from tests.kernels.test_twins import close, dtypes, few, normal, same_bits, seeds, shapes
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins_neuron import KINDS, constants_of, spikings

# Threads without a channel, blocks of some channels, channels of several blocks; some rows, and several blocks of them.
channels = st.sampled_from([1, 3, 5, 16, 130, 256, 257, 600])
# Each device rounds the exponential of Compartments in its own way.
SAME_BITS = tuple(name for name in KINDS if name != "Compartments")
frames = st.sampled_from([(1, 1), (2, 3), (7, 1, 2), (40, 2, 3, 4)])


@few
@given(frames, channels, dtypes, st.sampled_from(["none", "power", "std"]), st.booleans(), st.booleans(), seeds)
@example((400, 2, 9), 3, "float32", "std", True, True, 0)
@example((60, 2, 9), 130, "float64", "std", True, True, 1)
@example((0, 2), 3, "float32", "std", True, False, 2)
def test_batch_norm(frames, count, dtype, kind, trained, of_batch, seed):
    x = normal(seed, (*frames, count), dtype, 3) + normal(seed + 1, (count,), dtype, 20)
    g, given_mean = normal(seed + 2, x.shape, dtype), normal(seed + 3, (count,), dtype)
    gain, offset = (normal(seed + i, (count,), dtype) if trained else None for i in (4, 5))
    scaling, found = Scaling(kind, 2.5, 1e-5, (-3, 2)), []
    for device in (gpu, cpu):
        # The error of float32 sums on the CPU is not the kernels'.
        real = np.float64 if device is cpu else x.dtype
        arrays = [None if a is None else a.astype(real) for a in (x, g, gain, offset)]
        running = (given_mean.astype(real), np.square(given_mean).astype(real))
        if of_batch and x.size:
            mean, var = device.norm.statistics(arrays[0], running, 0.25)
            more = device.norm.statistics(arrays[0], None, 0.0)
            np.testing.assert_array_equal(more, (mean, var))
        else:
            mean, var = running
        y, applied = device.norm.forward(arrays[0], Scale(mean, var, mean, *arrays[2:], scaling))
        hooked = (lambda of_centre: of_centre * 0.5) if seed % 2 else None
        given = arrays[1], arrays[0], applied, arrays[2]
        gradients = device.norm.adjoint(*given, scaling, of_batch and x.size > 0, hooked)
        found.append([mean, var, *running, y, gradients[0](), gradients[1](), *gradients[2:]])
    for ours, theirs in zip(*found, strict=True):
        if theirs is not None:
            close(ours, theirs.astype(dtype), 3e-6 if dtype == "float32" else 1e-11)


@few
@given(shapes, dtypes, spikings(SAME_BITS), st.sampled_from(["none", "std"]), st.booleans(), seeds)
def test_batch_norm_and_neurons(shape, dtype, spiking, kind, trained, seed):
    assume(math.prod(shape) and len(spiking.kind.inputs) == 1)
    x = normal(seed, shape, dtype, 4)
    mean, gain, offset = (normal(seed + i, shape[-1:], dtype, 3) for i in range(1, 4))
    affine = (gain, offset) if trained else (None, None)
    scale = Scale(mean, np.square(mean), mean * 2, *affine, Scaling(kind, 2.5, 1e-5, (-3, 2)))
    given = x, scale, constants_of(spiking, seed, shape, dtype), spiking, x.dtype
    (ours, of_ours), (theirs, of_theirs) = (k.fused.norm_kernels(x).norm_neuron(*given) for k in (gpu, cpu))
    for mine, other in zip(ours, theirs, strict=True):
        same_bits(mine, other)
    for name in ("centre", "divisor", "mean"):
        same_bits(getattr(of_ours, name), getattr(of_theirs, name))


def test_sums_of_millions():
    x = np.repeat(np.array([[[0.0, 0.1]], [[0.6, 0.1]]], np.float32), 1 << 22, axis=1)
    mean, var = cpu.norm.statistics(x, None, 0.1)
    np.testing.assert_allclose([*mean, *var], [0.3, 0.1, 0.09, 0.0], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(to_shape(x, (2,)), x.astype(np.float64).sum(axis=(0, 1)), rtol=1e-7)
