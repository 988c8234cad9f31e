"""SLAYER's words for the neurons and their constants, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from cuslayer import check
from cuslayer.neurons.loihi import Loihi
from cuslayer.neurons.srm import SRM

Neuron: TypeAlias = "SRM | Loihi"


class NeuronWords(NamedTuple):
    """What SLAYER calls the constants of one type of neuron.

    Attributes:
        make: the neuron.
        needed: our name of each of SLAYER's constants.
        options: our name of each constant that SLAYER does not have.
    """

    make: type[SRM] | type[Loihi]
    needed: dict[str, str]
    options: dict[str, str]

    @property
    def names(self) -> dict[str, str]:
        """Our name of every constant."""
        return self.needed | self.options


_SURROGATE = {"tauRho": "tau_rho", "scaleRho": "scale_rho"}
NEURONS = {
    "SRMALPHA": NeuronWords(
        SRM,
        {"theta": "theta", "tauSr": "tau_sr", "tauRef": "tau_ref", "scaleRef": "scale_ref"} | _SURROGATE,
        {"gradient": "gradient", "cutoff": "cutoff", "refCutoff": "ref_cutoff"},
    ),
    "LOIHI": NeuronWords(
        Loihi,
        {"vThMant": "vth_mant", "vDecay": "v_decay", "iDecay": "i_decay", "refDelay": "ref_delay", "wgtExp": "wgt_exp"}
        | _SURROGATE,
        {"firstBin": "first_bin", "surrogateAt": "surrogate_at"},
    ),
}


def neuron_constants(neuron: Neuron) -> dict[str, Any]:
    """Return the type and the constants of a neuron by SLAYER's names; its dt is the simulation's Ts.

    >>> neuron_constants(SRM(theta=5.0))["theta"]
    5.0
    """
    for word, words in NEURONS.items():
        if isinstance(neuron, words.make):
            return {"type": word} | {theirs: getattr(neuron, ours) for theirs, ours in words.names.items()}
    raise TypeError(f"neuron_constants: neuron must be an SRM or a Loihi, got {type(neuron).__name__}")


def make_neuron(where: str, constants: Mapping[str, Any], dt: float) -> Neuron:
    """Return the neuron of a type and constants by SLAYER's names.

    Args:
        where: what a message begins with, and puts before the name of a constant: ``op: neuron.``.
        constants: "type", all that this type needs, and any of its options.
        dt: the step, ms.

    Raises:
        ValueError: the type or a constant is unknown, a constant is missing or out of range.
        TypeError: a constant is of the wrong kind.

    >>> make_neuron("net: neuron.", {"type": "LOIHI"}, 1.0)
    Traceback (most recent call last):
        ...
    ValueError: net: neuron.vThMant is missing
    """
    if constants.get("type") is None:
        raise ValueError(f"{where}type is missing")
    op, _, prefix = where.rpartition(" ")
    words = NEURONS[check.one_of(op.removesuffix(":"), f"{prefix}type", constants["type"], NEURONS)]
    given = {key: value for key, value in constants.items() if key != "type" and value is not None}
    for key in given:
        if key not in words.names:
            raise ValueError(f"{where}{key} is an unknown key{check.nearest(key, ('type', *words.names))}")
    for key in words.needed:
        if key not in given:
            raise ValueError(f"{where}{key} is missing")
    try:
        return words.make(dt=dt, **{words.names[key]: value for key, value in given.items()})
    except (TypeError, ValueError) as problem:
        # The neuron names its own constant first: "SRM: tau_sr must be positive".
        ours, rule = str(problem).split(": ", 1)[1].split(" ", 1)
        theirs = {ours: theirs for theirs, ours in words.names.items()}
        raise type(problem)(f"{where}{theirs[ours]} {rule}") from None
