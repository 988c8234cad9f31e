"""Comparison of two spike trains: the loss of spike times, the van Rossum distance, and the coincidence factor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.sequences import Lengths, ended, sum_of_parts
from cuslayer._tape import Gradient, Pullback, Tensor, as_tensor, differentiable
from cuslayer.backend import Array, namespace, numeric, to_numpy
from cuslayer.kernels.step.filters import Alpha, Sampled
from cuslayer.loss.base import finite_target, part_of, warn_of_step
from cuslayer.neurons.base import Neuron, as_neuron, mean_rate


@differentiable
@check.operation
def spike_time_error(s: Array, target: Array, /, *, response: Alpha | Sampled) -> tuple[Array, Pullback]:
    """Return ``E = 1/2 sum e^2 dt``, ``e = psp(s) - psp(target)``, summed over time, batch and neurons.

    Backward is ``g_s[t] = dt sum_k eps[k] e[t+k]``, and its negative for the target.

    Args:
        s: (T, N, ...), spikes or numbers.
        target: of the same shape.
        response: the spike response, with its dt in ms.

    Returns:
        The error, a scalar.

    Raises:
        ValueError: s is not (T, N, ...), or the shapes differ.

    Source: Shrestha and Orchard 2018, equations 4 and 5 (van Rossum's distance with the spike response).

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> train = np.zeros((50, 1, 1), bool); train[10] = True
    >>> spike_time_error(train, train, response=SRM().filter).item()
    0.0
    """
    check.time_first("s", s)
    check.same_shape("s", s, "target", target)
    k = kernels.of(s)
    # The filter is linear: it runs once, on the difference.
    e = response.apply(k, numeric(s) - target)
    dt = e.dtype.type(response.dt)
    error = namespace(e).asarray((e * e).sum() * (dt / 2), dtype=e.dtype)

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        of_s = response.adjoint(k, e * (g * dt))
        return of_s, lambda: -of_s

    return error, pullback


@check.named
class SpikeTimeLoss:
    """The distance of filtered spike trains, ``E = 1/2 sum (psp(s) - psp(target))^2 dt``.

    See `functions.spike_time_error`.

    Args:
        neuron: the neuron whose spike response filters both trains.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> loss = SpikeTimeLoss(SRM())
    >>> train = np.zeros((50, 1, 1), bool); train[10] = True
    >>> loss(train, train).item()
    0.0
    """

    # The step of a network's output that the loss has warned of.
    _other_step: float | None = None

    def __init__(self, neuron: Neuron) -> None:
        self.neuron = as_neuron(neuron)

    def __call__(self, spikes: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of spikes against target, both (T, N, ...), as a scalar; in a padded batch up to each end.

        Raises:
            ValueError: the shapes differ, or a number of the target is not finite.

        Warns:
            UserWarning: a network made the spikes with another dt than the neuron's; once.
        """
        spikes, target = as_tensor(spikes), as_tensor(target)
        if spikes.ndim == 3 and target.ndim < 3:
            got = f"got shape {target.shape}; for classes take SpikeCountLoss"
            raise ValueError(f"target must be spike trains of shape {spikes.shape}, {got}")
        check.same_shape("spikes", spikes, "target", target)
        warn_of_step(self, spikes)
        finite_target(target.data)
        if spikes.lengths is None:
            return spike_time_error(spikes, target, response=self.neuron.filter)

        def of_part(part: Tensor, length: int, numbers: Lengths) -> Tensor:
            return spike_time_error(part, part_of(target.data, numbers, part), response=self.neuron.filter)

        return sum_of_parts(spikes, lengths=spikes.lengths, loss=of_part)

    def __repr__(self) -> str:
        return check.shown(self)

    def desired_rate(self, target: Any, outputs: int, steps: int) -> float:
        """Return the mean rate in Hz of the target's spikes."""
        return mean_rate(as_tensor(target).data, self.neuron.dt)


@check.operation
def van_rossum(a: TensorLike, b: TensorLike, *, tau: float, dt: float = 1.0, total: bool = False) -> Array:
    """Return the distance of two spike trains filtered by a causal exponential.

    ``D^2 = 1/tau int_0^inf (f_a - f_b)^2 dt`` with ``f(t) = sum over spikes at t_i <= t of exp(-(t - t_i) / tau)``. A
    spike in only one of the trains gives ``D^2 = 1/2``; so does each of two spikes that are far apart. The integral is
    exact: the difference decays exponentially between two steps, and after the last one.

    Args:
        a: (T, N, ...), spikes or counts.
        b: of the same shape.
        tau: the time constant of the filter, ms: small to compare times, large to compare counts.
        dt: the step, ms.
        total: whether to return one distance per sample, the root of the summed squares over its neurons.

    Returns:
        The distances, float64 on the CPU: (N, ...), one per neuron, or (N,).

    Raises:
        ValueError: a is not (T, N, ...), the shapes differ, or tau or dt is not positive.
        TypeError: tau or dt is not a number.

    Source: M. C. W. van Rossum, "A novel spike distance", Neural Computation 13(4), 2001.

    >>> one, none = np.zeros((2, 50, 1, 1), bool); one[10] = True
    >>> van_rossum(one, none, tau=5.0).round(6).tolist()
    [[0.707107]]
    """
    a, b, lengths = as_tensor(a).data, as_tensor(b).data, as_tensor(a).lengths
    check.time_first("a", a)
    check.same_shape("a", a, "b", b)
    if lengths is not None:
        a, b = (ended(each, lengths=lengths).data for each in (a, b))
    rate = check.time_step("dt", dt) / check.positive("tau", tau)
    difference = a.astype(np.float64) - b.astype(np.float64)
    # The samples of the filter above the resolution of float64.
    taps = min(len(a), math.floor(-math.log(np.finfo(np.float64).eps) / rate) + 1)
    check.flag("total", total)
    filtered = kernels.of(difference).filter_bank.fir(difference, np.exp(-rate * np.arange(taps)))
    within = -math.expm1(-2 * rate) / 2
    square = to_numpy((filtered * filtered).sum(axis=0)) * within
    if len(a):
        square += to_numpy(filtered[-1] * filtered[-1]) * (math.exp(-2 * rate) / 2)
    return np.sqrt(square.sum(axis=tuple(range(1, square.ndim))) if total else square)


@check.operation
def coincidence_factor(spikes: TensorLike, target: TensorLike, *, within: float = 4.0, dt: float = 1.0) -> Array:
    """Return the fraction of coincident spikes, relative to a Poisson train of the same rate.

    ::

        Gamma = (N_coinc - 2 nu Delta N_target) / ((N_target + N_spikes) / 2  (1 - 2 nu Delta))

    with N_coinc pairs of a spike and a target that are at most Delta apart, each in one pair, and nu the rate of
    spikes. It is 1 for equal trains, about 0 for a Poisson train, and negative for trains that avoid each other.

    Args:
        spikes: (T, N, ...), the trains to judge; with `Tensor.lengths`, each counts up to its end, with its target.
        target: of the same shape, such as recorded trains.
        within: Delta, ms.
        dt: the step, ms.

    Returns:
        The factors, float64 on the CPU, (N, ...); NaN if neither train has a spike, or ``2 nu Delta`` is 1 or more.

    Raises:
        ValueError: spikes is not (T, N, ...), the shapes differ, or within or dt is not positive.
        TypeError: within or dt is not a number.

    Source: Kistler, Gerstner and van Hemmen 1997, "Reduction of the Hodgkin-Huxley equations to a single-variable
    threshold model", Neural Computation 9(5); Jolivet et al. 2008, Journal of Neuroscience Methods 169(2).

    >>> made, recorded = np.zeros((2, 1000, 1, 1), bool)
    >>> recorded[[100, 300, 500, 700]] = made[[103, 299, 560, 700]] = True
    >>> coincidence_factor(made, recorded, within=4.0).round(3).tolist()
    [[0.742]]
    """
    lengths = as_tensor(spikes).lengths
    spikes, target = to_numpy(as_tensor(spikes).data), to_numpy(as_tensor(target).data)
    check.time_first("spikes", spikes)
    check.same_shape("spikes", spikes, "target", target)
    dt, within = check.time_step("dt", dt), check.positive("within", within)
    columns, length = math.prod(spikes.shape[1:]), len(spikes)
    lag = math.floor(min(within / dt * (1 + 1e-9), length))
    ends = np.full(spikes.shape[1], length) if lengths is None else lengths
    ends = np.repeat(ends, math.prod(spikes.shape[2:]))
    # All trains on one time axis, too far apart to interact.
    places = []
    for train in (spikes, target):
        column, time = np.nonzero((train.reshape(length, columns).T != 0) & (np.arange(length) < ends[:, None]))
        places.append(column * (length + lag + 1) + time)
    made, wanted = places
    of_made, of_wanted = (np.bincount(place // (length + lag + 1), minlength=columns) for place in places)
    found, nearby = np.zeros(columns), np.searchsorted(made, wanted - lag)
    free = 0  # each target in turn takes the first free spike near it
    for place, first in zip(wanted.tolist(), nearby.tolist(), strict=True):
        free = max(free, first)
        if free < len(made) and made[free] <= place + lag:
            found[place // (length + lag + 1)] += 1
            free += 1
    by_chance = 2 * within * of_made / (np.maximum(ends, 1) * dt)
    pairs = np.where(by_chance < 1, (of_made + of_wanted) / 2 * (1 - by_chance), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        factors = np.where(pairs > 0, (found - by_chance * of_wanted) / pairs, np.nan)
    return factors.reshape(spikes.shape[1:])
