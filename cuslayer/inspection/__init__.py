"""Inspection of networks: calibrate, record, explain, compare gradients, diagnose, report, show in notebooks."""

from cuslayer.inspection.calibration.compute import calibrate
from cuslayer.inspection.calibration.result import Calibration, LayerCalibration
from cuslayer.inspection.compare.compute import compare_gradients
from cuslayer.inspection.compare.result import Comparison, GradientComparison
from cuslayer.inspection.energy.compute import ops
from cuslayer.inspection.energy.result import LayerOperations, Operations
from cuslayer.inspection.explain.compute import explain
from cuslayer.inspection.explain.result import Explanation, Trace
from cuslayer.inspection.health.compute import health
from cuslayer.inspection.health.result import Advice, LayerHealth, NetworkHealth
from cuslayer.inspection.notebook.html import show_in_notebooks
from cuslayer.inspection.reassign import Reassignment, reassignment
from cuslayer.inspection.record.labelled import Labelled
from cuslayer.inspection.record.recorder import record
from cuslayer.inspection.record.recording import Record, Recording
from cuslayer.inspection.report import demo, report
from cuslayer.inspection.structure import note_rates, rates_of

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
