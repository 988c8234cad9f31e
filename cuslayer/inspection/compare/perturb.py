"""Small moves and single-spike moves: how much the loss changes, and how much each gradient said it would."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.compare.rerun import Run, trained
from cuslayer.layers import Delay
from cuslayer.tape import Tensor, as_tensor, no_grad

KINDS = ("shift", "add", "remove")


class Moved(NamedTuple):
    """Changes of the loss by some moves.

    Attributes:
        measured: what they were, (k,).
        predicted: what each of the gradients says, a (k,) for each.
    """

    measured: Array
    predicted: tuple[Array, ...]


def move_weights(run: Run, gradients: list[Array], at: int, name: str, count: int, step: float, rng: Any) -> Moved:
    """Move what is trained of a layer, at random, in the relaxed network."""
    layer, p = run.stages[at], trained(run.stages[at])[name]
    start = p.data
    whole = isinstance(layer, Delay) and layer.mode == "floor"
    size = layer.dt if whole else step * (float(np.linalg.norm(to_numpy(start))) or 1.0)

    def outputs(direction: Array) -> Array:
        # A delay of whole steps goes through it in its own type, in which multiples of the step are told.
        moved = to_numpy(start) + direction.astype(start.dtype if whole else np.float64)
        p.data = to_device(moved)
        return to_numpy(as_tensor(layer(Tensor(run.inputs[at]))).data)

    def both(directions: Array) -> Array:
        try:
            with no_grad():
                made = [outputs(sign * size * d) for d in directions for sign in (1.0, -1.0)]
        finally:
            p.data = start
        return run.relaxed_again(at + 1, np.stack(made, axis=1))

    return _along(run, gradients, at, both, _directions(start.shape, count, whole, rng), size)


def move_potentials(run: Run, gradients: list[Array], at: int, count: int, step: float, rng: Any) -> Moved:
    """Move the potentials of neurons, at random, in the relaxed network."""
    shape = run.inputs[at + 1].shape
    size = step * run.stages[at].theta * math.sqrt(max(math.prod(shape), 1))

    def both(directions: Array) -> Array:
        moves = np.stack([sign * size * d for d in directions for sign in (1.0, -1.0)], axis=1)
        return run.relaxed_again(at + 1, run.spikes(at) + run.relaxed[at].changes(moves))

    return _along(run, gradients, at, both, _directions(shape, count, False, rng), size)


def _directions(shape: tuple[int, ...], count: int, single: bool, rng: Any) -> Iterator[Array]:
    """Yield directions of length 1: normal, and so in all directions alike, or each of a single number."""
    for _ in range(count if math.prod(shape) else 0):
        if single:
            direction = np.zeros(shape)
            direction.flat[rng.integers(direction.size)] = 1.0
        else:
            direction = rng.standard_normal(shape)
        yield direction / np.linalg.norm(direction)


def _along(
    run: Run, gradients: list[Array], at: int, both: Callable[[Array], Array], directions: Iterator[Array], size: float
) -> Moved:
    """Measure the loss's central differences along directions."""
    together = max(1, run.together(at) // 2)
    measured: list[float] = []
    predicted: list[list[float]] = [[] for _ in gradients]
    batch: list[Array] = []
    for direction in directions:
        batch.append(direction)
        for found, gradient in zip(predicted, gradients, strict=True):
            found.append(float(np.vdot(gradient, direction)))
        if len(batch) == together:
            measured += _differences(run, both(np.stack(batch)), size)
            batch = []
    if batch:
        measured += _differences(run, both(np.stack(batch)), size)
    return Moved(np.array(measured), tuple(np.array(found) for found in predicted))


def _differences(run: Run, outputs: Array, size: float) -> list[float]:
    losses = np.array(list(run.losses(outputs)))
    return ((losses[::2] - losses[1::2]) / (2 * size)).tolist()


def move_spikes(run: Run, gradients: list[Array], at: int, kind: str, count: int, rng: Any) -> Moved:
    """Shift by a step, add or remove single spikes of neurons, and run the rest of the network as it is."""
    spikes = to_numpy(run.inputs[at + 1])
    steps, samples, *shape = spikes.shape
    neurons = math.prod(shape)
    flat = spikes.reshape(steps, samples * neurons)
    times, columns = _places(flat, kind, count, rng)
    change = 1.0 - 2.0 * flat[times, columns[:, None]]
    predicted = (((g.reshape(flat.shape)[times, columns[:, None]]) * change).sum(axis=1) for g in gradients)
    base = to_numpy(run.inputs[-1])
    sample, place = np.divmod(columns, max(neurons, 1))
    measured: list[float] = []
    together = run.together(at + 1)
    for first in range(0, len(columns), together):
        some = slice(first, first + together)
        trial = np.arange(len(sample[some]))
        moved = spikes[:, sample[some]].reshape(steps, len(trial), neurons)
        moved[times[some], trial[:, None], place[some][:, None]] ^= True
        out = run.again(at + 1, moved.reshape(steps, len(trial), 1, *shape))
        outputs = np.repeat(base[:, None], len(trial), axis=1)
        outputs[:, trial, sample[some]] = out[:, :, 0]
        measured += [loss - run.loss for loss in run.losses(outputs)]
    return Moved(np.array(measured), tuple(predicted))


def _places(spikes: Array, kind: str, count: int, rng: Any) -> tuple[Array, Array]:
    """Return the bins that moves of spikes (T, columns) change: their steps (k, 1 or 2), and the column of each."""
    if kind != "shift":
        there = np.flatnonzero(spikes == (kind == "remove"))
        steps, columns = np.divmod(_some(there, count, rng), max(spikes.shape[1], 1))
        return steps[:, None], columns
    # A spike and an empty bin beside it: later where the spike comes first, else earlier.
    there = np.flatnonzero(spikes[:-1] != spikes[1:])
    steps, columns = np.divmod(_some(there, count, rng), max(spikes.shape[1], 1))
    return np.stack([steps, steps + 1], axis=1), columns


def _some(there: Array, count: int, rng: Any) -> Array:
    return there[rng.choice(len(there), min(count, len(there)), replace=False)] if len(there) else there
