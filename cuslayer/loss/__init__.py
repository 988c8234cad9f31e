"""Losses of spike trains, and decisions."""

from cuslayer.loss.base import SpikeCountLoss
from cuslayer.loss.cross_entropy import BinaryCrossEntropyLoss, CrossEntropyLoss, ProbabilityWindowLoss, SpikeMaxLoss
from cuslayer.loss.decision import classify, confidence, decision_time, running_decision
from cuslayer.loss.first_spike import FirstSpikeLoss
from cuslayer.loss.rates import RateRegularizer, SpikeRateLoss
from cuslayer.loss.spike_time import SpikeTimeLoss, coincidence_factor, van_rossum
from cuslayer.loss.squares import MeanSquaredErrorLoss

__all__ = [
    "BinaryCrossEntropyLoss",
    "CrossEntropyLoss",
    "FirstSpikeLoss",
    "MeanSquaredErrorLoss",
    "ProbabilityWindowLoss",
    "RateRegularizer",
    "SpikeCountLoss",
    "SpikeMaxLoss",
    "SpikeRateLoss",
    "SpikeTimeLoss",
    "classify",
    "coincidence_factor",
    "confidence",
    "decision_time",
    "running_decision",
    "van_rossum",
]
