"""Losses of spike trains, one kind per file, and decisions."""

from cuslayer.loss.classification import ProbabilityWindowLoss, SpikeMaxLoss
from cuslayer.loss.decision import classify, decision_time, running_decision
from cuslayer.loss.rate_regularizer import RateRegularizer
from cuslayer.loss.spike_count import SpikeCountLoss
from cuslayer.loss.spike_rate import SpikeRateLoss
from cuslayer.loss.spike_time import SpikeTimeLoss
from cuslayer.loss.van_rossum import van_rossum

__all__ = [
    "ProbabilityWindowLoss",
    "RateRegularizer",
    "SpikeCountLoss",
    "SpikeMaxLoss",
    "SpikeRateLoss",
    "SpikeTimeLoss",
    "classify",
    "decision_time",
    "running_decision",
    "van_rossum",
]
