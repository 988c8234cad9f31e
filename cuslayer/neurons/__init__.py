"""Neuron models, one per file."""

from cuslayer.neurons.adaptive_lif import AdaptiveLIF as AdaptiveLIF
from cuslayer.neurons.base import Neuron as Neuron
from cuslayer.neurons.cuba import CUBA as CUBA
from cuslayer.neurons.dynamics import StepNeuron as StepNeuron
from cuslayer.neurons.lif import LIF as LIF
from cuslayer.neurons.loihi import Loihi as Loihi
from cuslayer.neurons.resonate_and_fire import ResonateAndFire as ResonateAndFire
from cuslayer.neurons.sampled_srm import SampledSRM as SampledSRM
from cuslayer.neurons.sigma_delta import SigmaDelta as SigmaDelta
from cuslayer.neurons.srm import SRM as SRM

__all__ = [name for name, value in vars().items() if isinstance(value, type)]
