"""Filters over time: the responses of a neuron, or the taps of trained filters."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import to_numpy
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.plot.axes import as_array, axes, legend_beside, open_frame, time_axis
from cuslayer.plot.style import palette


def filters(of: Any, ax: Any = None, *, dt: float | None = None) -> Any:
    """Draw a neuron's spike response and refractory response, or the taps of trained filters, over time.

    The refractory response, of neurons that have one, is drawn in units of the threshold, ``nu[k] / theta``.

    Args:
        of: a neuron; a layer whose `weight` are taps; or the taps, (taps,) or (filters, taps), the first at lag 0.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        dt: the step of taps, ms, 1 by default; a neuron has its own.

    Returns:
        The axes.

    Raises:
        ValueError: taps are neither (taps,) nor (filters, taps), dt is not positive, or is given with a neuron.
        TypeError: taps are not numbers, or ax is not Axes.

    >>> from cuslayer.neurons import SRM
    >>> ax = filters(SRM(theta=10.0, tau_sr=10.0, tau_ref=4.0, scale_ref=2.0))
    >>> spike, refractory = (line.get_ydata() for line in ax.get_lines()[:2])
    >>> float(spike.max()), round(float(refractory.min()), 6)
    (1.0, -2.0)
    """
    op = "filters"
    if is_neuron(of):
        neuron = as_neuron(op, of)
        if dt is not None:
            raise ValueError(f"{op}: dt must be left out for a neuron, whose own is {neuron.dt:g} ms")
        dt = neuron.dt
        curves = [(neuron.response, r"spike response $\varepsilon$")]
        if len(neuron.refractory) > 1:
            scale = neuron.theta or 1.0
            curves.append((neuron.refractory / scale, r"refractory response $\nu\,/\,\theta$"))
    else:
        dt = check.time_step(op, "dt", 1.0 if dt is None else dt)
        taps = to_numpy(as_array(getattr(of, "weight", of)))
        if taps.dtype.kind not in "iuf":
            raise TypeError(f"{op}: taps must be numbers, got {taps.dtype}")
        if taps.ndim not in (1, 2):
            raise ValueError(f"{op}: taps must be (taps,) or (filters, taps), got shape {taps.shape}")
        curves = [(row, f"filter {number}") for number, row in enumerate(np.atleast_2d(taps))]
    ax = axes(op, ax, (6.0, 3.0))
    colors = palette(ax)
    for (samples, name), shade in zip(curves, colors.series(len(curves)), strict=True):
        dot = "." if len(samples) == 1 else "none"
        ax.plot(np.arange(len(samples)) * dt, samples, color=shade, linewidth=1.6, marker=dot, label=name)
    ax.axhline(0.0, color=colors.faint, linewidth=0.8, zorder=1)
    time_axis(ax, max((len(samples) - 1 for samples, _ in curves), default=1), dt)
    ax.set(xlabel="time since a spike (ms)", ylabel="response")
    open_frame(ax)
    if len(curves) > 1:
        legend_beside(ax)
    return ax
