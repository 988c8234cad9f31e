"""The functions that a neuron's step may call in addition to `abs`, `min` and `max`; see `StepNeuron`."""

from cuslayer.kernels.neuron.kind import exp, flushed, rint, trunc

__all__ = ["exp", "flushed", "rint", "trunc"]
