"""Spikes and potentials over time, and the filters and surrogates of neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer.backend import Array, to_numpy
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.plot.style import (
    as_array,
    axes,
    axes_grid,
    flatten_neurons,
    inches,
    legend_beside,
    legend_inside,
    neuron_positions,
    one_sample,
    open_frame,
    palette,
    place_of,
    spike_train,
    time_axis,
    whole_numbers,
)
from cuslayer.surrogates import SURROGATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@check.operation
def raster(
    spikes: TensorLike,
    ax: Axes | None = None,
    *,
    sample: int | None = 0,
    dt: float = 1.0,
    groups: object = None,
    labels: Sequence[str] | None = None,
) -> Any:
    """Draw the spikes of one sample: time to the right, neurons upward in the layer's order.

    Args:
        spikes: (T, N, ...), booleans or counts, a tensor or an array.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        sample: the sample of the batch; None if spikes are (T, ...) without a batch.
        dt: the step, ms.
        groups: the groups of neurons with one colour each: None for one group, "channel" for the last axis (two
            channels are OFF and ON), or an integer from 0 for each neuron, in spikes' shape after N.
        labels: the names of the groups.

    Returns:
        The axes.

    Raises:
        ValueError: spikes are not (T, N, ...), dt is not positive, or groups or labels do not fit the neurons.
        IndexError: there is no such sample.
        TypeError: spikes are not booleans or counts, groups are not integers, or ax is not Axes.

    >>> spikes = np.zeros((100, 1, 3), bool)
    >>> spikes[[10, 40], 0, 2] = True
    >>> ax = raster(spikes)
    >>> ax.get_lines()[0].get_xdata().tolist(), ax.get_lines()[0].get_ydata().tolist()
    ([10.0, 40.0], [2, 2])
    """
    dt = check.time_step("dt", dt)
    train = spike_train(spikes, sample)
    group = _groups(groups, train.shape[1:])
    parts = int(group.max()) + 1 if group.size else 1
    if labels is not None and len(labels) != parts:
        raise ValueError(f"labels must be as many as the groups, got {len(labels)} and {parts}")
    ax = axes(ax, (7.0, 3.0))
    names, shades = [str(n) for n in range(parts)], palette(ax).series(parts)
    if parts == 1:
        names, shades = ["spikes"], [palette(ax).ink]
    elif isinstance(groups, str) and train.ndim == 4 and train.shape[-1] == 2:
        names, shades = ["OFF", "ON"], list(palette(ax).polarities)
    names = names if labels is None else list(labels)
    time, neuron = np.nonzero(flatten_neurons(train))
    count = flatten_neurons(train).shape[1]
    for number, (name, shade) in enumerate(zip(names, shades, strict=True)):
        mine = group[neuron] == number
        ax.plot(
            time[mine] * dt,
            neuron[mine],
            linestyle="none",
            color=shade,
            label=name,
            rasterized=len(time) > 20_000,
            **_mark(ax, count, len(time)),
        )
    time_axis(ax, len(train), dt)
    ax.set(ylabel="neuron", ylim=(-0.5, max(count, 1) - 0.5))
    whole_numbers(ax.yaxis)
    open_frame(ax)
    if len(names) > 1:
        legend_beside(ax)
        legend: Any = ax.get_legend()
        for handle in legend.legend_handles:
            handle.set_markersize(7)
    return ax


def _mark(ax: Axes, count: int, spikes: int) -> dict[str, Any]:
    """Return the marker: a stroke of a row's height, or a dot if rows are low."""
    height = 72 * inches(ax)[1] / max(count, 1)
    if height >= 3:
        return {"marker": "|", "markersize": min(0.8 * height, 14), "markeredgewidth": 1.2}
    return {"marker": ".", "markersize": 3.5 if spikes < 3000 else 2.0, "markeredgewidth": 0}


def _groups(groups: object, shape: tuple[int, ...]) -> Array:
    """Return the group of each neuron, flat."""
    count = int(np.prod(shape, dtype=np.int64))
    if groups is None:
        return np.zeros(count, np.int64)
    if isinstance(groups, str):
        check.one_of("groups", groups, ("channel",))
        if not shape:
            raise ValueError("spikes must have a channel axis for groups='channel'")
        return np.broadcast_to(np.arange(shape[-1]), shape).ravel()
    given = to_numpy(as_array(groups))
    if given.shape != shape:
        raise ValueError(f"groups have shape {given.shape}, the neurons have shape {shape}")
    if given.dtype.kind not in "iu":
        raise TypeError(f"groups must be integers, got {given.dtype}")
    if given.size and given.min() < 0:
        raise ValueError(f"groups must be integers from 0, got {given.min()}")
    return given.ravel()


