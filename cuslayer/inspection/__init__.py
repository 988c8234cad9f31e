"""Inspection of networks: calibrate, record, explain, compare gradients, diagnose, report, show in notebooks."""

from cuslayer.inspection.compare.compute import compare_gradients
from cuslayer.inspection.compare.result import Comparison, GradientComparison
from cuslayer.inspection.demo import demo
from cuslayer.inspection.energy.compute import ops
from cuslayer.inspection.energy.result import LayerOperations, Operations
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
from cuslayer.network.calibration import Calibration, LayerCalibration, calibrate

__all__ = [
    "Advice",
    "Calibration",
    "Comparison",
    "Explanation",
    "GradientComparison",
    "Labelled",
    "LayerCalibration",
    "LayerHealth",
    "LayerOperations",
    "NetworkHealth",
    "Operations",
    "Reassignment",
    "Record",
    "Recording",
    "Trace",
    "calibrate",
    "compare_gradients",
    "demo",
    "explain",
    "health",
    "note_rates",
    "ops",
    "rates_of",
    "reassignment",
    "record",
    "report",
    "show_in_notebooks",
]
