"""Looking inside: what a network had, why a neuron fired, what its errors were; and how things show themselves."""

from cuslayer.inspection.advice import Advice
from cuslayer.inspection.checkup import health
from cuslayer.inspection.comparing import compare_gradients
from cuslayer.inspection.comparison import Comparison, GradientComparison
from cuslayer.inspection.explaining import explain
from cuslayer.inspection.explanation import Explanation, Trace
from cuslayer.inspection.labelled import Labelled
from cuslayer.inspection.layer_health import LayerHealth
from cuslayer.inspection.network_health import NetworkHealth
from cuslayer.inspection.rates import note_rates, rates_of
from cuslayer.inspection.reassigning import Reassignment, reassignment
from cuslayer.inspection.recorder import record
from cuslayer.inspection.recording import Record, Recording
from cuslayer.inspection.report import report
from cuslayer.inspection.reprs import show_in_notebooks

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
    "explain",
    "health",
    "note_rates",
    "rates_of",
    "reassignment",
    "record",
    "report",
    "show_in_notebooks",
]