_MOST_POTENTIALS = 8


@check.operation
def potential(
    u: Any,
    ax: Axes | None = None,
    *,
    neuron: Neuron | None = None,
    sample: int | None = 0,
    neurons: object = None,
    current: TensorLike | None = None,
) -> Any:
    """Draw potentials after refraction, the threshold, and a marker at each spike.

    The spikes are where ``neuron.fires(u)`` is True: ``u[t] >= theta`` for `SRM`, ``u[t] > theta`` for `Loihi`.

    Args:
        u: the record of a layer, ``recording[1]``, with its kind of neuron; or (T, N, ...), the potential that is
            compared with the threshold, a tensor, an array or a recorded potential, whose neurons are labelled with
            their numbers in the network.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        neuron: the kind of neuron: its theta, its dt and its rule for spikes. For a record it is the neuron to draw,
            like neurons.
        sample: the sample of the batch, of a record by its number in the batch; None if u is (T, ...) without one.
        neurons: the neurons to draw: a flat position or an index such as ``(row, column, channel)``, or a list of
            these; by default all, at most 8. Of a record of some neurons it is their number in the network.
        current: (T, N, ...), the synaptic current in the potential's unit, such as from `record` for `Loihi`; a dotted
            line.

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
    if isinstance(u, np.ndarray) or not hasattr(u, "potential"):
        if not is_neuron(neuron):
            raise check.mistyped("neuron", "must be a neuron, or u the record of a layer", neuron)
        kind = as_neuron(neuron)
    else:
        kind = u.model
        neurons = neuron if neurons is None else neurons
        u = u.potential
    traces = one_sample("u", u, sample)
    check.floating("u", traces)
    if isinstance(neurons, (list, range)):
        neurons = [place_of(u, "neuron", number) for number in neurons]
    which = neuron_positions(place_of(u, "neuron", neurons), traces.shape[1:], _MOST_POTENTIALS)
    ax = axes(ax, (7.0, 3.0))
    time = np.arange(len(traces)) * kind.dt
    shown = flatten_neurons(traces)[:, which]
    colors = palette(ax)
    ax.axhline(kind.theta, color=colors.faint, linewidth=1.0, linestyle="--", label="threshold", zorder=1)
    alone = len(which) == 1
    shades = [colors.blue] if alone else colors.series(len(which))
    spiking = kind.fires(shown)
    driven = None
    if current is not None:
        given = one_sample("current", current, sample)
        check.same_shape("current", given, "u", traces)
        driven = flatten_neurons(given)[:, which]
    names = np.asarray(u.coords["neuron"])[which] if "neuron" in getattr(u, "coords", ()) else which
    for column, (number, shade) in enumerate(zip(names, shades, strict=True)):
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
    time_axis(ax, len(traces), kind.dt)
    ax.set_ylabel("potential u (a.u.)")
    open_frame(ax)
    legend_beside(ax)
    return ax


@check.operation
def filters(of: object, ax: Axes | None = None, *, dt: float | None = None) -> Any:
    """Draw a neuron's spike response and refractory response, or the taps of trained filters, over time.

    The refractory response, if any, is in units of the threshold, ``nu[k] / theta``.

    Args:
        of: a neuron; a layer whose `weight` has taps; or the taps, (taps,) or (filters, taps), the first at lag 0.
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
    if is_neuron(of):
        neuron = as_neuron(of)
        if dt is not None:
            raise ValueError(f"dt must be left out for a neuron, whose own is {neuron.dt:g} ms")
        dt = neuron.dt
        curves = [(neuron.response, r"spike response $\varepsilon$")]
        if len(neuron.refractory) > 1:
            scale = neuron.theta or 1.0
            curves.append((neuron.refractory / scale, r"refractory response $\nu\,/\,\theta$"))
    else:
        dt = check.time_step("dt", 1.0 if dt is None else dt)
        taps = to_numpy(as_array(getattr(of, "weight", of)))
        if taps.dtype.kind not in "iuf":
            raise TypeError(f"taps must be numbers, got {taps.dtype}")
        if taps.ndim not in (1, 2):
            raise ValueError(f"taps must be (taps,) or (filters, taps), got shape {taps.shape}")
        curves = [(row, f"filter {number}") for number, row in enumerate(np.atleast_2d(taps))]
    ax = axes(ax, (6.0, 3.0))
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


