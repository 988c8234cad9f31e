"""Compare the gradients of a network with the measured change of its loss under perturbations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.compare.perturb import KINDS, Changes, perturb_potentials, perturb_spikes, perturb_weights
from cuslayer.inspection.compare.rerun import Run, copy_nodes, trained_tensors
from cuslayer.inspection.compare.result import MODES, Comparison, GradientComparison, cosine, ratio
from cuslayer.inspection.forward import check_loss, default_loss
from cuslayer.inspection.structure import Unit, check_network, eval_mode, layer_name, units
from cuslayer.network.container import graph_of
from cuslayer.network.input import finite_input
from cuslayer.tape import Tensor


def compare_gradients(
    net: Any, x: Any, target: Any, *, loss: Any = None, perturbations: int = 32, step: float = 1e-4, seed: int = 0
) -> GradientComparison:
    """Compare the slayer and the exact gradient of each layer with the measured change of the loss.

    A spike has no derivative. Each gradient is therefore tested in two ways: the change of the loss that it predicts is
    compared with the measured change, under small perturbations of a relaxed network and changes of single spikes.

    **Small perturbations** of a weight or of the potentials, in the relaxed network. Its thresholds have a slope. With
    the potentials u0 and the spikes s0 of the network's run::

        s[t] = s0[t] + integral from u0[t] to u[t] of dt rho(v) dv
        u[t] = psp(W s)[t] + sum_{k>=1} nu[k] s[t-k]

    The integral of rho is the Laplace distribution times ``2 scale_rho``. The constant of integration is chosen for
    each neuron and step such that the unperturbed relaxed network has the spikes s0. (Integrated from minus infinity,
    each silent neuron would have a fraction of a spike in every step.) The relaxed network runs in float64. Its weights
    are perturbed by ``+-step`` of their norm along a random direction d: the measured change is the central
    difference ``(E(W + h d) - E(W - h d)) / 2h``, the predicted one the gradient along d. For potentials,
    ``+-step theta`` times a normal number is added to ``psp(W s)`` in each bin, and the prediction is the error on the
    potential along it. By the chain rule, the derivative of the relaxed network at the network's own weights is the
    recursion of the exact mode, ::

        g_u[t] = dt rho(u0[t]) (g_s[t] + sum_{k>=1} nu[k] g_u[t+k])

    so its cosine and its ratio are 1, up to rounding and the curvature within a step. The slayer mode lacks the path
    through refraction. A loss whose backward is not the derivative of its value shows here: `SpikeCountLoss` gives a
    count's error to the spikes through the spike response, so its gradient is about ``sum_k eps[k]`` times larger than
    the change of the loss, 27 for a tau_sr of 10 steps. `SpikeTimeLoss` and `SpikeRateLoss` have the derivative.

    **Perturbations of single spikes**, in the network itself. One spike of a layer is shifted by a step, added or
    removed. The layers after it run again with their thresholds. The measured change of the loss is compared with the
    sum of the errors on the changed bins, each with its sign. This tests the error that reaches the spikes, and so the
    surrogates of all later layers. Most perturbations of a hidden layer change no other spike, and a few change the
    loss a lot: the gradient predicts their mean, and a cosine far from 1 is no fault of the code.

    `Loihi` has a single gradient mode: both columns are the same. Its relaxed form has no reset, as its gradient. The
    compared weight is the effective weight, after its hooks; a delay of whole steps is perturbed by one step. A layer
    that stands at several places is perturbed at each by itself. Custom functions between the layers must be smooth.
    Dropout is off, and the network does not change.

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input. One sample or a few are enough.
        target: the second argument of the loss.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassignment`.
        perturbations: number of perturbations of each kind and layer. The cosine of a gradient that is not the
            derivative is known up to about ``1 / sqrt(perturbations)``.
        step: size of small perturbations, relative to the norm of the weight or to theta.
        seed: seed of the random perturbations.

    Returns:
        The comparison: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is not a network, loss is not a function, an argument is not a number, or neurons are neither SRM
            nor Loihi.
        ValueError: perturbations or step is out of range, x does not fit the network or is not finite, or the
            target does not fit the loss.

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
    check_network(op, net)
    check_loss(op, loss)
    count = check.integer(op, "perturbations", perturbations, least=1)
    size = check.positive(op, "step", step)
    data = finite_input(op, "x", x)
    check.time_first(op, "x", data)
    first_seed = check.integer(op, "seed", seed, least=0)

    def loss_of(out: Tensor) -> Tensor:
        return (loss or default_loss(net, out, target))(out, target)

    output = graph_of(net).output
    rows: list[Comparison] = []
    with eval_mode(net):
        slayer, exact = (Run(copy_nodes(net, gradient), output, data, loss_of) for gradient in MODES)
        for unit in units(net):
            # A generator of its own: the perturbations of a layer do not depend on the layers before it.
            rng = np.random.default_rng((first_seed, *unit.last.path))
            for perturbed, gradients, found in _comparisons(slayer, exact, unit, count, size, rng):
                predicted = dict(zip(MODES, found.predicted, strict=True))
                agreement, name = (cosine(*gradients), ratio(*gradients)), layer_name(unit)
                rows.append(Comparison(unit.address, name, perturbed, found.measured, **predicted, agreement=agreement))
    return GradientComparison(tuple(rows), exact.loss)


def _comparisons(
    slayer: Run, exact: Run, unit: Unit, count: int, size: float, rng: Any
) -> Iterator[tuple[str, list[Array], Changes]]:
    """Yield, for each kind of perturbation of a unit, its name, the two gradients and the changes of the loss."""
    if unit.layer is not None:
        at = unit.layer.number
        for name in trained_tensors(exact.nodes[at].stage):
            gradients = [run.gradients[at, name] for run in (slayer, exact)]
            yield name, gradients, perturb_weights(exact, gradients, at, name, count, size, rng)
    if unit.neurons is not None:
        at = unit.neurons.number
        gradients = [run.potential_error[at] for run in (slayer, exact)]
        yield "potential", gradients, perturb_potentials(exact, gradients, at, count, size, rng)
        gradients = [run.spikes_error[at] for run in (slayer, exact)]
        for kind in KINDS:
            yield kind, gradients, perturb_spikes(exact, gradients, at, kind, count, rng)
