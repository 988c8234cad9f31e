"""Plots of spikes, potentials, filters and weights: `cs.plot`.

Each function draws on the matplotlib axes it is given, or on those of a new figure, and returns them. None uses the
current figure of pyplot, and matplotlib is imported at the first call. Arrays are (T, N, ...), tensors or not, on
either device.

    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, sharex=True)
    cs.plot.raster(spikes, above)
    cs.plot.potential(u, below, neuron=srm, neurons=3)

Without axes, `cs.plot.raster(spikes).figure` is the new figure: a notebook that has imported pyplot shows it, and its
`savefig` writes it. All have one style, for light and for dark backgrounds: see `style`.
"""

from cuslayer.plot.animation import Animation, animation
from cuslayer.plot.confusion import confusion
from cuslayer.plot.curves import gradient_flow, learning_curves
from cuslayer.plot.filters import filters
from cuslayer.plot.frames import frames
from cuslayer.plot.potential import potential
from cuslayer.plot.raster import raster
from cuslayer.plot.receptive_fields import receptive_fields
from cuslayer.plot.style import style
from cuslayer.plot.surrogate import surrogate
from cuslayer.plot.surrogates import surrogates
from cuslayer.plot.sweep import sweep_results

__all__ = [
    "Animation",
    "animation",
    "confusion",
    "filters",
    "frames",
    "gradient_flow",
    "learning_curves",
    "potential",
    "raster",
    "receptive_fields",
    "style",
    "surrogate",
    "surrogates",
    "sweep_results",
]
