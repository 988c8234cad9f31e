"""Inspection of networks: record arrays, explain spikes, compare gradients, diagnose, report, notebook views."""

from cuslayer.inspection.compare.compute import compare_gradients
from cuslayer.inspection.compare.result import Comparison, GradientComparison
from cuslayer.inspection.demo import demo
from cuslayer.inspection.explain.compute import explain
from cuslayer.inspection.explain.result import Explanation, Trace
from cuslayer.inspection.health.advice import Advice
from cuslayer.inspection.health.compute import health
from cuslayer.inspection.health.layer import LayerHealth
from cuslayer.inspection.health.result import NetworkHealth
from cuslayer.inspection.notebook.html import show_in_notebooks
from cuslayer.inspection.reassign import Reassignment, reassignment
from cuslayer.inspection.record.labelled import Labelled
from cuslayer.inspection.record.recorder import record
from cuslayer.inspection.record.recording import Record, Recording
from cuslayer.inspection.report import report
from cuslayer.inspection.structure import note_rates, rates_of

__all__ = [
    "Advice",
    "Comparison",
    "Explanation",
    "GradientComparison",
    "Labelled",
    "LayerHealth",
    "NetworkHealth",
    "Reassignment",
    "Record",
    "Recording",
    "Trace",
    "compare_gradients",
    "demo",
    "explain",
    "health",
    "note_rates",
    "rates_of",
    "reassignment",
    "record",
    "report",
    "show_in_notebooks",
]
