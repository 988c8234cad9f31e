"""The report of a network: one HTML page that shows what every neuron had, and why."""

from cuslayer.inspection.report.write import report

__all__ = ["report"]
