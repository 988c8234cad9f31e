"""Which inputs a neuron behind a window sees, and which windows see a neuron.

What neurons had, from the potentials that their pass keeps for backward; and what lies within a fused pass.
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
from cuslayer.inspection.record.selection import Part
from cuslayer.kernels.window import Window
from cuslayer.layers import Conv, Pool
from cuslayer.neurons.base import OnePass
from cuslayer.neurons.potential import Potentials
from cuslayer.tape import Tensor, no_grad


class Reach(NamedTuple):
    """For k neurons, q places (row, column, channel) each, some of them outside the frame.

    Attributes:
        places: (k, q, 3), within the frame.
        inside: (k, q), whether the place is meant, or only stands for one outside.
    """

    places: Array
    inside: Array

    def flat(self) -> Array:
        """Return all places, (k q, 3)."""
        return self.places.reshape(-1, 3)

    def summed(self, values: Array, weights: Array) -> Array:
        """Return, for each neuron, the sum of values (T, N, k q) of its places by weights (k, q): (T, N, k)."""
        xp = namespace(values)
        used = xp.asarray(weights) * xp.asarray(self.inside)
        shaped = values.reshape(*values.shape[:2], *self.inside.shape)
        return (shaped.astype(used.dtype, copy=False) * used).sum(axis=3)


def seen(neurons: Array, window: Window, image: tuple[int, int], channels: Array) -> Reach:
    """Return what the windows of neurons (k, 3) cover of an image (H, W): rows, columns, then channels (k, c)."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    rows = neurons[:, :1] * down - top + gap_h * np.arange(kernel_h)
    columns = neurons[:, 1:2] * across - left + gap_w * np.arange(kernel_w)
    return _grid(rows, columns, channels, image)


