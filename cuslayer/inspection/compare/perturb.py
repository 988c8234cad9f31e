"""Perturbations of weights, potentials and single spikes: measured and predicted change of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.compare.rerun import Run, trained_tensors
from cuslayer.layers import Delay
from cuslayer.tape import Tensor, no_grad

KINDS = ("shift", "add", "remove")
# From directions (k, ...) to the output of the network, (T, 2 k, N, ...), for + and - each direction in turn.
_BothSigns: TypeAlias = "Callable[[Array], Array]"


class Changes(NamedTuple):
    """Changes of the loss under k perturbations.

    Attributes:
        measured: the measured changes, (k,).
        predicted: the changes that each gradient predicts, one (k,) per gradient.
    """

    measured: Array
    predicted: tuple[Array, ...]


def perturb_weights(run: Run, gradients: list[Array], at: int, name: str, count: int, step: float, rng: Any) -> Changes:
    """Perturb a parameter of a layer along random directions, in the relaxed network."""
    node = run.nodes[at]
    layer, p = node.stage, trained_tensors(node.stage)[name]
    inputs = [Tensor(run.outputs[number]) for number in node.inputs]
    start = p.data
    whole = isinstance(layer, Delay) and layer.mode == "floor"
    size = layer.dt if whole else step * (float(np.linalg.norm(to_numpy(start))) or 1.0)

    def outputs(direction: Array) -> Array:
        # A delay of whole steps keeps its dtype: in it, multiples of the step are recognized.
        perturbed = to_numpy(start) + direction.astype(start.dtype if whole else np.float64)
        p.data = to_device(perturbed)
        return to_numpy(node(*inputs).data)

    def both_signs(directions: Array) -> Array:
        try:
            with no_grad():
                results = [outputs(sign * size * d) for d in directions for sign in (1.0, -1.0)]
        finally:
            p.data = start
        return run.rerun_relaxed(at, np.stack(results, axis=1))

    return _central_differences(run, gradients, at, both_signs, _directions(start.shape, count, whole, rng), size)


def perturb_potentials(run: Run, gradients: list[Array], at: int, count: int, step: float, rng: Any) -> Changes:
    """Perturb the potentials of neurons along random directions, in the relaxed network."""
    shape = run.outputs[at].shape
    size = step * run.nodes[at].stage.theta * math.sqrt(max(math.prod(shape), 1))

    def both_signs(directions: Array) -> Array:
        perturbations = np.stack([sign * size * d for d in directions for sign in (1.0, -1.0)], axis=1)
        return run.rerun_relaxed(at, run.spikes(at) + run.relaxed[at].changes(perturbations))

    return _central_differences(run, gradients, at, both_signs, _directions(shape, count, False, rng), size)


def _directions(shape: tuple[int, ...], count: int, single: bool, rng: Any) -> Iterator[Array]:
    """Yield directions of length 1: isotropic, or along one random element each."""
    for _ in range(count if math.prod(shape) else 0):
        if single:
            direction = np.zeros(shape)
            direction.flat[rng.integers(direction.size)] = 1.0
        else:
            direction = rng.standard_normal(shape)
        yield direction / np.linalg.norm(direction)


def _central_differences(
    run: Run, gradients: list[Array], at: int, both_signs: _BothSigns, directions: Iterator[Array], size: float
) -> Changes:
    """Measure the central differences of the loss along directions of length 1, and predict them from the gradients."""
    batch_size = max(1, run.trials_at_once(at) // 2)
    measured: list[float] = []
    predicted: list[list[float]] = [[] for _ in gradients]
    while batch := list(islice(directions, batch_size)):
        losses = np.array(list(run.losses(both_signs(np.stack(batch)))))
        measured += ((losses[::2] - losses[1::2]) / (2 * size)).tolist()
        for found, gradient in zip(predicted, gradients, strict=True):
            found += [float(np.vdot(gradient, direction)) for direction in batch]
    return Changes(np.array(measured), tuple(np.array(found) for found in predicted))


def perturb_spikes(run: Run, gradients: list[Array], at: int, kind: str, count: int, rng: Any) -> Changes:
    """Shift by a step, add or remove single spikes of neurons, and rerun the later stages with their thresholds."""
    spikes = to_numpy(run.outputs[at])
    steps, samples, *shape = spikes.shape
    neurons = math.prod(shape)
    flat = spikes.reshape(steps, samples * neurons)
    times, columns = _changed_bins(flat, kind, count, rng)
    change = 1.0 - 2.0 * flat[times, columns[:, None]]
    predicted = (((g.reshape(flat.shape)[times, columns[:, None]]) * change).sum(axis=1) for g in gradients)
    base = to_numpy(run.outputs[run.output])
    sample, neuron = np.divmod(columns, max(neurons, 1))
    measured: list[float] = []
    batch_size = run.trials_at_once(at)
    for first in range(0, len(columns), batch_size):
        some = slice(first, first + batch_size)
        trial = np.arange(len(sample[some]))
        perturbed = spikes[:, sample[some]].reshape(steps, len(trial), neurons)
        perturbed[times[some], trial[:, None], neuron[some][:, None]] ^= True
        out = run.rerun(at, perturbed.reshape(steps, len(trial), 1, *shape), sample[some])
        outputs = np.repeat(base[:, None], len(trial), axis=1)
        outputs[:, trial, sample[some]] = out[:, :, 0]
        measured += [loss - run.loss for loss in run.losses(outputs)]
    return Changes(np.array(measured), tuple(predicted))


def _changed_bins(spikes: Array, kind: str, count: int, rng: Any) -> tuple[Array, Array]:
    """Return the bins of spikes (T, columns) that perturbations change: steps (k, 1 or 2) and the column of each."""
    # A shift swaps a spike with the empty bin before or after it.
    shift = kind == "shift"
    bins = np.flatnonzero(spikes[:-1] != spikes[1:] if shift else spikes == (kind == "remove"))
    if len(bins):
        bins = bins[rng.choice(len(bins), min(count, len(bins)), replace=False)]
    steps, columns = np.divmod(bins, max(spikes.shape[1], 1))
    return np.stack([steps, steps + 1], axis=1) if shift else steps[:, None], columns
