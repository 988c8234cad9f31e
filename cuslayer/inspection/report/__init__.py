"""The report of a network: one HTML page that shows what every neuron had, and why."""

from cuslayer.inspection.report.writing import report

__all__ = ["report"]
