"""The surrogate gradient of a neuron around its threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.plot.axes import axes, open_frame
from cuslayer.plot.style import palette

# Range of the plot on each side of the threshold, in widths: an exponential has fallen to under 1 % there.
_RANGE = 5.0


def surrogate(neuron: Neuron, ax: Any = None) -> Any:
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
    kind = as_neuron("surrogate", neuron)
    ax = axes("surrogate", ax, (6.0, 3.0))
    offset = np.linspace(-_RANGE, _RANGE, 401)
    u = kind.theta + offset * kind.width
    rho = kind.surrogate(u)
    if rho is None:
        raise ValueError(f"surrogate: neuron must define its surrogate, {type(neuron).__name__} does not")
    colors = palette(ax)
    ax.plot(u, rho, color=colors.blue, linewidth=1.6, label=r"$\rho(u)$")
    inside = np.abs(offset) <= 1
    ax.fill_between(u[inside], rho[inside], color=colors.blue, alpha=0.15, linewidth=0, label="within the width")
    ax.axvline(kind.theta, color=colors.faint, linewidth=1.0, linestyle="--", label="threshold", zorder=1)
    top = 1.08 * float(rho.max()) or 1.0
    ax.set(xlabel="potential u (a.u.)", ylabel=r"surrogate $\rho(u)$ (1 / ms)", xlim=(u[0], u[-1]), ylim=(0.0, top))
    return open_frame(ax, legend=True)
