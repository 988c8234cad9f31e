"""A layer of Loihi's neurons: fixed-point current and voltage, threshold and reset in one pass."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.functions.potential import kept
from cuslayer.kernels.fixed_point import FixedPoint
from cuslayer.tape import Pullback, differentiable


@differentiable
def loihi(x: Array, /, *, constants: FixedPoint) -> tuple[Array, Pullback]:
    """Return the spikes of Loihi's neurons for the weighted input x.

    With ``h`` the response and v the voltage as it is kept, backward is
    ``g_x[t] = dt sum_k h[k] rho(v[t+k]) g[t+k]``. The path through the reset is dropped.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        constants: the neuron's, `Loihi.constants`.

    Returns:
        Spikes, boolean, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...).
        TypeError: x is not floating.

    >>> import numpy as np
    >>> from cuslayer.loihi import Loihi
    >>> x = np.zeros((6, 1, 1)); x[0] = 40
    >>> loihi(x, constants=Loihi().constants).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    check.time_first("loihi", "x", x)
    check.floating("loihi", "x", x)
    k = kernels.of(x)
    u, s = k.loihi(x, constants)
    potential = kept(k, u, unit=constants.chip.theta)
    dtype = x.dtype  # not x: the weighted input need not outlive the pass
    return s, lambda g: k.loihi_adjoint(g.astype(dtype, copy=False), potential(), constants)
