"""Record neurons from the potentials that their pass saves for backward, also inside fused convolution passes.

A fused pass does not keep the weighted input of its neurons, nor the spikes between a convolution and its pooling. Both
are computed here for the selected neurons only, from the receptive fields of their windows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array, namespace
from cuslayer.inspection.record import derived
from cuslayer.inspection.record.recording import Record
from cuslayer.inspection.record.selection import Selection
from cuslayer.kernels.constants import Window
from cuslayer.layers import Conv, Pool
from cuslayer.neurons.base import OnePass
from cuslayer.neurons.potential import Potentials, saves_float16
from cuslayer.tape import Tensor, no_grad


def record_neurons(
    record: Record, selection: Selection, srm: OnePass, u: Potentials, weighted: Array | Callable[[], Array]
) -> Callable[[Array], None]:
    """Record the forward arrays of SRM neurons, and return a function of their spikes' error that records the errors.

    With all steps selected, the record derives everything else on first access. With a window of time, refraction and
    errors also depend on steps outside the window, so they are computed and stored here.

    Args:
        record: stores the arrays.
        selection: the selected samples, neurons and steps.
        srm: the neurons.
        u: their potentials, in the layout of the pass.
        weighted: the selected weighted input, or a function that computes it on first access.
    """
    potential = u.pick_copy(selection)
    record.store(potential=potential)
    if callable(weighted):
        record.register(weighted=weighted)
    else:
        record.store(weighted=weighted)
    if selection.all_steps:
        return lambda g: record.store(spikes_error=g.astype(potential.dtype, copy=False))
    spikes, float16 = derived.spikes(srm, potential), saves_float16()
    record.store(refractory=derived.refractory(srm.spiking.refractory, spikes, potential.dtype))

    def store_errors(g: Array) -> None:
        g_u = derived.potential_error(srm, g, potential, float16)
        record.store(spikes_error=g.astype(potential.dtype, copy=False), potential_error=g_u)
        record.store(weighted_error=derived.weighted_error(srm, g_u))

    return store_errors


def with_effective_weight(conv: Conv) -> Conv:
    """Return a convolution without hooks that has the effective weight, so that hooks run once per pass."""
    if conv.weight_hook is None:
        return conv
    plain = copy.copy(conv)
    plain.weight, plain.weight_hook = conv.effective_weight(), None
    return plain


class FusedConv:
    """A convolution and its neurons in a fused pass.

    Attributes:
        shape: of the neurons' arrays, (T, N, H, W, C).
    """

    def __init__(self, conv: Conv, srm: OnePass, u: Potentials, x: Tensor) -> None:
        self.conv, self.srm, self.x, self.u = conv, srm, x.data, u
        rows, columns = conv.window.outputs("record", x.shape[2:4], ceil=False)
        self.shape = (*x.shape[:2], rows, columns, conv.out_channels)

    def spikes(self, selection: Selection) -> Array:
        """Return the selected spikes."""
        return derived.spikes(self.srm, self.u.pick(selection))

    def weighted(self, selection: Selection) -> Array | Callable[[], Array]:
        """Return the selected weighted input; for many neurons, a function that computes it."""
        image, w = self.x.shape[2:], self.conv.weight.data
        if selection.neurons is not None:
            kernel_h, kernel_w, channels, outputs = w.shape
            chosen = selection.neurons[:, 2]
            group = chosen // (outputs // self.conv.groups)
            inputs = group[:, None] * channels + np.arange(channels)
            fields = receptive_fields(selection.neurons, self.conv.window, image[:2], inputs)
            if fields.inside.size <= math.prod(image):
                weights = w[..., namespace(w).asarray(chosen)].reshape(kernel_h * kernel_w * channels, len(chosen)).T
                return fields.weighted_sum(selection.for_layer(image, fields.flat()).pick(self.x), weights)
        # The function convolves again on access: it needs copies of the input and the weight of this pass.
        x, conv = selection.for_layer(image, None).pick_copy(self.x), copy.copy(self.conv)
        conv.weight = Tensor(w.copy())

        def compute() -> Array:
            with no_grad():
                return selection.pick_neurons(conv(x).data)

        return compute


class FusedPool:
    """A pooling layer and its neurons in a fused pass, after the neurons of a convolution."""

    def __init__(self, conv: FusedConv, pool: Pool, srm: OnePass, u: Potentials, shape: tuple[int, ...]) -> None:
        self.conv, self.srm, self.u, self.shape = conv, srm, u, shape
        self.window, self.gain = pool.window, pool.gain

    def weighted(self, selection: Selection) -> Array:
        """Return the selected weighted input."""
        image = self.conv.shape[2:]
        if selection.neurons is None:
            s = self.conv.spikes(selection.for_layer(image, None))
            k, frames = kernels.of(s), s.shape[0] * s.shape[1]
            pooled = k.pool.forward(s.reshape(frames, *image), self.window, self.gain)
            return pooled.reshape(*s.shape[:2], *self.shape[2:])
        fields = receptive_fields(selection.neurons, self.window, (image[0], image[1]), selection.neurons[:, 2:])
        gains = np.full(fields.inside.shape, self.gain, np.float32)
        return fields.weighted_sum(self.conv.spikes(selection.for_layer(image, fields.flat())), gains)

    def conv_spikes_error(self, selection: Selection) -> Callable[[Array], Array]:
        """Return a function from the gradient of the pooled spikes to that of the convolution's selected spikes."""
        image, outputs = self.conv.shape[2:4], (self.shape[2], self.shape[3])
        fields = None if selection.neurons is None else projective_fields(selection.neurons, self.window, outputs)
        pooled = selection.for_layer(self.shape[2:], None if fields is None else fields.flat())
        u, k, float16 = self.u.pick_copy(pooled), kernels.of(self.u.values), saves_float16()
        adjoint = k.srm.neuron_adjoint_exact if self.srm.exact else k.srm.neuron_adjoint

        def error_of(g: Array) -> Array:
            g = pooled.pick_copy(g).astype(u.dtype, copy=False)
            g = adjoint(g, derived.saved_potential(u, float16), self.srm.response, self.srm.spiking)
            if fields is not None:
                return fields.weighted_sum(g, np.full(fields.inside.shape, self.gain, u.dtype))
            steps, samples, *shape = g.shape
            g = k.pool.adjoint(g.reshape(steps * samples, *shape), image, self.window, self.gain)
            return g.reshape(steps, samples, *g.shape[1:])

        return error_of


