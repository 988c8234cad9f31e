"""Membrane potentials over time, with the threshold and the spikes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.plot.axes import (
    axes,
    flatten_neurons,
    legend_beside,
    neuron_positions,
    one_sample,
    open_frame,
    time_axis,
)
from cuslayer.plot.style import palette

_MOST = 8


def potential(
    u: Any, ax: Any = None, *, neuron: Neuron, sample: int | None = 0, neurons: Any = None, current: Any = None
) -> Any:
    """Draw potentials after refraction, the threshold, and a marker at each spike.

    The spikes are where ``neuron.fires(u)`` is True: ``u[t] >= theta`` for `SRM`, ``u[t] > theta`` for `Loihi`.

    Args:
        u: (T, N, ...), the potential that is compared with the threshold, a tensor or an array.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        neuron: the kind of neuron: its theta, its dt and its rule for spikes.
        sample: the sample of the batch; None where u is (T, ...) without a batch.
        neurons: the neurons to draw: a flat position or an index such as ``(row, column, channel)``, or a list of them;
            by default all, at most 8.
        current: (T, N, ...), the synaptic current in the potential's unit, as `record` has it for `Loihi`; it is drawn
            dotted.

    Returns:
        The axes.

    Raises:
        ValueError: u is not (T, N, ...), there is no such sample or neuron, neurons is None for more than 8, or current
            is not of u's shape.
        TypeError: u is not floating, neuron is not a neuron, a position is not an integer, or ax is not Axes.

    >>> from cuslayer.neurons import SRM
    >>> ax = potential(np.array([0.0, 12.0, 4.0]).reshape(3, 1, 1), neuron=SRM(theta=10.0))
    >>> {line.get_label(): line.get_ydata() for line in ax.get_lines()}["spikes"].tolist()
    [12.0]
    """
    op = "potential"
    neuron = as_neuron(op, neuron)
    traces = one_sample(op, "u", u, sample)
    check.floating(op, "u", traces)
    which = neuron_positions(op, neurons, traces.shape[1:], _MOST)
    ax = axes(op, ax, (7.0, 3.0))
    time = np.arange(len(traces)) * neuron.dt
    shown = flatten_neurons(traces)[:, which]
    colors = palette(ax)
    ax.axhline(neuron.theta, color=colors.faint, linewidth=1.0, linestyle="--", label="threshold", zorder=1)
    alone = len(which) == 1
    shades = [colors.blue] if alone else colors.series(len(which))
    spiking = neuron.fires(shown)
    driven = None
    if current is not None:
        given = one_sample(op, "current", current, sample)
        check.same_shape(op, "current", given, "u", traces)
        driven = flatten_neurons(given)[:, which]
    for column, (number, shade) in enumerate(zip(which, shades, strict=True)):
        trace, fired = shown[:, column], spiking[:, column]
        dot = "." if len(trace) == 1 else "none"
        ax.plot(time, trace, color=shade, linewidth=1.4, marker=dot, label="potential" if alone else f"neuron {number}")
        if driven is not None:
            label = "current" if alone else f"_current of neuron {number}"
            ax.plot(time, driven[:, column], color=shade, linewidth=1.0, linestyle=":", label=label)
        ax.plot(
            time[fired],
            trace[fired],
            linestyle="none",
            marker="o",
            markersize=4.5,
            markeredgecolor=colors.page,
            markeredgewidth=0.6,
            color=colors.vermilion if alone else shade,
            label="spikes" if alone else f"_spikes of neuron {number}",
            zorder=3,
        )
    time_axis(ax, len(traces), neuron.dt)
    ax.set_ylabel("potential u (a.u.)")
    open_frame(ax)
    legend_beside(ax)
    return ax
