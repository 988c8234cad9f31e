"""Convert neurons to and from the types and constants of SLAYER's configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor
from cuslayer.backend import to_numpy
from cuslayer.neurons.base import KINDS, Neuron, UsualNumber, is_usual
from cuslayer.surrogates import Surrogate, as_constant


@check.operation
def neuron_constants(neuron: Neuron) -> dict[str, object]:
    """Return the type and constants of a neuron under SLAYER's names, without dt, which is the simulation's Ts.

    The result omits the surrogate if it is SLAYER's, the exponential.

    >>> from cuslayer.neurons import SRM
    >>> neuron_constants(SRM(theta=5.0))["theta"]
    5.0
    """
    names = getattr(neuron, "names", None)
    if names is None:
        raise TypeError(f"neuron must be of a named kind ({', '.join(KINDS)}), got {type(neuron).__name__}")
    found: dict[str, Any] = {"type": names.type}
    for theirs, ours in names.all.items():
        if theirs in names.needed or not is_usual(neuron, ours):
            found[theirs] = _plain(getattr(neuron, ours))
    if isinstance(found.get("surrogate"), Surrogate):
        found["surrogate"] = as_constant(found["surrogate"])
        if found["surrogate"] is None:
            del found["surrogate"]
    return found


def _plain(value: object) -> object:
    """Return a constant for a file: a number or a list in place of an array or a tensor."""
    if isinstance(value, (Tensor, np.ndarray)):
        return to_numpy(value.data if isinstance(value, Tensor) else value).astype(np.float64).tolist()
    return float(value) if isinstance(value, UsualNumber) else value


def make_neuron(at: str, constants: Mapping[str, object], dt: float) -> Neuron:
    """Return the neuron of a type and constants by SLAYER's names; errors name them after the path `at`.

    >>> import cuslayer.neurons
    >>> make_neuron("neuron.", {"type": "LOIHI"}, 1.0)
    Traceback (most recent call last):
        ...
    cuslayer._base.check.MissingKey: neuron.vThMant is missing
    """
    if constants.get("type") is None:
        raise check.MissingKey(f"{at}type")
    kind: Any = KINDS[check.one_of(f"{at}type", constants["type"], sorted(KINDS, reverse=True))]
    names, given = kind.names, {key: v for key, v in constants.items() if key != "type" and v is not None}
    for key in given:
        if key not in names.all:
            raise ValueError(f"{at}{key} is an unknown key{check.nearest(key, ('type', *names.all))}")
    for key in names.needed:
        if key not in given:
            raise check.MissingKey(f"{at}{key}")
    try:
        return kind(dt=dt, **{names.all[key]: value for key, value in given.items()})
    except (TypeError, ValueError) as problem:
        # The message starts with the attribute's name: "SRM: tau_sr must be positive".
        ours, rule = check.reason(problem).split(" ", 1)
        theirs = {ours: theirs for theirs, ours in names.all.items()}
        raise type(problem)(f"{at}{theirs[ours]} {rule}") from None
