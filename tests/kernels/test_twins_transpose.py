"""Transposed convolution on emulated CUDA, and the gradient of its weight, against the CPU's loop over the spikes."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Window
from tests.kernels import test_twins
from tests.kernels.test_twins import close, dtypes, few, images, norm, normal, seeds, train
from tests.kernels.test_twins import emulator as emulator


def result(drawn):
    """Return the shape (frames, rows, columns) of what is transposed, the window, and the image it becomes."""
    frames, window = drawn
    small = (frames[0], frames[1] - 3, frames[2] - 4)
    sizes = [
        (small[axis + 1] - 1) * window.stride[axis]
        - 2 * window.padding[axis]
        + window.dilation[axis] * (window.kernel[axis] - 1)
        + max(window.stride[axis], window.dilation[axis])
        for axis in (0, 1)
    ]
    assume(min(sizes) > 0)
    return small, window, (sizes[0], sizes[1])


@few
@given(images(), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.booleans(), dtypes, seeds)
def test_conv_transpose(drawn, groups, inputs, outputs, spikes, dtype, seed):
    gpu = test_twins.gpu
    frames, window, image = result(drawn)
    shape = (*frames, inputs * groups)
    x = train(seed, shape) if spikes else normal(seed, shape, "float64")
    w = normal(seed, (*window.kernel, outputs, inputs * groups), dtype)
    ours = gpu.conv_transpose.forward(gpu.spikes.synapse_input(x), w, image, window, groups)
    theirs = cpu.conv_transpose.forward(cpu.spikes.synapse_input(x), w, image, window, groups)
    assert theirs.shape == (frames[0], *image, outputs * groups)
    close(ours, theirs, 1e-5, least=norm(w))
    g = normal(seed, (frames[0], *image, outputs * groups), dtype)
    ours = gpu.conv_transpose.weight_adjoint(gpu.spikes.synapse_input(x), g, window, groups)
    theirs = cpu.conv_transpose.weight_adjoint(cpu.spikes.synapse_input(x), g, window, groups)
    assert theirs.shape == (*window.kernel, outputs, inputs * groups)
    close(ours, theirs, 1e-5, least=norm(g))


@pytest.mark.cpu_only
def test_a_frame_of_one_spike_is_its_window():
    x = np.zeros((1, 2, 3, 2), bool)
    x[0, 1, 2, 1] = True
    w = normal(0, (2, 3, 4, 2), "float32")
    window = Window((2, 3), (3, 2), (1, 1), (1, 1))
    out = cpu.conv_transpose.forward(cpu.spikes.synapse_input(x), w, (5, 6), window, 1)
    assert (out[0, 2:4, 3:6] == w[:, :, :, 1]).all()
    out[0, 2:4, 3:6] = 0
    assert not out.any()


@few
@given(images(), st.integers(1, 3), dtypes, seeds)
def test_pooling_and_that_with_a_weight_for_each_tap(drawn, channels, dtype, seed):
    gpu = test_twins.gpu
    frames, window = drawn
    x, w = normal(seed, (*frames, channels), dtype), normal(seed, window.kernel, dtype)
    least = norm(cpu.pool.weighted_pool(abs(x), abs(w), window))
    close(gpu.pool.weighted_pool(x, w, window), cpu.pool.weighted_pool(x, w, window), least=least)
    for each in (x, train(seed, x.shape)):
        close(gpu.pool.forward(each, window, 11), cpu.pool.forward(each, window, 11), 1e-5)
    g = normal(seed, (frames[0], *window.outputs(frames[1:], ceil=True), channels), dtype)
    image = frames[1:]
    ours = gpu.pool.weighted_pool_adjoint(g, w, image, window)
    theirs = cpu.pool.weighted_pool_adjoint(g, w, image, window)
    assert theirs.shape == (*frames, channels)
    close(ours, theirs, least=norm(cpu.pool.weighted_pool_adjoint(abs(g), abs(w), image, window)))
    ours, theirs = gpu.pool.weight_adjoint(x, g, window), cpu.pool.weight_adjoint(x, g, window)
    assert theirs.shape == window.kernel
    # A window of one pixel has one weight, to which all gradients are added.
    close(ours, theirs, least=norm(cpu.pool.weight_adjoint(abs(x), abs(g), window)))
