"""Inspection of networks: calibrate, record, explain, compare gradients, diagnose, report, show in notebooks."""

from cuslayer.inspection.compare import Comparison, GradientComparison, compare_gradients
from cuslayer.inspection.explain import Explanation, Trace, explain
from cuslayer.inspection.health import health
from cuslayer.inspection.network_health import Advice, LayerHealth, NetworkHealth
from cuslayer.inspection.ops import LayerOperations, Operations, ops
from cuslayer.inspection.reassign import Reassignment, reassignment
from cuslayer.inspection.record import Labelled, Record, Recording, record
from cuslayer.inspection.report import demo, report
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
]
