"""Neuron models, one per file."""

from cuslayer.neurons.ad_lif import AdLIF
from cuslayer.neurons.adaptive_lif import AdaptiveLIF
from cuslayer.neurons.balanced_resonate_and_fire import BalancedResonateAndFire
from cuslayer.neurons.base import Neuron
from cuslayer.neurons.cuba import CUBA
from cuslayer.neurons.dynamics import StepNeuron
from cuslayer.neurons.integrate_and_fire import IF, WaitingIF
from cuslayer.neurons.lif import LIF
from cuslayer.neurons.loihi import Loihi
from cuslayer.neurons.normalized_alif import NormalizedALIF
from cuslayer.neurons.resonate_and_fire import ResonateAndFire
from cuslayer.neurons.sampled_srm import SampledSRM
from cuslayer.neurons.sigma_delta import SigmaDelta
from cuslayer.neurons.srm import SRM

__all__ = [
    "CUBA",
    "IF",
    "LIF",
    "SRM",
    "AdLIF",
    "AdaptiveLIF",
    "BalancedResonateAndFire",
    "Loihi",
    "Neuron",
    "NormalizedALIF",
    "ResonateAndFire",
    "SampledSRM",
    "SigmaDelta",
    "StepNeuron",
    "WaitingIF",
]
