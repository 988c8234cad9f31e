"""Inspection of networks: calibrate, record, explain, compare gradients, diagnose, report, show in notebooks."""

from cuslayer.inspection.compare import Comparison, GradientComparison, compare_gradients
from cuslayer.inspection.explain import explain
from cuslayer.inspection.explanation import Counterfactual, Explanation, Total, Trace
from cuslayer.inspection.health import diagnose
from cuslayer.inspection.network_health import Advice, LayerHealth, NetworkHealth
from cuslayer.inspection.ops import LayerOperations, Operations, count_operations
from cuslayer.inspection.reassign import Reassignment, reassign
from cuslayer.inspection.record import Labelled, Record, Recording, record
from cuslayer.inspection.report import write_demo, write_report
from cuslayer.inspection.smallest_change import InputChange, smallest_change
from cuslayer.inspection.structure import note_rates, rates_of
from cuslayer.network.calibration import Calibration, LayerCalibration, calibrate

__all__ = [
    "Advice",
    "Calibration",
    "Comparison",
    "Counterfactual",
    "Explanation",
    "GradientComparison",
    "InputChange",
    "Labelled",
    "LayerCalibration",
    "LayerHealth",
    "LayerOperations",
    "NetworkHealth",
    "Operations",
    "Reassignment",
    "Record",
    "Recording",
    "Total",
    "Trace",
    "calibrate",
    "compare_gradients",
    "count_operations",
    "diagnose",
    "explain",
    "note_rates",
    "rates_of",
    "reassign",
    "record",
    "smallest_change",
    "write_demo",
    "write_report",
]
