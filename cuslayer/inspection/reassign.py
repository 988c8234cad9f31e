"""SLAYER's error reassignment of one neuron: from its spikes to its potential, and to earlier times of its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, as_tensor, gradients, no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.record import record
from cuslayer.inspection.structure import check_loss, default_loss, find_unit
from cuslayer.network.network import Where
from cuslayer.network.walk import check_network, copied, freeze
from cuslayer.neurons.base import Neuron, at_lags
from cuslayer.plot.style import axes_grid, open_frame, palette, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cuslayer.network.network import Container

_LARGEST = 8  # errors on the potential, each drawn with its reassignment
_ERRORS = (
    ("spikes_error", "error on\nthe spikes\n(loss)"),
    ("potential_error", "error on\nthe potential\n(loss / a.u.)"),
    ("weighted_error", "error on\nthe input\n(loss / a.u.)"),
)


@dataclass(frozen=True, repr=False)
class Reassignment:
    """The forward arrays and the errors of one neuron over time: arrays (T,).

    Attributes:
        layer: the name of the layer.
        index: the index of the neuron.
        sample: the sample.
        constants: the neuron model with its constants.
        loss: the loss of the batch.
        time: the times in ms.
        spikes: the neuron's spikes.
        potential: its membrane potential u.
        surrogate: rho(u), per ms.
        spikes_error: the error on its spikes, ``g_s``.
        potential_error: the error on its potential, ``g_u = dt rho(u) g_s``, or with the path through refraction.
        weighted_error: the error on its weighted input, ``g_x[t] = sum_k eps[k] g_u[t+k]``.
    """

    layer: str
    index: tuple[int, ...]
    sample: int
    constants: Neuron
    loss: float
    time: Array
    spikes: Array
    potential: Array
    surrogate: Array
    spikes_error: Array
    potential_error: Array
    weighted_error: Array

    @property
    def theta(self) -> float:
        """The threshold."""
        return self.constants.theta

    @property
    def spread(self) -> Array:
        """The error on the potential at s, assigned to the input at t: ``[t, s] = eps[s - t] g_u[s]``, (T, T).

        The sum over s is the `weighted_error`.
        """
        steps = np.arange(len(self.time))
        return at_lags(self.constants.response, steps - steps[:, None]) * self.potential_error

    def plot(self, axes: Sequence[Axes] | None = None) -> list[Any]:
        """Draw spikes, u and theta, the surrogate, and the errors on spikes, potential and input, one below the other.

        Args:
            axes: six matplotlib axes, in that order; by default of a new figure.

        Returns:
            The axes.

        Raises:
            ValueError: axes are not six.
        """
        axes = axes_grid(axes, "six", (7.0, 8.0), 6, 1, sharex=True, height_ratios=(1, 3, 2, 2, 2, 2))
        spikes, potential, surrogate, *errors = axes
        time, colors = self.time, palette(spikes)
        spikes.vlines(time[self.spikes], 0, 1, color=colors.ink, linewidth=1.2, label="spikes")
        spikes.set(ylabel="spikes", yticks=[], ylim=(0, 1))
        where = ", ".join(map(str, self.index))
        spikes.set_title(f"{self.layer}, neuron {where}, sample {self.sample}", loc="left", fontsize="small")
        potential.plot(time, self.potential, color=colors.blue, linewidth=1.2, label="potential")
        potential.axhline(self.theta, color=colors.faint, linestyle="--", label="threshold")
        potential.set_ylabel("u and theta\n(a.u.)")
        surrogate.plot(time, self.surrogate, color=colors.purple, linewidth=1.2, label="surrogate")
        surrogate.set(ylabel="surrogate\n(1/ms)", ylim=(0, None))
        for ax, (name, label) in zip(errors, _ERRORS, strict=True):
            ax.plot(time, getattr(self, name), color=colors.vermilion, linewidth=1.2, label=name)
            ax.axhline(0.0, color=colors.faint, linewidth=0.8)
            ax.set_ylabel(label)
        spread = self.spread
        for column in np.argsort(-abs(self.potential_error), kind="stable")[:_LARGEST]:
            errors[-1].plot(time, spread[:, column], color=colors.faint, linewidth=0.6, label="_piece", zorder=1)
        for ax in axes:
            time_axis(ax, len(time), self.constants.dt)
            open_frame(ax)
        for ax in axes[:-1]:
            ax.set_xlabel("")
        return axes

    def __repr__(self) -> str:
        where = ", ".join(map(str, self.index))
        return (
            f"Reassignment({self.layer}, neuron {where}, sample {self.sample}: {int(self.spikes.sum())} spikes, "
            f"loss {self.loss:.4g}, error of the spikes {self.spikes_error.sum():.4g}, "
            f"of the potential {self.potential_error.sum():.4g}, of the input {self.weighted_error.sum():.4g})"
        )


@check.operation
def reassign(
    net: Container,
    x: TensorLike,
    target: TensorLike,
    layer: Where,
    index: int | tuple[int, ...],
    *,
    loss: Callable[..., Tensor] | None = None,
    sample: int = 0,
) -> Reassignment:
    """Compute how SLAYER reassigns the error of one neuron: from its spikes to its potential and to earlier times.

    The surrogate turns the error on spikes into an error on the potential, large near the threshold. The response
    assigns the error on the potential to all earlier input that it depends on. A copy of the network runs, as it is: in
    training with the statistics of the batch and the next draws of dropout. The network does not change.

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input.
        target: the second argument of the loss.
        layer: the layer, as an address or the object; it must have SRM neurons.
        index: the neuron in the layer: its flat index, or one such as (row, column, channel).
        loss: a function of the network's output and target to a scalar tensor. By default `SpikeTimeLoss` for a target
            of the output's shape, else `SpikeCountLoss`, with the constants of the last neurons.
        sample: the sample in the batch.

    Returns:
        The arrays; `plot` draws them.

    Raises:
        TypeError: net is not a network or cannot be copied, loss is not a function, or the layer has no SRM neurons.
        ValueError: the layer is not in the network, or the target does not fit the loss.
        IndexError: the layer's position, the index or sample is out of range.

    Source: Shrestha and Orchard 2018, section 3.1, equations 11 to 13.

    >>> import numpy as np
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> net = Network("4-3-2", SRM())
    >>> x = np.ones((50, 1, 4), bool)
    >>> found = reassign(net, x, [1], layer=1, index=2)
    >>> bool(np.allclose(found.spread.sum(axis=1), found.weighted_error, atol=1e-5))
    True
    """
    check_network(net)
    of = find_unit(net, layer)
    neurons = of.model
    if neurons is None or neurons.srm_form is None:
        raise TypeError(f"{of.name} has no SRM neurons")
    check_loss(loss)
    data, lengths = as_tensor(x).data, as_tensor(x).lengths
    with (
        copied(net) as (twin,),
        record(twin, layers=[of.address], neurons=[index], samples=[sample]) as recording,
        no_grad(active=False),
    ):
        freeze(twin)
        # An input that requires a gradient gives the layer one, whatever is trained.
        out = twin(Tensor(data, requires_grad=True, lengths=lengths))
        value = (loss or default_loss(twin, out, target))(out, target)
        gradients(value)
    found = recording[of.address]
    names = ("spikes", "potential", "surrogate", "spikes_error", "potential_error", "weighted_error")
    return Reassignment(
        layer=of.name,
        index=tuple(found.indices[0].tolist()),
        sample=sample,
        constants=neurons,
        loss=value.item(),
        time=found.spikes.coords["time"],
        **{name: to_numpy(getattr(found, name).values)[:, 0, 0] for name in names},
    )
