"""The page of a network: spikes, potentials, errors and explanations of every neuron; or one that runs the network."""

from cuslayer.inspection.report.write import demo, report

__all__ = ["demo", "report"]
