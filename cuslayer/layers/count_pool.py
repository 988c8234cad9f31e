"""Maximum pooling of sums over time: the window passes the spikes of the neuron that has fired most."""

from __future__ import annotations

from collections.abc import Callable

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, saves
from cuslayer.backend import Array, namespace, numeric
from cuslayer.kernels.constants import Window
from cuslayer.layers.base import Pair, Shape, check_frames
from cuslayer.layers.pool import WithinFrame, check_padding, largest_outputs
from cuslayer.neurons.states import Carried


@differentiable
@saves("nothing")
@check.operation
def count_max_pool(
    x: Array,
    /,
    *,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    states: Carried | None = None,
) -> tuple[Array, Pullback]:
    """Pass the change of the largest sum over time of a window.

    ::

        n[t] = x[0] + ... + x[t]
        m[t, r, c] = max_{i, j} n[t, stride r + dilation i - padding, ...]
        y[t] = m[t] - m[t-1]                                               m[-1] = 0

    So the number of output spikes until each step is the largest number of input spikes of a pixel. `max_pool` fires
    for each spike of any pixel. Spikes stay spikes. Backward gives the gradient to the pixel with the largest sum at
    that step.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        kernel_size: rows and columns of a window, one integer or two.
        stride: rows and columns between windows; by default the window's size.
        padding: pixels around the frame, which never win.
        dilation: rows and columns between the taps of a window.
        states: the sums between calls; None to begin with 0.

    Returns:
        The changes (T, N, H', W', C), of the shape of `max_pool`.

    Raises:
        ValueError: x is not (T, N, H, W, C), or a constant does not fit.
        TypeError: a constant is not an integer.

    Source: Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven networks",
    section 2.3.5.

    >>> import numpy as np
    >>> x = np.array([[1, 0], [0, 1], [0, 1]], bool).reshape(3, 1, 1, 2, 1)
    >>> count_max_pool(x, kernel_size=(1, 2)).data.ravel().tolist()
    [True, False, True]
    """
    check_frames(x.shape)
    shape = x.shape
    image = (shape[2], shape[3])
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding, dilation)
    largest_outputs(window, image)
    xp = namespace(x)
    k = kernels.of(x).pool
    spikes = x.dtype == bool
    x = numeric(x)
    before = None if states is None else states.values
    start = xp.zeros((1, *shape[1:]), x.dtype) if before is None else before
    sums = xp.concatenate([start, x], axis=0).cumsum(axis=0, dtype=x.dtype)
    most, place = k.max_pool(sums.reshape(-1, *shape[2:]), window)
    frames = most.shape[1:]
    most = most.reshape(shape[0] + 1, shape[1], *frames)
    # Only the sums before the first step have no change.
    leading = place[shape[1] :]
    if states is not None:
        states.values = sums[-1:].copy()
    y = most[1:] > most[:-1] if spikes else most[1:] - most[:-1]

    def pullback(g: Array) -> Array:
        of_x: Array = k.max_pool_adjoint(g.reshape(-1, *frames), leading, image, window)
        return of_x.reshape(shape)

    return y, pullback


class CountMaxPool(WithinFrame):
    """The maximum over windows of sums over time; see `functions.count_max_pool`.

    It stands for `MaxPool` of the numbers of a rectifier whose neurons fire in proportion; see `cuslayer.convert`.

    Args:
        kernel_size, stride, padding, dilation: see `functions.max_pool`.

    Raises:
        ValueError: a constant is out of range, or padding is more than half of what the window spans.
        TypeError: a constant is not an integer.

    >>> import numpy as np
    >>> CountMaxPool(2)(np.ones((3, 1, 2, 2, 1), bool)).data.ravel().tolist()
    [True, True, True]
    """

    passes_spikes = False
    form = "count_max"

    def _check_window(self) -> None:
        check_padding(self.window)

    def __call__(self, x: TensorLike) -> Tensor:
        return count_max_pool(x, kernel_size=self.kernel_size, **self.geometry())

    def continued(self) -> Callable[..., Tensor] | None:
        if type(self).__call__ is not CountMaxPool.__call__:
            return super().continued()
        states = Carried()
        return lambda x: count_max_pool(as_tensor(x), kernel_size=self.kernel_size, **self.geometry(), states=states)

    @check.operation("count_max_pool")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        check_frames(("T", "N", *shape))
        return (*largest_outputs(self.window, shape[:2]), shape[2])
