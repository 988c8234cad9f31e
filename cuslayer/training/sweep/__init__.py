"""Sweeps: many trainings whose configurations differ in some keys."""

from cuslayer.training.sweep.runs import sweep
from cuslayer.training.sweep.search import Sweep, load_sweep
from cuslayer.training.sweep.table import Result

__all__ = ["Result", "Sweep", "load_sweep", "sweep"]
