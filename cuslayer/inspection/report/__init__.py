"""The report of a network: one HTML page with spikes, potentials, errors and explanations of every neuron."""

from cuslayer.inspection.report.write import report

__all__ = ["report"]
