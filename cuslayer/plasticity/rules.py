"""Local rules as data, and the synapses of a layer that change by one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._tape import Tensor, note_change
from cuslayer.backend import Array, to_numpy
from cuslayer.kernels.constants import Window


@check.named
@check.constructed
@dataclass(frozen=True)
class STDP:
    """Spike-timing-dependent plasticity: how the spikes before and after a synapse change its weight.

    Each input has the traces r and x, each output the traces o and y. A spike adds 1 to its traces, which decay::

        input spike:   w -= (w - low)^soft (a_minus + triplet_minus x) o
        output spike:  w += (high - w)^soft (a_plus + triplet_plus y) (r - offset)

    So a pair of spikes, the input's dt ms before the output's, adds ``a_plus exp(-dt / tau_plus)``; in the other order
    it takes ``a_minus exp(-dt / tau_minus)``. In one step the input comes first. A spike's own traces count from its
    next change on. A weight that changes is clipped to the bounds.

    ================== ==========================================================================================
    rule               arguments
    ================== ==========================================================================================
    additive           the defaults
    multiplicative     soft=1; soft between 0 and 1 is Gütig et al. 2003
    triplet            triplet_plus, triplet_minus, tau_x, tau_y: Pfister and Gerstner 2006
    reward-modulated   eligibility: changes wait in a trace for a reward, Florian 2007, Izhikevich 2007
    competitive        offset: an output spike weakens inputs without recent spikes, Diehl and Cook 2015
    ================== ==========================================================================================

    Args:
        a_plus: what a pair adds to a weight.
        a_minus: what a pair takes from a weight.
        tau_plus, tau_minus: the time constants of r and o, ms.
        triplet_plus, triplet_minus: the same for triplets of spikes; 0 for none.
        tau_x, tau_y: the time constants of x and y, ms.
        offset: the trace at which an output spike leaves a weight alone; a smaller one weakens it, towards `low`.
        bounds: the smallest and the largest weight, (low, high).
        soft: the exponent of the distance to the bound; 0 for none.
        nearest: whether a spike sets its traces to 1, so that only the nearest spikes count, in place of adding 1.
        eligibility: the time constant, ms, of the trace that a reward adds to the weights; None to change them at once.

    Raises:
        ValueError: a time constant is not positive, soft is negative, or bounds are not in order.
        TypeError: an argument has the wrong type.

    >>> import numpy as np
    >>> pre, post = np.zeros((30, 1, 1), bool), np.zeros((30, 1, 1), bool)
    >>> pre[5] = post[15] = True
    >>> w = STDP(a_plus=0.1, tau_plus=20.0)(pre, post, np.array([[0.5]]))
    >>> w.round(4).item(), round(0.5 + 0.1 * math.exp(-10 / 20), 4)
    (0.5607, 0.5607)
    """

    a_plus: float = 0.01
    a_minus: float = 0.012
    tau_plus: float = 20.0
    tau_minus: float = 20.0
    triplet_plus: float = 0.0
    triplet_minus: float = 0.0
    tau_x: float = 101.0
    tau_y: float = 125.0
    offset: float = 0.0
    bounds: tuple[float, float] = (0.0, 1.0)
    soft: float = 0.0
    nearest: bool = False
    eligibility: float | None = None

    def __post_init__(self) -> None:
        for name in ("a_plus", "a_minus", "triplet_plus", "triplet_minus", "offset"):
            check.number(name, getattr(self, name))
        for name in ("tau_plus", "tau_minus", "tau_x", "tau_y"):
            check.positive(name, getattr(self, name))
        if self.eligibility is not None:
            check.positive("eligibility", self.eligibility)
        check.not_negative("soft", self.soft)
        check.flag("nearest", self.nearest)
        low, high = check.two("bounds", self.bounds)
        if check.number("bounds", low) >= check.number("bounds", high):
            raise ValueError(f"bounds must be a smaller and a larger number, got {self.bounds}")

    def __call__(
        self, pre: npt.ArrayLike, post: npt.ArrayLike, weight: npt.ArrayLike, *, dt: float = 1.0, reward: float = 1.0
    ) -> Array:
        """Return the weight after some spikes.

        Samples change the weight one after the other in each step, so the result for a batch is a sum over samples up
        to the bounds.

        Args:
            pre: the spikes of the inputs, (T, N, inputs).
            post: the spikes of the outputs, (T, N, outputs).
            weight: (inputs, outputs), float32 or float64.
            dt: the step, ms.
            reward: the reward after the last step, for a rule with an eligibility.

        Raises:
            ValueError: the shapes do not fit, or dt is not positive.
            TypeError: the weight is not floating.
        """
        inputs, outputs, w = np.asarray(pre), np.asarray(post), np.array(weight)
        check.floating("weight", w)
        shape = (*inputs.shape[:2], *w.shape)
        if w.ndim != 2 or inputs.shape != shape[:3] or outputs.shape != (*shape[:2], *w.shape[1:]):
            raise ValueError(
                f"pre, post and weight must be (T, N, inputs), (T, N, outputs) and (inputs, outputs), got shapes "
                f"{inputs.shape}, {outputs.shape} and {w.shape}"
            )
        synapses = Synapses(self, Tensor(w), dt=check.positive("dt", dt))
        synapses(inputs, outputs)
        if self.eligibility is not None:
            synapses.reward(reward)
        return w

    def table(self, dt: float) -> Any:
        """Return the rule for steps of dt ms, as the compiled loop takes it."""
        from cuslayer.kernels.online.plasticity import Table  # imports Numba

        def keep(tau: float) -> float:
            return math.exp(-dt / tau)

        low, high = self.bounds
        return Table(
            keep_plus=keep(self.tau_plus),
            keep_x=keep(self.tau_x),
            keep_minus=keep(self.tau_minus),
            keep_y=keep(self.tau_y),
            keep_eligible=keep(self.eligibility or math.inf),
            plus=float(self.a_plus),
            minus=float(self.a_minus),
            triplet_plus=float(self.triplet_plus),
            triplet_minus=float(self.triplet_minus),
            offset=float(self.offset),
            low=float(low),
            high=float(high),
            soft=float(self.soft),
            nearest=self.nearest,
        )

    def begin(self, weight: Tensor, dt: float, window: Window | None) -> Synapses:
        """Return synapses that change by the rule; streams call it."""
        return Synapses(self, weight, dt=dt, window=window)


class Synapses:
    """The synapses of a layer with their traces; a call changes the layer's weight by the spikes of some steps.

    Args:
        rule: the rule.
        weight: the weight, (inputs, outputs), or (rows, columns, inputs, outputs) of a convolution.
        dt: the step, ms.
        window: the window of a convolution. Its places change the weight one after the other, like samples.
    """

    def __init__(self, rule: STDP, weight: Tensor, *, dt: float, window: Window | None = None) -> None:
        self.rule = rule
        self._weight = weight
        self._window = window
        self._table = rule.table(dt)
        self._state: tuple[Array, Array, Array] | None = None

    def __call__(self, pre: Array, post: Array) -> None:
        """Change the weight by spikes (T, N, ...) of the layer's input and of the neurons after it."""
        from cuslayer.kernels.online.plasticity import learn  # imports Numba

        for name, spikes in (("input", pre), ("output", post)):
            if spikes.dtype != bool:
                raise TypeError(f"the {name} of a layer that learns must be spikes, boolean, got {spikes.dtype}")
        steps, samples = pre.shape[:2]
        w = self._array()
        inputs, outputs = w.shape
        if self._window is not None:
            pre = _windows(pre, self._window)
        before = np.ascontiguousarray(pre.reshape(steps, -1, inputs))
        after = np.ascontiguousarray(post.reshape(steps, -1, outputs))
        if self._state is None:
            rows = before.shape[1]
            waiting = 0 if self.rule.eligibility is None else samples
            self._state = np.zeros((waiting, *w.shape)), np.zeros((2, rows, inputs)), np.zeros((2, rows, outputs))
        note_change(self._weight)
        eligible, of_inputs, of_outputs = self._state
        learn(w, eligible, before, after, of_inputs, of_outputs, self._table)

    def reward(self, reward: npt.ArrayLike) -> None:
        """Add the eligible changes, times a reward, to the weight; one number, or one for each sample."""
        if self._state is None:
            return
        eligible = self._state[0]
        w = self._array()
        rewards = np.asarray(to_numpy(reward), np.float64)
        if rewards.shape not in ((), (len(eligible),)):
            raise ValueError(f"reward must be a number or ({len(eligible)},), got shape {rewards.shape}")
        note_change(self._weight)
        w += np.tensordot(np.broadcast_to(rewards, len(eligible)), eligible, 1).astype(w.dtype)
        np.clip(w, *self.rule.bounds, out=w)

    def _array(self) -> Array:
        """Return the layer's weight as a matrix (inputs, outputs) in its own memory."""
        held = self._weight.data
        if not (held.flags.c_contiguous and held.flags.writeable):
            self._weight.data = held = np.array(held, order="C")
        return held.reshape(-1, held.shape[-1])


def _windows(x: Array, window: Window) -> Array:
    """Return the inputs of each output of a convolution, (T, N, rows, columns, inputs), for frames (T, N, H, W, C)."""
    (high, wide), (down, right) = window.kernel, window.dilation
    padding = [(0, 0), (0, 0), *((size, size) for size in window.padding), (0, 0)]
    reach = down * (high - 1) + 1, right * (wide - 1) + 1
    views = np.lib.stride_tricks.sliding_window_view(np.pad(x, padding), reach, axis=(2, 3))
    taps = views[:, :, :: window.stride[0], :: window.stride[1], :, ::down, ::right]
    return np.moveaxis(taps, 4, -1).reshape(*taps.shape[:4], -1)
