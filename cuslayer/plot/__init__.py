"""Plots of spikes, potentials, filters and weights: `cs.plot`.

Each function draws on given matplotlib axes, or on the axes of a new figure, and returns them. None uses pyplot's
current figure, and the first call imports matplotlib. Arrays are (T, N, ...), tensors or not, on either device.

    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, sharex=True)
    cs.plot.raster(spikes, above)
    cs.plot.potential(u, below, neuron=srm, neurons=3)

Without axes, `cs.plot.raster(spikes).figure` is the new figure: a notebook that has imported pyplot shows it, and its
`savefig` writes it. All plots have one style, for light and for dark backgrounds: see `style`.
"""

from cuslayer.plot.curves import confusion, conversion, gradient_flow, integer_widths, learning_curves, sweep_results
from cuslayer.plot.images import Animation, animation, frames, receptive_fields
from cuslayer.plot.neurons import filters, potential, raster, surrogate, surrogates
from cuslayer.plot.style import style

__all__ = [
    "Animation",
    "animation",
    "confusion",
    "conversion",
    "filters",
    "frames",
    "gradient_flow",
    "integer_widths",
    "learning_curves",
    "potential",
    "raster",
    "receptive_fields",
    "style",
    "surrogate",
    "surrogates",
    "sweep_results",
]
