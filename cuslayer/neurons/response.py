"""The post-synaptic potential: a causal filter in time."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Sampled
from cuslayer.tape import Pullback, differentiable


@differentiable
@check.operation
def psp(x: Array, /, *, response: Alpha | Sampled | Array) -> tuple[Array, Pullback]:
    """Filter each column of x causally in time: ``a[t] = sum_k eps[k] x[t-k]``.

    Backward is the correlation ``g_x[t] = sum_k eps[k] g_a[t+k]``. An alpha function is computed as a recurrence, at a
    cost that does not depend on its time constant; samples are computed as the direct sum.

    Args:
        x: (T, N, ...), numbers or spikes.
        response: an alpha function, or the samples (K,) of any filter, the first at lag 0.

    Returns:
        The filtered signal, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or the samples are not (K,).

    Source: Shrestha and Orchard 2018, equation 1.

    >>> import numpy as np
    >>> psp(np.array([[[True]], [[False]], [[True]]]), response=np.array([0.0, 1.0, 0.5])).data.ravel().tolist()
    [0.0, 1.0, 0.5]
    """
    check.time_first("x", x)
    if not isinstance(response, (Alpha, Sampled)):
        response = Sampled(response, 1.0)
    k = kernels.of(x)
    return response.apply(k, x), lambda g: response.adjoint(k, g)
