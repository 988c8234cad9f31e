"""Optimizers, one kind per file, and schedules of the learning rate."""

from cuslayer.optim.adam import Adam, NAdam
from cuslayer.optim.base import Group, Optimizer, Rate, Schedule
from cuslayer.optim.schedules import cosine_decay, step_decay
from cuslayer.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Group", "NAdam", "Optimizer", "Rate", "Schedule", "cosine_decay", "step_decay"]
