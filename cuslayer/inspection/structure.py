"""Names of walk.py under their old place, until nothing imports them from here."""

from __future__ import annotations

from cuslayer.inspection.walk import (
    Unit,
    check_network,
    check_neurons,
    dt_at,
    find_unit,
    is_path,
    note_rates,
    output_shapes,
    rates_of,
    units,
)
from cuslayer.network.modes import copied, ends_in_read_out, eval_mode
from cuslayer.neurons.base import Neuron, OnePass

__all__ = [
    "Unit",
    "check_network",
    "check_neurons",
    "copied",
    "dt_at",
    "ends_in_read_out",
    "eval_mode",
    "find_unit",
    "is_path",
    "layer_name",
    "neurons_of",
    "note_rates",
    "one_pass_of",
    "output_shapes",
    "rates_of",
    "units",
]


def layer_name(unit: Unit) -> str:
    """Return the name of a unit in messages and tables."""
    return unit.name


def neurons_of(unit: Unit) -> Neuron | None:
    """Return the neurons of a unit as a `Neuron`; None if it has none."""
    return unit.model


def one_pass_of(op: str, unit: Unit) -> tuple[Neuron, OnePass]:
    """Return the SRM neurons of a unit and their `OnePass`; raise TypeError if it has none."""
    neurons = unit.model
    if neurons is None or neurons.one_pass is None:
        raise TypeError(f"{op}: {unit.name} has no SRM neurons")
    return neurons, neurons.one_pass
