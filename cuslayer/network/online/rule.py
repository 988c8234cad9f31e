"""Learning forward in time: gradients from traces of synapses, in memory that does not grow with the number of steps.

Backward needs a whole recording. A trace needs no later step: it holds what a weight has changed so far. With W from
inputs x to neurons j, and the next neurons k::

    e_ij[t] = d s_j[t] / d W_ij                     the tangent of neuron j for the input x_i
    F_ij[t] = the tangent of the next neurons' potential for the input e_ij
    dL / dW_ij = sum over t of (sum over k of W_jk G_k[t]) F_ij[t]        G_k the error of potential k at step t

"exact" keeps e and F for each synapse. For one layer of neurons between input and output, this is the gradient of
backward. "factored" keeps two numbers, the trace P of an input through both filters and the mean slope R of a neuron,
in place of F::

    F_ij[t] = R_j[t] P_i[t]

"eprop" is "exact" for recurrent layers too: it drops the paths through recurrent synapses to other neurons. Its
feedback may use random weights in the place of W_jk. In deeper networks an error goes on to earlier layers at the same
step, weighted by R.
"""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer._base import check

RULES = "exact", "factored", "eprop"
FEEDBACK = "symmetric", "random", "adaptive"


@dataclass(frozen=True)
class Online:
    """A rule that learns forward in time, for ``Trainer(online=)`` and ``net.stream(online=)``.

    Args:
        rule: "exact", "factored" or "eprop". "exact" and "eprop" keep a trace for each synapse and sample, "factored"
            for each input and each neuron.
        feedback: for "eprop", the weights by which errors reach a layer: "symmetric" for the layer's own, "random" for
            fixed random ones, "adaptive" for random ones that follow the changes of the layer's own.

    Raises:
        ValueError: rule or feedback is unknown, or feedback is not "symmetric" for another rule.

    Source: Bellec and others 2020, "A solution to the learning dilemma for recurrent networks of spiking neurons",
    Nature Communications 11:3625; Xiao and others 2022, "Online training through time for spiking neural networks",
    arXiv 2210.04195.

    >>> Online("eprop", feedback="random")
    Online(rule='eprop', feedback='random')
    """

    rule: str = "exact"
    feedback: str = "symmetric"

    def __post_init__(self) -> None:
        check.one_of("rule", self.rule, RULES)
        check.one_of("feedback", self.feedback, FEEDBACK)
        if self.feedback != "symmetric" and self.rule != "eprop":
            raise ValueError(f"feedback must be symmetric for the rule {self.rule}, got {self.feedback}; use eprop")


def as_rule(given: object) -> Online:
    """Return a rule by its name, or itself."""
    if isinstance(given, Online):
        return given
    if not isinstance(given, str):
        raise check.mistyped("online", f"must be Online or one of {', '.join(RULES)}", given)
    check.one_of("online", given, RULES)
    return Online(given)
