"""Gradients against what they stand for: the change of the loss, measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.compare.perturb import KINDS, Moved, move_potentials, move_spikes, move_weights
from cuslayer.inspection.compare.rerun import Run, stand_ins, trained
from cuslayer.inspection.compare.result import MODES, Comparison, GradientComparison, cosine, ratio
from cuslayer.inspection.forward import check_loss, default_loss
from cuslayer.inspection.structure import Unit, layer_name, network, units
from cuslayer.tape import Tensor, as_tensor


def compare_gradients(
    net: Any, x: Any, target: Any, *, loss: Any = None, moves: int = 32, step: float = 1e-4, seed: int = 0
) -> GradientComparison:
    """Compare the slayer and the exact gradient of each layer with the measured change of the loss.

    A spike has no derivative, so there are two things that a gradient can be held against, and both are measured.

    **Small moves**, of a weight or of the potentials, in the relaxed network. Its thresholds have a slope, and pass
    through what the network did, with potentials u0 and spikes s0::

        s[t] = s0[t] + integral from u0[t] to u[t] of dt rho(v) dv
        u[t] = psp(W s)[t] + sum_{k>=1} nu[k] s[t-k]

    (The integral of rho is Laplace's distribution times ``2 scale_rho``. Taken from minus infinity on, it would give
    each silent neuron a share of a spike in every step, and a network that does something else; so the constant of
    integration is chosen, for each neuron and step, such that nothing changes where nothing is moved.) It is run in
    float64 with weights moved by ``+-step`` of their length in a random direction d; measured is the central difference
    ``(E(W + h d) - E(W - h d)) / 2h``, predicted the gradient along d. For potentials, ``+-step theta`` is added to
    ``psp(W s)`` in each bin, times a normal number, and predicted is the error on the potential along it. By the chain
    rule, the derivative of the relaxed network at the network's own weights is the recursion of the exact mode, ::

        g_u[t] = dt rho(u0[t]) (g_s[t] + sum_{k>=1} nu[k] g_u[t+k])

    so that its cosine and its ratio are 1, but for rounding and the curvature within a step, and what the slayer mode
    lacks is the path through refraction. A loss whose backward is not the derivative of its value shows it here:
    `SpikeCountLoss` gives a count's error to the spikes through the spike response, by which its gradient is about
    ``sum_k eps[k]`` times larger than the change of the loss, 27 for a tau_sr of 10 steps. `SpikeTimeLoss` and
    `SpikeRateLoss` have the derivative.

    **Single-spike moves**, in the network itself. One spike of a layer is shifted by a step, added or removed, the
    layers behind it run again with their thresholds as they are, and the loss is compared with the sum of the errors on
    the bins that changed, each with its sign. It is the error that reaches the spikes which is tested here, and so the
    surrogates of all layers behind. Most moves of a hidden layer change no other spike, and a few change the loss a
    lot: the gradient says what they come to in the mean, and a cosine far from 1 is no fault of the code.

    Of `Loihi`, whose gradient has but one form, both columns are the same; relaxed, its reset is dropped, as in its
    gradient. What is compared of a weight is that behind its hooks; a delay of whole steps is moved by one step.
    Functions of one's own between the layers must be smooth. Dropout is off, and nothing of the network changes.

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input. A sample or a few are enough.
        target: what the loss takes beside the spikes.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassignment`.
        moves: how many moves of each kind and layer. The cosine of a gradient that is not the derivative is known up
            to about ``1 / sqrt(moves)``.
        step: the length of small moves, as a share of the weight's or of theta.
        seed: of the moves.

    Returns:
        The comparison: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is no network, loss no function, a number is none, or neurons are neither SRM nor Loihi.
        ValueError: moves or step is out of range, x does not fit the network, or the target does not fit the loss.

    Source: Shrestha and Orchard 2018, section 3.1, for the slayer mode; Bauer et al. 2022, arXiv 2205.10242, for the
    exact one.

    >>> from cuslayer.loss import SpikeTimeLoss
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> rng, srm = np.random.default_rng(0), SRM()
    >>> x, target = rng.random((50, 1, 6)) < 0.2, rng.random((50, 1, 2)) < 0.1
    >>> found = compare_gradients(Network("6-5-2", srm), x, target, loss=SpikeTimeLoss(srm))
    >>> weights = found[1, "weight"]
    >>> round(weights.cosine("exact"), 4), round(weights.ratio("exact"), 4)
    (1.0, 1.0)
    """
    op = "compare_gradients"
    network(op, net)
    check_loss(op, loss)
    count = check.integer(op, "moves", moves, least=1)
    size = check.positive(op, "step", step)
    given = as_tensor(x)
    check.time_first(op, "x", given)
    start = check.integer(op, "seed", seed, least=0)

    def of(out: Tensor) -> Tensor:
        return (loss or default_loss(net, out, target))(out, target)

    slayer, exact = (Run(stand_ins(net, gradient), given, of) for gradient in MODES)
    rows: list[Comparison] = []
    for unit in units(net):
        # Each layer draws for itself: what stands before it has no part in it.
        rng = np.random.default_rng((start, unit.last))
        for moved, gradients, found in _measured(slayer, exact, unit, count, size, rng):
            predicted = dict(zip(MODES, found.predicted, strict=True))
            agreement = cosine(*gradients), ratio(*gradients)
            name = layer_name(net, unit)
            row = Comparison(unit.last, name, moved, found.measured, **predicted, agreement=agreement)
            rows.append(row)
    return GradientComparison(tuple(rows), exact.loss)


def _measured(
    slayer: Run, exact: Run, unit: Unit, count: int, size: float, rng: Any
) -> Iterator[tuple[str, list[Array], Moved]]:
    """Yield what is moved of a unit, its two gradients, and what came of it."""
    if unit.layer is not None:
        for name in trained(exact.stages[unit.layer]):
            gradients = [run.gradients[unit.layer, name] for run in (slayer, exact)]
            yield name, gradients, move_weights(exact, gradients, unit.layer, name, count, size, rng)
    if unit.neurons is not None:
        gradients = [run.potential_error[unit.neurons] for run in (slayer, exact)]
        yield "potential", gradients, move_potentials(exact, gradients, unit.neurons, count, size, rng)
        gradients = [run.spikes_error[unit.neurons] for run in (slayer, exact)]
        for kind in KINDS:
            yield kind, gradients, move_spikes(exact, gradients, unit.neurons, kind, count, rng)