# Range of the plot on each side of the threshold, in widths: there, an exponential is below 1 %.
_RANGE = 5.0


@check.operation
def surrogate(neuron: Neuron, ax: Axes | None = None) -> Any:
    """Draw the surrogate rho(u) around the threshold, and its width.

    The width of `SRM` and `Loihi` is ``tau_rho theta``, where the exponential has fallen to 1/e.

    Args:
        neuron: the neuron; it must define `surrogate`.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.

    Returns:
        The axes.

    Raises:
        ValueError: neuron does not define a surrogate.
        TypeError: neuron is not a neuron, or ax is not Axes.

    >>> from cuslayer.neurons import SRM
    >>> ax = surrogate(SRM(theta=10.0, tau_rho=0.5, scale_rho=1.0))
    >>> u, rho = ax.get_lines()[0].get_data()
    >>> float(u[rho.argmax()]), float(rho.max())
    (10.0, 0.2)
    """
    kind = as_neuron(neuron)
    ax = axes(ax, (6.0, 3.0))
    offset = np.linspace(-_RANGE, _RANGE, 401)
    u = kind.theta + offset * kind.width
    rho = kind.surrogate(u)
    if rho is None:
        raise ValueError(f"neuron must define its surrogate, {type(neuron).__name__} does not")
    colors = palette(ax)
    ax.plot(u, rho, color=colors.blue, linewidth=1.6, label=r"$\rho(u)$")
    inside = np.abs(offset) <= 1
    ax.fill_between(u[inside], rho[inside], color=colors.blue, alpha=0.15, linewidth=0, label="within the width")
    ax.axvline(kind.theta, color=colors.faint, linewidth=1.0, linestyle="--", label="threshold", zorder=1)
    top = 1.08 * float(rho.max()) or 1.0
    ax.set(xlabel="potential u (a.u.)", ylabel=r"surrogate $\rho(u)$ (1 / ms)", xlim=(u[0], u[-1]), ylim=(0.0, top))
    return open_frame(ax, legend=True)


_GALLERY_RANGE = 4.0


def surrogates(axes: Sequence[Axes] | None = None) -> list[Any]:
    """Draw every surrogate f of `cs.surrogates` and its primitive F, the smooth step with slope f.

    The unit of z is the width, ``tau_rho theta``; 0 is the threshold.

    Args:
        axes: a sequence of matplotlib axes, one for each of the seven; by default the axes of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: axes are not seven.

    >>> ax = surrogates()[2]
    >>> ax.get_title(loc="left"), len(ax.get_lines())
    ('Arctan', 3)
    """
    if axes is None:  # in two rows, with a key in the free panel
        *found, last = axes_grid(None, "eight", (12.0, 5.0), 2, 4, sharex=True, sharey=True)
        colors = palette(last)
        for color, text in ((colors.blue, "surrogate f(z)"), (colors.vermilion, "its primitive F(z)")):
            last.plot([], [], color=color, label=text)
        last.axis("off")
        legend_inside(last, loc="center")
    else:
        found = axes_grid(axes, "seven", (12.0, 5.0), 1, len(SURROGATES))
    z = np.linspace(-_GALLERY_RANGE, _GALLERY_RANGE, 801)
    for ax, kind in zip(found, SURROGATES.values(), strict=True):
        colors, surrogate = palette(ax), kind()
        ax.axvline(0.0, color=colors.faint, linewidth=1.0, linestyle="--", zorder=1)
        ax.plot(z, surrogate.integral(z), color=colors.vermilion, linewidth=1.2)
        ax.plot(z, surrogate.f(z), color=colors.blue, linewidth=1.6)
        ax.set_title(kind.__name__, loc="left", fontsize="small")
        ax.set(xlabel="z, widths from the threshold", xlim=(z[0], z[-1]))
        open_frame(ax)
    return found
