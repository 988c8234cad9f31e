"""The surrogate: what stands for the slope of a spike, around the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.neurons.base import as_neuron
from cuslayer.neurons.loihi import Loihi
from cuslayer.plot.axes import BLUE, FAINT, axes, open_frame

# In widths of the surrogate: at five it has fallen under a hundredth of its height.
_REACH = 5.0


def surrogate(neuron: Any, ax: Any = None) -> Any:
    """Draw the surrogate around the threshold, and the width ``tau_rho theta`` in which it falls to 1/e.

    ``rho(u) = scale_rho / (tau_rho theta) exp(-|u - theta| / (tau_rho theta))``; of `Loihi` divided by the largest
    sample of its response.

    Args:
        neuron: the neuron.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.

    Returns:
        The axes.

    Raises:
        TypeError: neuron is not a neuron, or ax is no Axes.

    >>> from cuslayer.neurons import SRM
    >>> ax = surrogate(SRM(theta=10.0, tau_rho=0.5, scale_rho=1.0))
    >>> u, rho = ax.get_lines()[0].get_data()
    >>> float(u[rho.argmax()]), float(rho.max())
    (10.0, 0.2)
    """
    neuron = as_neuron("surrogate", neuron)
    ax = axes("surrogate", ax, (6.0, 3.0))
    width = neuron.tau_rho * neuron.theta
    away = np.linspace(-_REACH, _REACH, 401)
    most = float(neuron.response.max()) if isinstance(neuron, Loihi) else 1.0
    u, rho = neuron.theta + away * width, neuron.scale_rho / (most * width) * np.exp(-np.abs(away))
    ax.plot(u, rho, color=BLUE, linewidth=1.6, label=r"$\rho(u)$")
    inside = np.abs(away) <= 1
    ax.fill_between(u[inside], rho[inside], color=BLUE, alpha=0.15, linewidth=0, label=r"within $\tau_\rho\,\theta$")
    ax.axvline(neuron.theta, color=FAINT, linewidth=1.0, linestyle="--", label="threshold", zorder=1)
    ax.set(
        xlabel="potential u", ylabel=r"surrogate $\rho(u)$ (1 / ms)", xlim=(u[0], u[-1]), ylim=(0.0, 1.08 * rho.max())
    )
    ax.legend(frameon=False, fontsize="small")
    open_frame(ax)
    return ax
