"""Neuron models, one per file."""

from cuslayer.neurons.loihi import Loihi
from cuslayer.neurons.sampled_srm import SampledSRM
from cuslayer.neurons.srm import SRM

__all__ = ["SRM", "Loihi", "SampledSRM"]
