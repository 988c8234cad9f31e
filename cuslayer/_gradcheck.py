"""Gradient check: backward compared with central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import to_device, to_numpy
from cuslayer.kernels.step.smooth import error_of_adjoint, error_of_own


@check.operation
def gradcheck(fn: Callable[..., Tensor], *arrays: TensorLike, seed: int = 0, step: float = 1e-5) -> float:
    """Return the relative error of the gradient of fn against its central difference.

    It compares in float64, for a random direction d of all arrays and random weights c of the result::

        (<c, fn(x + step d)> - <c, fn(x - step d)>) / (2 step)   against   <gradient of <c, fn(x)>, d>

    For a `StepNeuron`, ``gradcheck(neuron)`` checks the derived gradient with respect to inputs and constants, with
    spikes as a smooth function of the potential. It compares the neuron's own `backward` with the derived gradient.

    Args:
        fn: a deterministic function of one tensor for each array that returns a tensor; or a neuron.
        arrays: the point to check, numbers of any shape; none for a neuron.
        seed: the seed of d and c.
        step: the step along d, whose elements have variance 1.

    Returns:
        The difference over the larger of the two: below 1e-6 for a correct gradient of a smooth function.

    Raises:
        ValueError: there is no array, or step is not positive.
        TypeError: fn does not return a tensor that requires a gradient.

    >>> gradcheck(lambda x, y: (x * y).exp(), [0.5, -1.0], [2.0, 3.0]) < 1e-6
    True
    """
    check.positive("step", step)
    if not arrays and callable(getattr(fn, "kind", None)):
        return _of_neuron(fn, seed, step)
    if not arrays:
        raise ValueError("arrays must be at least one, got none")
    generator = np.random.default_rng(seed)
    points = [np.array(to_numpy(x), np.float64) for x in arrays]
    directions = [generator.standard_normal(x.shape) for x in points]

    tensors = [Tensor(x, requires_grad=True) for x in points]
    out = fn(*tensors)
    if not isinstance(out, Tensor) or not out.requires_grad:
        raise TypeError(f"fn must return a tensor made from its arrays, got {out!r:.60}")
    weights = generator.standard_normal(out.shape)
    out.backward(to_device(weights))
    analytic = sum(
        float((to_numpy(t.grad) * d).sum()) for t, d in zip(tensors, directions, strict=True) if t.grad is not None
    )

    def along(distance: float) -> float:
        moved = [Tensor(x + distance * d) for x, d in zip(points, directions, strict=True)]
        with no_grad():
            return float((fn(*moved).numpy() * weights).sum())

    numeric = (along(step) - along(-step)) / (2 * step)
    largest = max(abs(analytic), abs(numeric))
    return abs(analytic - numeric) / largest if largest else 0.0


def _of_neuron(neuron: Any, seed: int, step: float) -> float:
    kind = None if neuron.step is None else neuron.kind()
    if kind is None or not kind.derived or _has_a_rule_of_its_own(kind, neuron.gradient):
        raise TypeError(f"fn must be a neuron whose gradient is derived, got {check.one_line(neuron)}")
    kind = neuron.spiking.kind
    numbers = neuron.spiking.by_name
    own = {name: float(to_numpy(getattr(value, "data", value)).mean()) for name, value in neuron.columns.items()}
    if kind.own is not None:
        return error_of_own(kind, numbers | own, neuron.gradient == "exact", neuron.graded, seed)
    return error_of_adjoint(kind, numbers | own, seed, step)


def _has_a_rule_of_its_own(kind: Any, mode: str) -> bool:
    """Return whether a backward is no derivative of the smooth step, or is a recurrence with values of other steps."""
    if mode == "eventprop":
        return True
    own = kind.own_backward(mode == "exact")
    return own is not None and (bool(own.past) or (kind.own is not kind.own_exact and mode == "slayer"))
