"""Optimizers, groups of parameters, and schedules of the learning rate."""

from cuslayer.optim.optimizers import SGD, Adam, ByStep, Group, LearningRate, NAdam, Optimizer, Schedule
from cuslayer.optim.schedules import cosine_decay, step_decay

__all__ = [
    "SGD",
    "Adam",
    "ByStep",
    "Group",
    "LearningRate",
    "NAdam",
    "Optimizer",
    "Schedule",
    "cosine_decay",
    "step_decay",
]
