"""What losses and decisions refuse: one line with the operation, the argument, the rule and what came."""

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions as f

SRM = cs.SRM(dt=0.5)
S, Y, COUNTS = np.zeros((10, 2, 3), bool), np.zeros((7, 4, 3)), np.zeros((2, 3))
FILTER = {"response": SRM.filter}
LABELS, MANY = [0, 2, 1, 1], np.zeros((4, 3), int)

VALUES = {
    "ProbabilityWindowLoss: window must be positive, got 0": lambda: cs.ProbabilityWindowLoss(SRM, window=0),
    "ProbabilityWindowLoss: window must hold a step of 0.5 ms, got": lambda: cs.ProbabilityWindowLoss(SRM, window=0.2),
    "SpikeMaxLoss: probability must be one of softmax, ratio": lambda: cs.SpikeMaxLoss(SRM, probability="max"),
    "moving_count: window must be at least 1, got 0": lambda: f.moving_count(S, window=0),
    "moving_count: x must be (T, N, ...), got shape (10,)": lambda: f.moving_count(S[:, 0, 0], window=1),
    "cross_entropy: probability must be one of": lambda: f.cross_entropy(COUNTS, chosen=COUNTS > 0, probability="rate"),
    "cross_entropy: chosen has shape (3,), counts have shape (2": lambda: f.cross_entropy(COUNTS, chosen=COUNTS[0] > 0),
    "cross_entropy: counts must have a class": lambda: f.cross_entropy(COUNTS[:, :0], chosen=COUNTS[:, :0] > 0),
    "cross_entropy: chosen has shape (3,), counts have shape (3,)": (
        lambda: f.cross_entropy(COUNTS[0], chosen=COUNTS[0] > 0)
    ),
    "CrossEntropyLoss: over must be one of": lambda: cs.CrossEntropyLoss("most"),
    "CrossEntropyLoss: dt must be positive": lambda: cs.CrossEntropyLoss(dt=0),
    "CrossEntropyLoss: region reaches to 9 ms": lambda: cs.CrossEntropyLoss(region=(0, 9))(Y, LABELS),
    "BinaryCrossEntropyLoss: labels have shape (4,), spikes": lambda: cs.BinaryCrossEntropyLoss()(Y, LABELS),
    "BinaryCrossEntropyLoss: labels must be 0 or 1, got 2": lambda: cs.BinaryCrossEntropyLoss()(Y, MANY + 2),
    "BinaryCrossEntropyLoss: output must be (T, N,": lambda: cs.BinaryCrossEntropyLoss().probabilities(Y[0]),
    "binary_cross_entropy: chosen has shape": lambda: f.binary_cross_entropy(Y, chosen=Y[0] > 0),
    "SpikeRateLoss: true must not be negative, got -1": lambda: cs.SpikeRateLoss(SRM, true=-1),
    "SpikeRateLoss: false must be at most a spike a step, 500 Hz,": lambda: cs.SpikeRateLoss(cs.SRM(dt=2.0), false=501),
    "SpikeRateLoss: true must be at least false": lambda: cs.SpikeRateLoss(SRM, true=5, false=6),
    "RateRegularizer: weight must not be negative, got -1": lambda: cs.RateRegularizer(weight=-1),
    "RateRegularizer: high must be at least low, 50 Hz, got 5": lambda: cs.RateRegularizer(50, 5),
    "RateRegularizer: dt must be positive, got 0": lambda: cs.RateRegularizer(dt=0),
    "RateRegularizer: spikes must have a step, got T = 0": lambda: cs.RateRegularizer()(np.zeros((0, 3), bool)),
    "SpikeCountLoss: count_scale must be positive, got": lambda: cs.SpikeCountLoss(SRM, count_scale=0),
    "SpikeCountLoss: false must not be negative, got -1": lambda: cs.SpikeCountLoss(SRM, false=-1),
    "SpikeTimeLoss: spikes has shape (10, 2, 3), target has shape (10, 2": lambda: cs.SpikeTimeLoss(SRM)(S, S[..., :1]),
    "SpikeTimeLoss: target must be spike trains of shape": lambda: cs.SpikeTimeLoss(SRM)(S, [0, 1]),
    "spike_time_error: s has shape (10, 2, 3), target has": lambda: f.spike_time_error(S, S[..., :1], **FILTER),
    "spike_time_error: s must be (T, N, ...), got": lambda: f.spike_time_error(S[:, 0, 0], S[:, 0, 0], **FILTER),
    "spike_count_error: region must lie with": lambda: f.spike_count_error(S, desired=COUNTS, region=(0, 11), **FILTER),
    "spike_count_error: desired has shape": lambda: f.spike_count_error(S, desired=np.ones(3), region=(0, 5), **FILTER),
    "classify: spikes must be (T, N, classes), got shape (10, 2, 0)": lambda: cs.classify(S[..., :0]),
    "running_decision: spikes must be (T, N, C), got shape (10, 2)": lambda: cs.running_decision(S[..., 0]),
    "running_decision: spikes must be (T, N, classes), got": lambda: cs.running_decision(S[..., None]),
    "running_decision: window must hold a step of 1 ms, got 0.2 ms": lambda: cs.running_decision(S, window=0.2),
    "decision_time: dt must be positive, got 0": lambda: cs.decision_time(S, [0, 1], dt=0),
    "decision_time: labels must be (2,), got shape (3,)": lambda: cs.decision_time(S, [0, 1, 2]),
    "decision_time: label 3 of sample 1 is none of 3 classes": lambda: cs.decision_time(S, [0, 3]),
    "van_rossum: a has shape (10, 2, 3), b has shape (10, 2, 1)": lambda: cs.van_rossum(S, S[..., :1], tau=1.0),
    "van_rossum: tau must be positive, got 0": lambda: cs.van_rossum(S, S, tau=0.0),
}
TYPES = {
    "moving_count: window must be an integer, got float": lambda: f.moving_count(S, window=1.0),
    "RateRegularizer: low must be a number, got str": lambda: cs.RateRegularizer("5"),
    "SpikeCountLoss: piecewise must be a bool, got int": lambda: cs.SpikeCountLoss(SRM, piecewise=1),
    "SpikeTimeLoss: neuron must be a neuron, got NoneType": lambda: cs.SpikeTimeLoss(None),
    "decision_time: labels must be integers, got float64": lambda: cs.decision_time(S, [0.0, 1.0]),
    "van_rossum: dt must be a number, got NoneType": lambda: cs.van_rossum(S, S, tau=1.0, dt=None),
}


@pytest.mark.parametrize("message", [*VALUES, *TYPES])
def test_error(message):
    kind, call = (ValueError, VALUES[message]) if message in VALUES else (TypeError, TYPES[message])
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call()
