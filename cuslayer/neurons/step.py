"""The functions that a neuron's step may call in addition to `abs`, `min` and `max`; see `StepNeuron`."""

from cuslayer.kernels.step.kind import ago, exp, flushed, rint, trunc

__all__ = ["ago", "exp", "flushed", "rint", "trunc"]