def seeing(neurons: Array, window: Window, maps: tuple[int, int]) -> Reach:
    """Return the windows of maps (H', W') that pixels (k, 3) lie in, in their own channel."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    rows = neurons[:, :1] + top - gap_h * np.arange(kernel_h)
    columns = neurons[:, 1:2] + left - gap_w * np.arange(kernel_w)
    # A row between windows belongs to none: put outside.
    rows = np.where(rows % down, -1, rows // down)
    columns = np.where(columns % across, -1, columns // across)
    return _grid(rows, columns, neurons[:, 2:], maps)


def _grid(rows: Array, columns: Array, channels: Array, image: tuple[int, int]) -> Reach:
    shape = len(rows), rows.shape[1], columns.shape[1], channels.shape[1]
    inside_rows = (rows >= 0) & (rows < image[0])
    inside_columns = (columns >= 0) & (columns < image[1])
    inside = np.broadcast_to((inside_rows[:, :, None] & inside_columns[:, None])[..., None], shape)
    axes = (
        np.broadcast_to(rows.clip(0, image[0] - 1)[:, :, None, None], shape),
        np.broadcast_to(columns.clip(0, image[1] - 1)[:, None, :, None], shape),
        np.broadcast_to(channels[:, None, None], shape),
    )
    taps = shape[1] * shape[2] * shape[3]
    places = np.stack(axes, axis=-1).reshape(len(rows), taps, 3)
    return Reach(places, inside.reshape(len(rows), taps))


def neurons(
    kept: Record, part: Part, srm: OnePass, u: Potentials, weighted: Array | Callable[[], Array], half: bool
) -> Callable[[Array], None]:
    """Record what neurons had forward, and return what records their errors once that of the part's spikes is there.

    Where all times are asked for, a record makes of these what follows from them when somebody looks. A window does not
    hold what it follows from: what came before it, or comes after.

    Args:
        kept: where to.
        part: what of it is asked for.
        srm: the neurons.
        u: their potentials, in the layout of the pass.
        weighted: the part's weighted input, or what makes it if somebody looks.
        half: whether backward sees the potentials as float16 keeps them.
    """
    potential = u.own(part)
    kept.put(potential=potential)
    if callable(weighted):
        kept.later(weighted=weighted)
    else:
        kept.put(weighted=weighted)
    if part.whole:
        return lambda g: kept.put(spikes_error=g.astype(potential.dtype, copy=False))
    kept.put(refractory=derived.refractory(srm, derived.spikes(srm, potential), potential.dtype))

    def errors(g: Array) -> None:
        g_u = derived.potential_error(srm, g, potential, half)
        kept.put(spikes_error=g.astype(potential.dtype, copy=False), potential_error=g_u)
        kept.put(weighted_error=derived.weighted_error(srm, g_u))

    return errors


def fixed(conv: Conv) -> Conv:
    """Return a convolution whose weight is what the hooks make of it now: they are called once a pass, as ever."""
    if conv.weight_hook is None:
        return conv
    stand_in = copy.copy(conv)
    stand_in.weight, stand_in.weight_hook = conv.effective_weight(), None
    return stand_in


class Maps:
    """A convolution and its neurons within a pass.

    Attributes:
        shape: that of the maps, (T, N, H, W, C).
    """

    def __init__(self, conv: Conv, srm: OnePass, u: Potentials, x: Tensor) -> None:
        self.conv, self.srm, self.x, self.u = conv, srm, x.data, u
        rows, columns = conv.window.outputs("record", x.shape[2:4], ceil=False)
        self.shape = (*x.shape[:2], rows, columns, conv.out_channels)

    def fired(self, part: Part) -> Array:
        """Return a part of the spikes."""
        return derived.spikes(self.srm, self.u.pick(part))

    def weighted(self, part: Part) -> Array | Callable[[], Array]:
        """Return a part of the weighted input, which the pass does not keep; of a whole map, what makes it."""
        image, w = self.x.shape[2:], self.conv.weight.data
        if part.neurons is not None:
            kernel_h, kernel_w, channels, outputs = w.shape
            chosen = part.neurons[:, 2]
            group = chosen // (outputs // self.conv.groups)
            reach = seen(part.neurons, self.conv.window, image[:2], group[:, None] * channels + np.arange(channels))
            if reach.inside.size <= math.prod(image):
                weights = w[..., namespace(w).asarray(chosen)].reshape(kernel_h * kernel_w * channels, len(chosen)).T
                return reach.summed(part.of(image, reach.flat()).pick(self.x), weights)
        # A convolution of its own, once more: of what comes in and of the weights as they are now.
        x, conv = part.of(image, None).own(self.x), copy.copy(self.conv)
        conv.weight = Tensor(w.copy())

        def made() -> Array:
            with no_grad():
                return part.among(conv(x).data)

        return made


class Pooled:
    """A pooling layer and its neurons within a pass, behind the neurons of a convolution."""

    def __init__(self, maps: Maps, pool: Pool, srm: OnePass, u: Potentials, shape: tuple[int, ...]) -> None:
        self.maps, self.srm, self.u, self.shape = maps, srm, u, shape
        self.window, self.gain = pool.window, pool.gain

    def weighted(self, part: Part) -> Array:
        """Return a part of the weighted input, which the pass does not keep."""
        image = self.maps.shape[2:]
        if part.neurons is None:
            s = self.maps.fired(part.of(image, None))
            k, frames = kernels.of(s), s.shape[0] * s.shape[1]
            pooled = k.pool.forward(s.reshape(frames, *image), self.window, self.gain)
            return pooled.reshape(*s.shape[:2], *self.shape[2:])
        reach = seen(part.neurons, self.window, (image[0], image[1]), part.neurons[:, 2:])
        gains = np.full(reach.inside.shape, self.gain, np.float32)
        return reach.summed(self.maps.fired(part.of(image, reach.flat())), gains)

    def errors_of_maps(self, part: Part, half: bool) -> Callable[[Array], Array]:
        """Return what makes of the gradient of the pooled spikes that of a part of the convolution's."""
        image, maps = self.maps.shape[2:4], (self.shape[2], self.shape[3])
        reach = None if part.neurons is None else seeing(part.neurons, self.window, maps)
        pooled = part.of(self.shape[2:], None if reach is None else reach.flat())
        u, k = self.u.own(pooled), kernels.of(self.u.values)
        adjoint = k.srm.neuron_adjoint_exact if self.srm.exact else k.srm.neuron_adjoint

        def errors(g: Array) -> Array:
            g = pooled.own(g).astype(u.dtype, copy=False)
            g = adjoint(g, derived.restored(u, half), self.srm.response, self.srm.spiking)
            if reach is not None:
                return reach.summed(g, np.full(reach.inside.shape, self.gain, u.dtype))
            frames = g.shape[0] * g.shape[1]
            back = k.pool.adjoint(g.reshape(frames, *g.shape[2:]), image, self.window, self.gain)
            return back.reshape(*g.shape[:2], *back.shape[1:])

        return errors