class Fields(NamedTuple):
    """For each of k neurons, the q neurons (row, column, channel) of another layer that a window connects it to.

    Attributes:
        indices: (k, q, 3), clipped to the frame.
        inside: (k, q), whether the neuron lies inside the frame.
    """

    indices: Array
    inside: Array

    def flat(self) -> Array:
        """Return all indices, (k q, 3)."""
        return self.indices.reshape(-1, 3)

    def weighted_sum(self, values: Array, weights: Array) -> Array:
        """Return, for each neuron, the sum of values (T, N, k q) times weights (k, q) over its field: (T, N, k)."""
        xp = namespace(values)
        used = xp.asarray(weights) * xp.asarray(self.inside)
        shaped = values.reshape(*values.shape[:2], *self.inside.shape)
        return (shaped.astype(used.dtype, copy=False) * used).sum(axis=3)


def receptive_fields(neurons: Array, window: Window, image: tuple[int, int], channels: Array) -> Fields:
    """Return the inputs (rows, columns) that neurons (k, 3) see through their windows, in channels (k, c)."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    rows = neurons[:, :1] * down - top + gap_h * np.arange(kernel_h)
    columns = neurons[:, 1:2] * across - left + gap_w * np.arange(kernel_w)
    return _grid(rows, columns, channels, image)


def projective_fields(pixels: Array, window: Window, outputs: tuple[int, int]) -> Fields:
    """Return the outputs (rows, columns) of a pooling layer whose windows see the pixels (k, 3)."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    rows = pixels[:, :1] + top - gap_h * np.arange(kernel_h)
    columns = pixels[:, 1:2] + left - gap_w * np.arange(kernel_w)
    # A pixel between two strides is at no output: -1 is outside the frame.
    rows = np.where(rows % down, -1, rows // down)
    columns = np.where(columns % across, -1, columns // across)
    return _grid(rows, columns, pixels[:, 2:], outputs)


def _grid(rows: Array, columns: Array, channels: Array, image: tuple[int, int]) -> Fields:
    rows, columns, channels = rows[:, :, None, None], columns[:, None, :, None], channels[:, None, None]
    inside = (rows >= 0) & (rows < image[0]) & (columns >= 0) & (columns < image[1])
    clipped = rows.clip(0, image[0] - 1), columns.clip(0, image[1] - 1)
    *indices, inside = np.broadcast_arrays(*clipped, channels, inside)
    count, taps = len(inside), math.prod(inside.shape[1:])
    return Fields(np.stack(indices, axis=-1).reshape(count, taps, 3), inside.reshape(count, taps))
